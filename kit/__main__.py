"""python -m kit: see `kit.cli`."""

import os
import sys

from kit.cli import main

if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # taking PyTorch apart takes seconds on a busy machine, and a time limit counts them
