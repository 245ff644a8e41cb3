"""What a prepared model holds, and how it is saved, loaded, clipped, counted and given to an optimizer."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from small_network import IMAGES, small
from torch import nn
from torch.distributed.algorithms._checkpoint import checkpoint_wrapper
from torch.nn.utils import parametrizations, parametrize

import ternzip
from ternzip import TernzipError, clip_latent_, count_layers, ternary_state
from ternzip.quantization import EC2T, TTQ, TWN, Binary, Delta, Quantizer, parameter_groups, ternary_layers
from ternzip.quantization.state import other_state
from ternzip.training.sizes import project


def agrees_with_convert(model: nn.Module) -> dict[str, torch.Tensor]:
    """ternary_state, once it is seen to be what convert leaves."""
    promised = ternary_state(model)
    converted = ternzip.convert(model).state_dict()
    assert list(promised) == list(converted)
    assert all(torch.equal(promised[name], tensor) for name, tensor in converted.items())
    return promised


def test_counts_are_those_of_the_weights() -> None:
    model = ternzip.prepare(small(), "delta")
    for name, counts in count_layers(model).items():
        weight = model.get_submodule(name).weight
        assert (counts.negative, counts.zero, counts.positive) == tuple(
            int((weight == symbol).sum()) for symbol in (-1, 0, 1)
        )
    assert list(count_layers(model)) == ["0", "4"]


def test_clip_latent_keeps_ternary_weights() -> None:
    model = ternzip.prepare(small(), "delta")
    latent = ternary_layers(model)[0].latent
    with torch.no_grad():
        latent.mul_(20)
    before = model[0].weight.clone()
    clip_latent_(model)
    assert latent.abs().max() == 1
    assert torch.equal(model[0].weight, before)


def test_clip_latent_leaves_frozen_and_unbounded_layers_alone() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4))
    ternzip.prepare(model, "delta", overrides={"2": "twn"})
    latents = [layer.latent for layer in ternary_layers(model)]
    with torch.no_grad():
        for latent in latents:
            latent.fill_(3.0)
    latents[1].requires_grad_(False)
    clip_latent_(model)
    assert [latent.max().item() for latent in latents] == [1.0, 3.0, 3.0]


def test_a_bare_layer_as_root() -> None:
    model = ternzip.prepare(nn.Linear(8, 4))
    ternary = model.weight.detach().clone()
    assert list(count_layers(model)) == ["weight"]
    state = agrees_with_convert(model)
    assert list(state) == ["weight", "bias"]
    assert torch.equal(state["weight"], ternary)


def test_the_projected_size_counts_no_latent_weight() -> None:
    tied = nn.Sequential(nn.Linear(64, 64, bias=False), nn.Linear(64, 64, bias=False))
    tied[1].weight = tied[0].weight
    for model in (nn.Linear(64, 64, bias=False), tied, nn.RNN(64, 64, bias=False)):
        ternzip.prepare(model, include=nn.RNN if isinstance(model, nn.RNN) else ())
        size = project(model)
        assert size.other == 0
        assert size.ternary == pytest.approx(
            sum(count.entropy * count.total / 8 for count in count_layers(model).values())
        )


def test_skipped_layers_keep_their_own_parametrizations() -> None:
    model = nn.Sequential(
        nn.Linear(4, 4),
        parametrizations.weight_norm(nn.Linear(4, 4)),
        parametrizations.spectral_norm(nn.Linear(4, 4)),
    )
    ternzip.prepare(model, skip=["1", "2"])
    expected = [name for name in model.state_dict() if not name.startswith("0.")]
    state = agrees_with_convert(model)
    assert [name for name in state if not name.startswith("0.")] == expected
    assert "1.parametrizations.weight.original0" in state


def test_a_module_under_two_names_is_in_the_state_under_both() -> None:
    inner = nn.Linear(4, 4)
    model = nn.ModuleDict({"a": inner, "b": nn.ModuleDict({"c": inner})})
    ternzip.prepare(model)
    assert list(count_layers(model)) == ["a"]
    state = ternary_state(model)
    assert list(state) == ["a.weight", "a.bias", "b.c.weight", "b.c.bias"]
    assert state["a.weight"] is state["b.c.weight"]
    agrees_with_convert(model)


def test_tied_layers_are_counted_and_stored_once(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(16, 16, bias=False), nn.Linear(16, 16, bias=False))
    model[1].weight = model[0].weight
    ternzip.prepare(model, TTQ())
    assert len({id(layer.quantizer) for layer in ternary_layers(model)}) == 1
    assert {name: counts.total for name, counts in count_layers(model).items()} == {"0": 256}
    ternzip.save_model(model, tmp_path / "tied.tnz")
    loaded = ternzip.load_file(tmp_path / "tied.tnz")
    assert loaded["0.weight"] is loaded["1.weight"]
    agrees_with_convert(model)
    assert model[0].weight is model[1].weight


class Unlike(TWN):
    """TWN by another name."""


OTHERS: list[tuple[Quantizer, Quantizer, str]] = [
    (Delta(0.1), Delta(0.1, levels=(-2.0, 1.0)), "expected levels=.-1.0, 1.0., found levels=.-2.0, 1.0."),
    (Delta(0.1), Delta(0.1, ste="open"), "expected ste=closed, found ste=open"),
    (Binary(), Binary(ste="open"), "expected ste=closed"),
    (TWN(), TWN(ste="closed"), "expected ste=identity, found ste=closed"),
    (TWN(), Unlike(), "expected quantizer=TWN, found quantizer=Unlike"),
    (TTQ(0.1), TTQ(0.2), "expected ratio=0.1, found ratio=0.2"),
    (EC2T(0.1), EC2T(0.3), "expected strength=0.1, found strength=0.3"),
]


@pytest.mark.parametrize(("own", "foreign", "message"), OTHERS)
def test_a_state_of_another_quantizer_is_refused(own: Quantizer, foreign: Quantizer, message: str) -> None:
    model, other = ternzip.prepare(small(), own), ternzip.prepare(small(), foreign)
    with pytest.raises(TernzipError, match=f"the state fits another quantizer: {message}") as raised:
        model.load_state_dict(other.state_dict())
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("quantizer", [Delta(0.07), Binary(), TWN(0.4), TTQ(0.2), EC2T(0.3)])
def test_a_state_of_the_same_quantizer_gives_the_same_weights(quantizer: Quantizer, tmp_path: Path) -> None:
    model, other = ternzip.prepare(small(), quantizer), ternzip.prepare(small(), quantizer)
    with torch.no_grad():
        for latent in (layer.latent for layer in ternary_layers(model)):
            latent.normal_()
    torch.save(model.state_dict(), tmp_path / "state.pt")
    other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert torch.equal(other.eval()(IMAGES), model.eval()(IMAGES))


def test_a_moved_ratio_is_in_the_state() -> None:
    model, other = ternzip.prepare(small()), ternzip.prepare(small())
    ternzip.DeltaSchedule(model, 0.3)
    other.load_state_dict(model.state_dict())
    assert torch.equal(other[0].weight, model[0].weight)


@pytest.mark.parametrize("damage", [torch.zeros(3, dtype=torch.uint8), "text", None])
def test_damaged_settings_are_refused(damage: object) -> None:
    with pytest.raises(TernzipError, match="quantizer settings are damaged"):
        TWN().set_extra_state(damage)


@pytest.mark.parametrize("name", ["ttq", "ec2t"])
def test_levels_have_a_group_without_decay(name: str) -> None:
    model = ternzip.prepare(small(), name)
    rest, levels = parameter_groups(model, lr=1e-2, levels_lr=1e-4, weight_decay=0.5)
    assert (rest["lr"], rest["weight_decay"]) == (1e-2, 0.5)
    assert (levels["lr"], levels["weight_decay"]) == (1e-4, 0.0)
    assert {id(p) for p in levels["params"]} == {
        id(p) for name, p in model.named_parameters() if ".log_" in name
    }
    assert len(levels["params"]) == 4
    assert len(rest["params"]) + 4 == len(list(model.parameters()))
    before = [p.detach().clone() for p in levels["params"]]
    optimizer = torch.optim.AdamW([rest, levels])
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    optimizer.step()
    assert all(torch.equal(p, q) for p, q in zip(levels["params"], before, strict=True))


def test_a_model_without_learned_levels_has_one_group() -> None:
    model = ternzip.prepare(small())
    (group,) = parameter_groups(model, lr=0.1)
    assert group["params"] == list(model.parameters())


def test_models_are_saved_and_loaded(tmp_path: Path) -> None:
    model = ternzip.prepare(small()).eval()
    expected = model(IMAGES)
    ternzip.save_model(model, tmp_path / "model.tnz", metadata={"epoch": "3"})
    with ternzip.safe_open(tmp_path / "model.tnz") as f:
        assert f.metadata() == {"epoch": "3"}
        assert f.info("0.weight").codec != "elements"
    plain = small()
    assert ternzip.load_model(plain, tmp_path / "model.tnz") is plain
    assert torch.equal(plain.eval()(IMAGES), expected)
    ternzip.save_model(plain, tmp_path / "again.tnz", metadata={"epoch": "3"})
    assert (tmp_path / "again.tnz").read_bytes() == (tmp_path / "model.tnz").read_bytes()


def test_two_tensors_are_not_loaded_into_one(tmp_path: Path) -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.e, self.h = nn.Embedding(3, 2), nn.Linear(2, 3, bias=False)
            self.h.weight = self.e.weight

    path = tmp_path / "apart.tnz"
    model = Tied()
    before = model.e.weight.clone()
    ternzip.save_file({"e.weight": torch.zeros(3, 2), "h.weight": torch.ones(3, 2)}, path)
    for load in (ternzip.load_model, ternzip.models.load_weights):
        with pytest.raises(
            TernzipError, match=r"apart.tnz: tensors e.weight and h.weight differ, and are one tensor in Tied"
        ):
            load(model, path)
        assert torch.equal(model.e.weight, before)
    ternzip.save_file({"e.weight": torch.zeros(3, 2), "h.weight": torch.zeros(3, 2)}, path)
    assert not ternzip.load_model(model, path).e.weight.any()
    with torch.device("meta"), pytest.raises(TernzipError, match="a model on the meta device"):
        ternzip.load_model(Tied(), path)


def test_loading_what_does_not_fit_is_refused_before_anything_changes(tmp_path: Path) -> None:
    path = tmp_path / "model.tnz"
    ternzip.save_model(small(), path)
    with pytest.raises(TernzipError, match=r"model.tnz: cannot be loaded into a prepared model"):
        ternzip.load_model(ternzip.prepare(small()), path)
    with pytest.raises(
        TernzipError, match=r"tensor names do not fit Sequential: 9 missing, first 1.0.weight; 7 unknown"
    ):
        ternzip.load_model(nn.Sequential(nn.Conv2d(3, 8, 3), small()), path)
    with pytest.raises(TernzipError, match=r"tensor 0.weight: expected torch.float64, found torch.float32"):
        ternzip.load_model(small().double(), path)
    wide = small()
    wide[4] = nn.Linear(128, 6)
    before = {name: tensor.clone() for name, tensor in wide.state_dict().items()}
    with pytest.raises(TernzipError, match=r"tensor 4.weight: expected shape \(6, 128\), found \(5, 128\)"):
        ternzip.load_model(wide, path)
    assert all(torch.equal(tensor, before[name]) for name, tensor in wide.state_dict().items())


def test_a_state_dict_is_no_model(tmp_path: Path) -> None:
    path: Any = tmp_path / "model.tnz"
    state: Any = small().state_dict()
    with pytest.raises(TypeError, match=r"takes a torch.nn.Module, got OrderedDict; save_file takes a dict"):
        ternzip.save_model(state, path)
    assert not path.exists()
    with pytest.raises(TypeError, match=r"takes a torch.nn.Module and a path, got str; load_file takes"):
        ternzip.load_model(str(path), small())  # type: ignore[arg-type]


def test_names_that_a_wrapper_leaves_out() -> None:
    """checkpoint_wrapper puts a module around another, and takes its name out of the state."""
    model = nn.Sequential(nn.Sequential(nn.Linear(8, 4), nn.ReLU()), nn.Linear(4, 2))
    expected = ternary_state(ternzip.prepare(model))
    checkpoint_wrapper.apply_activation_checkpointing(model, check_fn=lambda module: module is model[0])
    found = ternary_state(model)
    assert list(found) == list(expected)
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    assert "0.0.bias" in other_state(model)
    assert not any("parametrizations" in name for name in other_state(model))


class Delegating(nn.Module):
    """What it has not itself, it looks up in the module that it wraps, as many wrappers do."""

    def __init__(self, wrapped: nn.Module) -> None:
        super().__init__()
        self.wrapped = wrapped

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self.wrapped, name)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.wrapped(x)


@pytest.mark.parametrize(
    ("wrap", "name"),
    [
        (Delegating, "0.wrapped"),
        (checkpoint_wrapper.checkpoint_wrapper, "0._checkpoint_wrapped_module"),
        (partial(torch.compile, backend="eager"), "0._orig_mod"),
    ],
)
def test_a_wrapper_around_a_layer_is_no_layer(wrap: Callable[[nn.Module], nn.Module], name: str) -> None:
    model = ternzip.prepare(nn.Sequential(wrap(nn.Linear(8, 4)), nn.ReLU()))
    assert list(count_layers(model)) == [name]
    outputs = model(torch.ones(2, 8))
    agrees_with_convert(model)
    assert torch.equal(model(torch.ones(2, 8)), outputs)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_a_scripted_module_beside_prepared_layers_stays_as_it_is() -> None:
    model = nn.Sequential(torch.jit.script(nn.Linear(8, 8)), nn.Linear(8, 4))
    with pytest.warns(UserWarning, match=r"1 of RecursiveScriptModule \(0\)"):
        ternzip.prepare(model)
    assert list(count_layers(model)) == ["1"]
    agrees_with_convert(model)


def test_latent_weights_never_pass_for_ternary_ones() -> None:
    class Renamed(nn.Sequential):
        def state_dict(self, *args: Any, **options: Any) -> Any:
            found = super().state_dict(*args, **options)
            return {f"own.{name}": tensor.clone() for name, tensor in found.items()}

    model = ternzip.prepare(Renamed(nn.Linear(8, 4)))
    with pytest.raises(TernzipError, match=r"0\.weight: its latent weight is not in the model's state_dict"):
        ternary_state(model)


def test_a_weight_that_is_parametrized_behind_its_quantizer_is_refused() -> None:
    class Mask(nn.Module):
        def forward(self, weight: torch.Tensor) -> torch.Tensor:
            return weight * (torch.arange(weight.shape[1]) % 2)

    model = ternzip.prepare(nn.Sequential(nn.Linear(8, 4)))
    parametrize.register_parametrization(model[0], "weight", Mask())
    for call in (ternary_state, count_layers, ternzip.convert, clip_latent_):
        with pytest.raises(
            TernzipError, match="layer 0: expected its quantizer alone, found Mask registered behind"
        ):
            call(model)


def test_a_layer_whose_class_is_another_now_is_not_converted() -> None:
    """fully_shard puts a class of its own upon that of every module."""
    model = ternzip.prepare(nn.Sequential(nn.Linear(8, 4)))
    model[0].__class__ = type("FSDPLinear", (type(model[0]),), {})
    with pytest.raises(TernzipError, match="layer 0: its class FSDPLinear is not the one that prepare made"):
        ternzip.convert(model)


def test_a_threshold_may_move_before_the_backward_pass() -> None:
    model = ternzip.prepare(nn.Sequential(nn.Linear(8, 8)), "delta")
    schedule = ternzip.DeltaSchedule(model, 0.1, "linear")
    loss = model(torch.randn(2, 8)).sum()
    schedule.step()
    loss.backward()
    assert model[0].parametrizations.weight.original.grad is not None


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
@pytest.mark.parametrize("quantizer", ["delta", "binary", "twn", "ttq", "ec2t"])
def test_layers_of_no_weights(quantizer: str) -> None:
    model = ternzip.prepare(nn.Sequential(nn.Linear(0, 4), nn.Linear(4, 4)), quantizer)
    model(torch.randn(2, 0)).sum().backward()
    assert count_layers(model)["0"].total == 0
