"""The networks: exact counts, key names, options, and loading other people's weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import ternzip
from ternzip import TernzipError, models


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def ternarized(model: nn.Module) -> int:
    return sum(m.weight.numel() for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear))


@pytest.mark.parametrize(("inflate", "total", "ternary"), [(1, 175_406, 174_128), (5, 4_338_030, 4_331_760)])
def test_the_papers_resnet_has_its_exact_counts(inflate: int, total: int, ternary: int) -> None:
    model = models.resnet20(inflate)
    assert parameters(model) == total
    assert ternarized(model) == ternary
    assert sum(isinstance(m, nn.Conv2d | nn.Linear) for m in model.modules()) == 16


@pytest.mark.parametrize(
    ("make", "total"),
    [
        (models.he_resnet20, 269_722),
        (models.he_resnet32, 464_154),
        (models.he_resnet44, 658_586),
        (models.he_resnet56, 853_018),
    ],
)
def test_he_resnets_have_their_exact_counts(make: object, total: int) -> None:
    assert parameters(make()) == total  # type: ignore[operator]


def test_fc3_has_three_layers() -> None:
    assert ternarized(models.fc3()) == 784 * 1000 + 1000 * 1000 + 1000 * 10


def test_convolutions_of_the_papers_resnet_start_with_its_deviation() -> None:
    weight = models.resnet20(5).layer3[1].conv2.weight
    assert weight.std().item() == pytest.approx((2 / (9 * 320)) ** 0.5, rel=0.02)


@pytest.mark.parametrize("activation", ["hardtanh", "relu", "leaky_relu", "elu", "selu"])
@pytest.mark.parametrize("name", sorted(models.ARCHITECTURES.keys() - {"resnet20-star", "he-resnet56"}))
def test_every_architecture_maps_images_to_scores(name: str, activation: str) -> None:
    model = models.architecture(name)((1, 16, 16), 7, activation=activation, dropout=0.5).eval()
    assert model(torch.randn(2, 1, 16, 16)).shape == (2, 7)


def test_the_last_block_stops_after_its_addition() -> None:
    model = models.resnet20().eval()
    x = torch.randn(1, 3, 32, 32)
    before = model(x)
    model.layer3[1].bn2.weight.data.fill_(7.0)
    assert torch.equal(model(x), before)
    model.layer3[0].bn2.weight.data.fill_(7.0)
    assert not torch.equal(model(x), before)


@pytest.mark.parametrize("make", [models.resnet20, models.he_resnet20])
def test_signed_activations_feed_signs_and_let_gradients_through(make: object) -> None:
    model = make(signed_activations=True)  # type: ignore[operator]
    seen = []
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear) and name != "conv1":
            module.register_forward_pre_hook(lambda _, args: seen.append(args[0].detach().unique().tolist()))
    x = torch.randn(4, 3, 32, 32, requires_grad=True)
    model(x).square().sum().backward()
    assert seen
    assert all(set(values) <= {-1.0, 1.0} for values in seen)
    assert x.grad is not None
    assert x.grad.abs().sum() > 0


def test_unknown_names_are_refused() -> None:
    with pytest.raises(TernzipError, match=r"unknown architecture 'vgg': expected one of resnet20"):
        models.architecture("vgg")
    with pytest.raises(TernzipError, match="unknown activation 'gelu'"):
        models.resnet20(activation="gelu")
    with pytest.raises(ValueError, match="6n"):
        models.HeResNet(21)


def test_wrapped_checkpoints_load(tmp_path: object) -> None:
    """As published: inside an outer dict, `module.` before every name, no num_batches_tracked."""
    source = models.he_resnet20()
    state = {
        f"module.{k}": v for k, v in source.state_dict().items() if not k.endswith("num_batches_tracked")
    }
    path = tmp_path / "fp32.pt"  # type: ignore[operator]
    torch.save({"state_dict": state, "best_prec1": 91.7}, path)
    loaded = models.load_weights(models.he_resnet20(), path)
    for name, tensor in source.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name


def test_training_checkpoints_load(tmp_path: object) -> None:
    """Their optimizer's tensors are no weights."""
    source = models.fc3()
    state = {f"model.{name}": value for name, value in source.state_dict().items()}
    path = tmp_path / "last.ckpt"  # type: ignore[operator]
    torch.save({"state_dict": state, "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(2)}}}]}, path)
    loaded = models.load_weights(models.fc3(), path)
    for name, tensor in source.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name


@pytest.mark.parametrize(
    ("key", "wrapper"), [("model", ""), ("model_state_dict", "module."), ("net", "model.")]
)
def test_the_model_in_a_training_checkpoint_is_found(tmp_path: Path, key: str, wrapper: str) -> None:
    """As training scripts save it: beside an optimizer, with tensors of its own."""
    source, target = nn.Linear(3, 2), nn.Linear(3, 2)
    state = {f"{wrapper}{name}": value for name, value in source.state_dict().items()}
    optimizer = {"state": {0: {"exp_avg": torch.ones(2, 3)}}}
    torch.save({"epoch": 3, "optimizer": optimizer, key: state}, tmp_path / "training.pt")
    models.load_weights(target, tmp_path / "training.pt")
    assert torch.equal(target.weight, source.weight)
    ternzip.compress(tmp_path / "training.pt", tmp_path / "training.tnz")
    models.load_weights(target, tmp_path / "training.tnz")
    # Of a model and its average nobody can tell which is meant.
    torch.save({key: state, "ema": state}, tmp_path / "two.pt")
    with pytest.raises(TernzipError, match=rf"2 missing, first weight; 4 unknown, first {key}\."):
        models.load_weights(target, tmp_path / "two.pt")


class Only(nn.Module):
    """A network with nothing but a child by this name."""

    def __init__(self, child: str) -> None:
        super().__init__()
        self.add_module(child, nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)))


