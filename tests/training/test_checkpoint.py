import json

import numpy as np
import pytest
import safetensors
import torch
from torch import nn

from kit.training.checkpoint import check_identity, difference, load_state, load_weights, save_state, save_weights


def network(width=4, seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, width, 3), nn.BatchNorm2d(width)).to(memory_format=torch.channels_last)


def test_weights_come_back_as_they_were_with_their_note(tmp_path):
    path, model = tmp_path / "a.safetensors", network()
    save_weights(path, model, {"step": 7, "name": "ü"})
    other = network(seed=1)
    load_weights(path, other)
    for name, value in model.state_dict().items():
        assert torch.equal(other.state_dict()[name], value), name
    with safetensors.safe_open(path, "np") as file:  # as any other tool reads it
        assert json.loads(file.metadata()["kit"]) == {"step": 7, "name": "ü"}
        assert set(file.keys()) == set(model.state_dict())
        np.testing.assert_array_equal(file.get_tensor("0.weight"), model[0].weight.detach().numpy())


def test_weights_of_another_model_are_refused_with_all_that_differs(tmp_path):
    path = tmp_path / "a.safetensors"
    save_weights(path, nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(), nn.Conv2d(5, 1, 1)), {})
    with pytest.raises(ValueError, match="is of another model") as error:
        load_weights(path, network())
    said = str(error.value)
    assert str(path) in said
    for part in ("0.weight (4, 3, 3, 3) -> (5, 3, 3, 3)", "1.weight (4,) -> absent", "2.bias absent -> (1,)"):
        assert part in said


def test_damaged_weights_are_refused_by_name(tmp_path):
    path = tmp_path / "a.safetensors"
    save_weights(path, network(), {})
    content = path.read_bytes()
    for end in (0, 4, 100, len(content) - 1):
        path.write_bytes(content[:end])
        with pytest.raises(ValueError, match=r"a\.safetensors is damaged"):
            load_weights(path, network())
    with pytest.raises(FileNotFoundError, match=r"b\.safetensors"):
        load_weights(tmp_path / "b.safetensors", network())


STATE = {
    "tensors": {"a": torch.arange(500.0), "b": torch.tensor(3, dtype=torch.int64), "h": torch.ones(3).half()},
    "values": [1, 0.1, float("-inf"), "ü", True, None, {"x": [1, 2]}],
}


def same(a, b):
    return torch.equal(a["tensors"]["a"], b["tensors"]["a"]) and a["values"] == b["values"]


def test_states_come_back_as_they_were(tmp_path):
    save_state(tmp_path / "last.pt", STATE)
    found = load_state(tmp_path / "last.pt")
    assert found["values"] == STATE["values"]
    for name, value in STATE["tensors"].items():
        assert found["tensors"][name].dtype == value.dtype
        assert torch.equal(found["tensors"][name], value)


def test_damage_to_a_state_is_found_or_does_no_harm(tmp_path):
    path, random = tmp_path / "last.pt", np.random.default_rng(0)
    save_state(path, STATE)
    content = path.read_bytes()
    assert b"\x00\x00\x80\x3f" in content  # 1.0 of the tensor: its bytes are there as they are
    contents = [content[:end] for end in (0, 1, 10, *range(100, len(content), 97), len(content) - 1)]
    contents += [b"<html>not found</html>", b"\x80\x02" + random.bytes(50), *(random.bytes(200) for _ in range(50))]
    for damaged in contents:
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"last\.pt is damaged, or no checkpoint of kit"):
            load_state(path)
    refused = 0
    for place in random.integers(0, len(content), 400):
        flipped = bytearray(content)
        flipped[place] ^= 1 << random.integers(8)
        path.write_bytes(flipped)
        try:
            assert same(load_state(path), STATE), f"a bit of byte {place}"
        except ValueError as error:
            assert "last.pt is damaged" in str(error)  # noqa: PT017
            refused += 1
    assert refused > 100  # the others fell between the records


def test_a_missing_state_is_missing_not_damaged(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"last\.pt"):
        load_state(tmp_path / "last.pt")
    torch.save(torch.ones(3), tmp_path / "last.pt")
    with pytest.raises(ValueError, match="no checkpoint of kit"):
        load_state(tmp_path / "last.pt")


def test_differences_are_told_the_first_eight(tmp_path):
    assert difference({"a": 1, "b": [1, 2]}, {"b": [1, 2], "a": 1}) == ""
    assert difference({"a": 1, "b": 2}, {"b": 3, "c": None}) == "a 1 -> absent, b 2 -> 3, c absent -> None"
    many = {f"n{number:02}": number for number in range(20)}
    assert difference(many, {}).endswith("n07 7 -> absent and 12 more")
    check_identity(tmp_path / "x", {"lr": 1.0}, {"lr": 1.0})
    with pytest.raises(ValueError, match=r"x was made by another configuration \(then -> now\): lr 2\.0 -> 1\.0\. Go"):
        check_identity(tmp_path / "x", {"lr": 1.0}, {"lr": 2.0})
