"""Compressed networks come back from their files as ordinary modules."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import ternzip
from ternzip import TernzipError
from ternzip.lowrank import METADATA_KEY, Description, decode, load_compressed, read_description, rebuild
from ternzip.models import fc3
from ternzip.quantization import quantize_inputs


def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 6 * 6, 5))


def stored() -> tuple[dict[str, torch.Tensor], Description]:
    tensors = {
        "0.0.weight": torch.tensor([[[[1], [2], [-3]]]], dtype=torch.int8),
        "0.0.weight.scale": torch.tensor([[[[0.5]]]]),
        "0.1.weight": torch.ones(4, 1, 1, 3, dtype=torch.float16) / 3,
        "0.1.bias": torch.zeros(4),
        "3.weight": torch.where(torch.arange(720).reshape(5, 144) % 3 == 0, 0.25, 0.0),
        "3.bias": torch.arange(5.0),
    }
    return tensors, Description({"0": 1}, ("0.0.weight",), {"0.1.weight": "float32"})


def test_a_file_becomes_an_ordinary_module(tmp_path: Path) -> None:
    tensors, description = stored()
    path = tmp_path / "small.tnz"
    ternzip.save_file(tensors, path, metadata={METADATA_KEY: description.to_json(), "arch": "mine"})
    model = load_compressed(network(), path)
    assert [type(part) for part in model[0]] == [nn.Conv2d, nn.Conv2d]
    assert model[0][0].weight.flatten().tolist() == [0.5, 1.0, -1.5]
    assert model[0][1].weight.dtype == torch.float32
    assert torch.equal(model[0][1].weight, tensors["0.1.weight"].float())
    assert torch.equal(model[3].weight, tensors["3.weight"])
    assert model(torch.ones(2, 1, 8, 8)).shape == (2, 5)
    assert read_description(path) == description
    again = load_compressed(network(), path.read_bytes())
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


def test_a_file_that_is_not_compressed_is_loaded_as_it_is() -> None:
    model = network()
    other = load_compressed(network(), ternzip.save(model.state_dict()))
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))
    assert read_description(ternzip.save(model.state_dict())) is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_ternary_activations_come_back(dtype: torch.dtype) -> None:
    model = quantize_inputs(network(), ["3"])
    x = torch.randn(2, 1, 8, 8)
    wanted = model(x)
    model[3].input_quantizer.to(dtype)
    other = load_compressed(network(), ternzip.save(model.state_dict()))
    assert other[3].input_quantizer.log_scale.dtype == dtype
    torch.testing.assert_close(other(x), wanted)
    tensors = {**network().state_dict(), "1.input_quantizer.log_scale": torch.tensor(0.0)}
    with pytest.raises(TernzipError, match=r"tensor 1\.input_quantizer\.log_scale is unknown"):
        load_compressed(network(), ternzip.save(tensors))


def test_loading_needs_neither_botorch_nor_optuna(tmp_path: Path) -> None:
    tensors, description = stored()
    path = tmp_path / "small.tnz"
    ternzip.save_file(tensors, path, metadata={METADATA_KEY: description.to_json()})
    program = f"""
import sys
for name in ("botorch", "gpytorch", "optuna", "ternzip.search"):
    sys.modules[name] = None
from torch import nn
from ternzip.lowrank import load_compressed
network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 6 * 6, 5))
print(type(load_compressed(network, {str(path)!r})[0]).__name__)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=120)
    assert (done.stdout.strip(), done.stderr) == (b"Sequential", b"")


def test_a_layer_under_two_names_stays_one() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(4, 4)
            self.inner = nn.Sequential(self.first)

    model = rebuild(Shared(), Description({"first": 2}))
    assert model.first is model.inner[0]
    assert isinstance(model.first, nn.Sequential)


def test_descriptions_survive_their_text() -> None:
    description = Description({"b": 2, "a": 1}, ("x", "w"), {"v": "float64"})
    assert Description.from_json(description.to_json()) == Description(
        {"a": 1, "b": 2}, ("w", "x"), {"v": "float64"}
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "expected JSON"),
        ("[1]", "expected version 1, found None"),
        (json.dumps({"version": 2}), "expected version 1, found 2"),
        (json.dumps({"version": 1, "low_rank": {"a": "b"}, "codes": [], "dtypes": {}}), "expected low_rank"),
        (json.dumps({"version": 1, "low_rank": {}, "codes": "ab", "dtypes": {}}), "expected low_rank"),
        (json.dumps({"version": 1, "low_rank": {"a": True}, "codes": [], "dtypes": {}}), "expected low_rank"),
    ],
)
def test_descriptions_that_are_refused(text: str, message: str) -> None:
    with pytest.raises(TernzipError, match=message):
        Description.from_json(text)


@pytest.mark.parametrize(
    ("low_rank", "message"),
    [
        ({"nothing": 1}, "layer nothing: expected in Sequential, found no such module"),
        ({"3": 6}, "layer 3: expected a rank of 1 to 5, found 6"),
        ({"3": 0}, "found 0"),
        ({"0": 1 << 40}, "layer 0: expected a rank of 1 to 3"),
        ({"1": 1}, "expected nn.Linear or nn.Conv2d, found ReLU"),
        ({"": 1}, "found the model itself"),
    ],
)
def test_layers_that_cannot_be_rebuilt(low_rank: dict[str, int], message: str) -> None:
    with pytest.raises(TernzipError, match=message):
        rebuild(network(), Description(low_rank))


def test_tensors_that_do_not_fit_their_description() -> None:
    tensors, description = stored()
    with pytest.raises(
        TernzipError, match=r"'0.0.weight.scale': expected by the file's metadata, found none"
    ):
        decode({name: t for name, t in tensors.items() if not name.endswith(".scale")}, description)
    tensors["0.0.weight.scale"] = torch.ones(1, 1, 2, 1)
    with pytest.raises(TernzipError, match=r"broadcasts to \[1, 1, 3, 1\], found \[1, 1, 2, 1\]"):
        decode(tensors, description)
    with pytest.raises(TernzipError, match="expected a dtype of torch, found 'float7'"):
        decode({"a": torch.ones(1)}, Description(dtypes={"a": "float7"}))


def test_files_of_another_architecture() -> None:
    data = ternzip.save(network().state_dict())
    with pytest.raises(
        TernzipError, match=r"tensor fc1.weight is missing: the file is of another architecture"
    ):
        load_compressed(fc3(), data)
    other = network()
    other[3] = nn.Linear(144, 6)
    with pytest.raises(TernzipError, match=r"tensor 3.weight: expected shape \[6, 144\], found \[5, 144\]"):
        load_compressed(other, data)
