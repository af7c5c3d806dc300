import numpy as np

from kit.system.kernels import kernel


@kernel
def halved(values):
    return values / 2


def test_code_of_two_processes_is_never_mixed_up(tmp_path, monkeypatch):
    """Both find no index, one numbers its code over that of the other, and the other's index is kept last."""
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr("numba.core.config.CACHE_DIR", str(tmp_path))
    kept = kernel(halved.py_func)
    assert kept(np.float32(3)) == 1.5
    [index] = tmp_path.rglob("*.nbi")
    before = index.read_bytes()
    index.unlink()
    assert kernel(halved.py_func)(np.array([3, 4])).tolist() == [1.5, 2]
    index.write_bytes(before)
    loaded = kernel(halved.py_func)
    assert loaded(np.float32(5)) == 2.5
    assert loaded.signatures == kept.signatures
    assert list(loaded.stats.cache_hits.values()) == [1]
