"""python -m kit: see `kit.cli`."""

import os
import sys

from kit.cli import main

if __name__ == "__main__":
    try:
        status = main()
        sys.stdout.flush()
        sys.stderr.flush()
    except BrokenPipeError:  # the reader has seen enough: kit lint … | head
        status = 1
    os._exit(status)  # taking PyTorch apart takes seconds on a busy machine, and a time limit counts them
