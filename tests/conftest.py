"""What every test shares: a cache folder of its own, so that no test sees or fills the user's; the disk; and Ctrl-C.

The tests run in several processes at once, see pytest-xdist in setup.cfg.
"""

import gc
import os
import signal
import sys
from pathlib import Path

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:
    # one thread a process, before NumPy and torch are imported; what tests start gets the same
    os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"))

# the half million objects of what is imported stay to the end: the collector need not walk them again and again
gc.set_threshold(20_000)


def unload_tests():
    """Forget the files of tests that are loaded."""
    here = Path(__file__).parent
    for name, module in list(sys.modules.items()):
        if name.startswith("test_") and here in Path(getattr(module, "__file__", None) or "/").parents:
            del sys.modules[name]


def pytest_collection_finish():
    """What was collected stays too."""
    unload_tests()
    gc.collect()
    gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item):
    """A test finds its own file loaded and no other file of tests.

    A run reads, hashes and keeps the user's modules that are loaded, and each run would keep all 300 files of tests.
    """
    name = item.module.__name__
    if sys.modules.get(name) is not item.module:
        unload_tests()
        sys.modules[name] = item.module


def pytest_xdist_auto_num_workers(config):
    """No others where files or tests are named, as they start slower than most files run; None: one a core."""
    return 0 if all(name.partition("::")[0].endswith(".py") for name in config.args) else None


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """$KIT_CACHE for this session, also seen by the processes that tests start."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KIT_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.delenv("KIT_DATA", raising=False)
        patch.delenv("KIT_LEDGER", raising=False)
        if provenance := sys.modules.get("kit.runs.provenance"):  # pytest-xdist runs no script: as in a notebook
            patch.setattr(provenance, "script", lambda: Path(__file__))
        yield


@pytest.fixture(scope="session", autouse=True)
def no_wait_for_the_disk(pytestconfig):
    """os.fsync only looks at the descriptor: waiting took a tenth of the time of all tests, and none cuts the power.

    Slow tests wait as runs do, and so do the processes that tests start: those of train_tiny.py are killed there.
    """
    with pytest.MonkeyPatch.context() as patch:
        if pytestconfig.getoption("markexpr") == "not slow":
            patch.setattr(os, "fsync", os.fstat)  # of a descriptor that is not open it raises the same OSError
        yield


@pytest.fixture(scope="session", autouse=True)
def ctrl_c():
    """Ctrl-C stops what tests start, also where a shell started the tests in its background, where it is ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
