"""Networks as files hold them: what eval, bench and export build."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from torch import nn

import ternzip
from ternzip import TernzipError
from ternzip.lowrank import METADATA_KEY, Description, factorize, fold_batch_norm, rebuild
from ternzip.models import NetworkSpec, StoredNetwork, fc3, he_resnet20, load_weights, resnet20
from ternzip.models.stored import BATCH_NORM_KEY, FOLDED

X = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def trained(model: nn.Module) -> nn.Module:
    """With batch norm statistics of its own."""
    model(X)
    return model.eval()


@pytest.mark.parametrize("suffix", [".tnz", ".pt", ".safetensors"])
def test_weights_of_any_file_give_the_network(tmp_path: Path, suffix: str) -> None:
    model = trained(resnet20())
    path = tmp_path / f"model{suffix}"
    if suffix == ".pt":
        torch.save(model.state_dict(), path)
    elif suffix == ".tnz":
        ternzip.save_model(model, path)
    else:
        from safetensors.torch import save_file

        save_file(model.state_dict(), path)
    before = torch.random.get_rng_state()
    found = StoredNetwork.read(path).build(NetworkSpec("resnet20"))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert not found.training
    assert all(
        torch.equal(a, b)
        for a, b in zip(found.state_dict().values(), model.state_dict().values(), strict=True)
    )
    assert torch.equal(found(X), model(X))


def test_half_precision_takes_the_dtype_of_the_network(tmp_path: Path) -> None:
    model = trained(resnet20()).half()
    ternzip.save_model(model, tmp_path / "model.tnz")
    found = StoredNetwork.read(tmp_path / "model.tnz").build(NetworkSpec("resnet20"))
    assert {p.dtype for p in found.parameters()} == {torch.float32}
    assert torch.equal(found(X), model.float()(X))


def test_ternary_activations_come_with_the_file(tmp_path: Path) -> None:
    model = trained(ternzip.prepare(he_resnet20(), activations="ternary"))
    ternzip.save_model(model, tmp_path / "model.tnz")
    found = StoredNetwork.read(tmp_path / "model.tnz").build(NetworkSpec("he-resnet20"))
    assert torch.equal(found(X), model(X))
    assert not torch.equal(found(X), ternzip.models.load_weights(he_resnet20(), _floats(model)).eval()(X))


def _floats(model: nn.Module) -> dict[str, torch.Tensor]:
    """The ternary state without the scales of activations."""
    state = ternzip.ternary_state(model)
    return {name: tensor for name, tensor in state.items() if "input_quantizer" not in name}


def test_old_files_have_no_counters(tmp_path: Path) -> None:
    model = trained(he_resnet20())
    state = {k: v for k, v in model.state_dict().items() if not k.endswith("num_batches_tracked")}
    torch.save(state, tmp_path / "old.pt")
    found = StoredNetwork.read(tmp_path / "old.pt").build(NetworkSpec("he-resnet20"))
    assert all(not b.is_meta for b in found.buffers())
    assert torch.equal(found(X), model(X))


def test_layers_of_low_rank_and_folded_norms(tmp_path: Path) -> None:
    model = fold_batch_norm(trained(he_resnet20()), X[:1])
    names = ["conv1", "layer3.0.conv1"]
    for name in names:
        layer = model.get_submodule(name)
        model.set_submodule(name, factorize(layer, 5).module)
    description = Description(dict.fromkeys(names, 5))
    metadata = {METADATA_KEY: description.to_json(), BATCH_NORM_KEY: FOLDED}
    ternzip.save_file(model.state_dict(), tmp_path / "small.tnz", metadata=metadata)
    found = StoredNetwork.read(tmp_path / "small.tnz").build(NetworkSpec("he-resnet20"))
    assert torch.equal(found(X), model(X))


def test_low_rank_in_a_network_whose_only_child_is_called_model(tmp_path: Path) -> None:
    """The names of its metadata and of its tensors are the same ones."""
    model = nn.Sequential(OrderedDict(model=fc3(3, in_features=4, hidden=8)))
    model.model.fc2 = factorize(model.model.fc2, 2).module  # type: ignore[assignment, union-attr, arg-type]
    metadata = {METADATA_KEY: Description({"model.fc2": 2}, ("model.fc1.weight",)).to_json()}
    state = model.state_dict()
    codes = {"model.fc1.weight": state["model.fc1.weight"].sign().to(torch.int8)}
    scale = {"model.fc1.weight.scale": torch.ones(1, 1)}
    ternzip.save_file({**state, **codes, **scale}, tmp_path / "x.tnz", metadata=metadata)
    found = StoredNetwork.read(tmp_path / "x.tnz")
    assert set(found.tensors) == set(state)
    plain = nn.Sequential(OrderedDict(model=fc3(3, in_features=4, hidden=8)))
    load_weights(rebuild(plain, found.description), found.tensors)  # type: ignore[arg-type]
    assert torch.equal(plain.model.fc2[1].weight, state["model.fc2.1.weight"])  # type: ignore[index, union-attr]


@pytest.mark.parametrize(
    "spec",
    [
        NetworkSpec("fc3", {"hidden": 10_000_000}, (1, 1, 4), 3),
        NetworkSpec("fc3", {"hidden": 8}, (1, 60_000, 60_000), 3),
        NetworkSpec("fc3", {"hidden": 8}, (1, 1, 4), 1_000_000),
        NetworkSpec("resnet20-star", {"inflate": 1_000_000_000}),
        NetworkSpec("resnet20", {"inflate": 10**30}),
    ],
)
def test_a_file_asks_for_no_network_larger_than_itself(tmp_path: Path, spec: NetworkSpec) -> None:
    ternzip.save_model(fc3(3, in_features=4, hidden=8), tmp_path / "small.tnz")
    with pytest.raises(TernzipError, match=r"expected shape|tensor names do not fit|cannot be built"):
        StoredNetwork.read(tmp_path / "small.tnz").build(spec)


def test_a_rank_that_no_layer_has(tmp_path: Path) -> None:
    model = fc3(3, in_features=4, hidden=8)
    description = Description({"fc1": 5})
    ternzip.save_file(model.state_dict(), tmp_path / "x.tnz", metadata={METADATA_KEY: description.to_json()})
    with pytest.raises(TernzipError, match="layer fc1: expected a rank of 1 to 4, found 5"):
        StoredNetwork.read(tmp_path / "x.tnz").build(NetworkSpec("fc3", {"hidden": 8}, (1, 1, 4), 3))
