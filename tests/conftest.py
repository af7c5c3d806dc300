"""What every test shares: a cache folder of its own, so that no test sees or fills the user's, and Ctrl-C.

The tests run in several processes at once, see pytest-xdist in setup.cfg.
"""

import os
import signal

import pytest

PROCESSES = 4  # at most: each takes 1 GB of memory with torch
if "PYTEST_XDIST_WORKER" in os.environ:  # one thread a process, before NumPy and torch are imported; its children too
    os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"))


def pytest_xdist_auto_num_workers(config):
    """One process where files or tests are named, as others start slower than most files run; else one a core."""
    if all(name.partition("::")[0].endswith(".py") for name in config.args):
        return 0
    return min(PROCESSES, len(os.sched_getaffinity(0)))


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """$KIT_CACHE for this session, also seen by the processes that tests start."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KIT_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.delenv("KIT_DATA", raising=False)
        yield


@pytest.fixture(scope="session", autouse=True)
def ctrl_c():
    """Ctrl-C stops what tests start, also where a shell started the tests in its background, where it is ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