@pytest.mark.parametrize("child", ["model", "module"])
@pytest.mark.parametrize("wrapper", ["", "model.", "module.", "module.model."])
def test_a_child_that_is_called_as_wrappers_are_keeps_its_name(
    tmp_path: Path, child: str, wrapper: str
) -> None:
    source = Only(child)
    state = {f"{wrapper}{name}": value for name, value in source.state_dict().items()}
    torch.save({"state_dict": state}, tmp_path / "net.pt")
    ternzip.save_file(state, tmp_path / "net.tnz")
    for given in (state, tmp_path / "net.pt", tmp_path / "net.tnz"):
        loaded = models.load_weights(Only(child), given)
        for name, tensor in source.state_dict().items():
            assert torch.equal(loaded.state_dict()[name], tensor), name
    assert list(models.read_weights(tmp_path / "net.pt")) == list(state)


def test_what_such_a_child_lacks_is_named_as_it_is() -> None:
    state = {name: value for name, value in Only("model").state_dict().items() if not name.endswith("0.bias")}
    for wrapper in ("", "module."):
        with pytest.raises(TernzipError, match=r"do not fit Only: 1 missing, first model\.0\.bias$"):
            models.load_weights(Only("model"), {f"{wrapper}{name}": value for name, value in state.items()})


def test_weights_that_do_not_fit_are_named() -> None:
    model, state = models.fc3(), models.fc3().state_dict()
    with pytest.raises(TernzipError, match=r"1 missing, first fc1\.weight; 1 unknown, first other"):
        models.load_weights(model, {("other" if k == "fc1.weight" else k): v for k, v in state.items()})
    with pytest.raises(TernzipError, match=r"tensor fc3\.bias: expected shape \(10,\), found \(9,\)"):
        models.load_weights(model, {**state, "fc3.bias": torch.zeros(9)})
    with pytest.raises(TernzipError, match="latent weights of a prepared model"):
        models.load_weights(model, {**state, "fc1.parametrizations.weight.original": state["fc1.weight"]})


def test_missing_file_is_one_clear_line(tmp_path: object) -> None:
    with pytest.raises(TernzipError, match=r"absent\.pt"):
        models.read_weights(tmp_path / "absent.pt")  # type: ignore[operator]
