"""How a recipe ends: what went wrong is told in one message that says what to do."""

import os
import re
import sys
from collections.abc import Callable

import torch

from kit.training import processes as distributed


def launch(main: Callable[[], None]) -> None:
    """Run a recipe: what went wrong is told in one message (exit 1), Ctrl-C leaves the last checkpoint (exit 130).

    $KIT_TRACEBACK=1 shows where an error was raised.
    """
    try:
        main()
        distributed.stop()  # not after an error: other processes may wait in the group, and torchrun ends them
    except KeyboardInterrupt:
        print("\nstopped. The last checkpoint, if any, is intact; the same command goes on from it.", file=sys.stderr)
        sys.exit(130)
    except (ValueError, OSError, FloatingPointError, RuntimeError) as error:
        advice = _advice(error)
        if os.environ.get("KIT_TRACEBACK") or (isinstance(error, RuntimeError) and not advice):
            raise
        print(f"error: {error}{advice}\n(KIT_TRACEBACK=1 shows where it was raised)", file=sys.stderr)
        sys.exit(1)


def _advice(error: Exception) -> str:
    """What to do about an error that torch raises and that is no mistake in the code; "" for any other."""
    if isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error):
        return (
            "\nThere is not enough memory for it. Lower --batch-size or --image-size, or where the recipe has them use "
            "--accumulate or --crop, in another --run-dir; or use a larger device"
        )
    if isinstance(error, RuntimeError) and re.search(r"DataLoader worker \(pid|</torch_", str(error)):
        return (
            "\nA process that loads pictures ended, or could not hand them over, most likely for want of memory: main "
            "memory or /dev/shm (df -h /dev/shm). Lower --workers, 0 for none; the same command then goes on"
        )
    return ""
