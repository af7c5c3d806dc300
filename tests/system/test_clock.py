"""When this process was started, beside what the system's own tool says."""

import os
import subprocess
import time

from kit.system.clock import process_started


def test_the_age_of_this_process():
    said = subprocess.run(["ps", "-o", "etimes=", "-p", str(os.getpid())], capture_output=True, text=True, check=True)
    age = time.monotonic() - process_started()
    assert -1.5 < age - int(said.stdout) < 5
