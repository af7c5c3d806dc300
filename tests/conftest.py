"""What every test shares: a cache folder of its own, so that no test sees or fills the user's, and Ctrl-C."""

import signal

import pytest


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
