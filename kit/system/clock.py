"""How long this process has been running."""

import os
import time
from pathlib import Path


def process_started() -> float:
    """When this process was started, on the clock of time.monotonic; a time limit counts its imports too.

    Where the system does not say it (not Linux), about: the processor's time that was used is taken for all of it.
    """
    try:
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[19]) / os.sysconf("SC_CLK_TCK")
    except (OSError, AttributeError, ValueError, IndexError):
        age = time.process_time()
    return time.monotonic() - age
