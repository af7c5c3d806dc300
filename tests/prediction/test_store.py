import numpy as np
import pytest
import torch
from torch.nn import functional as F

from kit.prediction.store import Store


def smooth_levels(seed, channels=1, size=(23, 31)):
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.random((1, channels, 5, 6)))
    return (F.interpolate(coarse, size=size, mode="bicubic")[0].clamp(0, 0.999).numpy() * 256).astype(np.uint8)


@pytest.mark.parametrize("channels", [1, 3])
def test_predictions_come_back_from_the_store(tmp_path, channels):
    store, levels = Store(tmp_path / "oof", channels), smooth_levels(0, channels)
    assert "car_01" not in store
    store.write("car_01", levels)
    assert "car_01" in store
    found = store.read("car_01")
    np.testing.assert_array_equal(found, levels)
    assert found.dtype == np.uint8
    store.write("car_01", 255 - levels)
    np.testing.assert_array_equal(store.read("car_01"), 255 - levels)
    store.forget(["car_01", "car_02"])
    assert "car_01" not in store


def test_damaged_predictions_are_refused(tmp_path):
    store = Store(tmp_path, 3)
    store.write("a", smooth_levels(0, 3))
    whole = store.path("a").read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 16
    for wrong in (1, 2, 4):
        with pytest.raises(
            ValueError, match=rf"^c: levels of uint8 \({wrong}, 23, 31\), expected uint8 \(3, h, w\): give the network"
        ):
            store.write("c", smooth_levels(0, wrong))
    assert "c" not in store
    Store(tmp_path, 1).write("b", smooth_levels(0)[:, :22])  # 22 rows are no three classes
    for data in (b"", whole[:20], whole[: len(whole) // 2], whole[:-20], bytes(flipped), store.path("b").read_bytes()):
        store.path("a").write_bytes(data)
        with pytest.raises(ValueError, match=r"a\.png is damaged; delete it and run the same command again"):
            store.read("a")
