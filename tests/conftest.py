"""What every test shares: a cache folder of its own, so that no test sees or fills the user's."""

import pytest


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """$KIT_CACHE for this session, also seen by the processes that tests start."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KIT_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.delenv("KIT_DATA", raising=False)
        yield
