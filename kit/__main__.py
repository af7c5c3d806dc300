"""python -m kit: see `kit.cli`."""

import os
import sys

if __name__ == "__main__":
    try:
        from kit.cli import main  # in here: modules take a second to load, and Ctrl-C may come in it

        status = main()
        sys.stdout.flush()
        sys.stderr.flush()
    except BrokenPipeError:  # the reader has seen enough: kit lint … | head
        status = 1
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr, flush=True)
        status = 130
    os._exit(status)  # taking PyTorch apart takes seconds on a busy machine, and a time limit counts them
