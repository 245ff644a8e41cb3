"""Ternary activations: the quantizer before a layer, how it learns, and its way through prepare, convert and files."""

from __future__ import annotations

import copy
import math
import pickle
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import ternzip
from ternzip import TernzipError
from ternzip.quantization import TernaryActivation, parameter_groups, quantize_inputs
from ternzip.quantization.activations import input_quantizer


def quantizer(scale: float) -> TernaryActivation:
    made = TernaryActivation()
    made.load_state_dict({"log_scale": torch.tensor(scale).log()})
    return made


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.Flatten(), nn.Linear(128, 4), nn.Linear(4, 2)
    )


def images(seed: int = 1) -> Tensor:
    return torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(seed))


def prepared() -> nn.Module:
    model = ternzip.prepare(network(), activations="ternary")
    model(images())
    return model


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_values_are_compared_with_half_the_scale(dtype: torch.dtype) -> None:
    made = quantizer(1.0)
    half = torch.tensor(0.5, dtype=dtype)
    above = (
        torch.nextafter(half.float(), torch.tensor(1.0)).to(dtype) if dtype == torch.float32 else half * 1.25
    )
    x = torch.stack([-above, -half, half * 0, half, above, half * 1e4, half / 0, -half / 0])
    assert made(x).dtype == dtype
    assert made(x).tolist() == [-1, 0, 0, 0, 1, 1, 1, -1]


def test_not_a_number_stays_one() -> None:
    assert quantizer(1.0)(torch.tensor([math.nan, 2.0])).isnan().tolist() == [True, False]


def test_the_gradient_is_straight_through_within_the_range_and_lsq_for_the_scale() -> None:
    made = quantizer(2.0)
    x = torch.tensor([[-3.0, -1.5, 0.5], [1.5, 2.5, 0.0]], requires_grad=True)
    upstream = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    made(x).backward(upstream)
    assert x.grad is not None
    assert made.log_scale.grad is not None
    torch.testing.assert_close(x.grad, torch.tensor([[0.0, 2.0, 3.0], [4.0, 0.0, 6.0]]))
    of_scale = -1 * 1 + 2 * (-1 + 0.75) + 3 * (0 - 0.25) + 4 * (1 - 0.75) + 5 * 1
    # d / d log a is a times d / d a; a sample has three elements.
    torch.testing.assert_close(made.log_scale.grad, torch.tensor(2.0 * of_scale / math.sqrt(3)))


def test_the_first_input_sets_the_scale_and_zeros_do_not() -> None:
    made = TernaryActivation()
    assert torch.equal(made(torch.zeros(2, 3)), torch.zeros(2, 3))
    assert not made.calibrated
    x = torch.tensor([[1.0, -3.0]])
    made(x)
    made(100 * x)
    torch.testing.assert_close(made.scale.detach(), torch.tensor(4.0))


def test_prepare_quantizes_the_input_of_ternarized_layers_but_the_first() -> None:
    model = ternzip.prepare(network(), activations="ternary", skip=["5"])
    assert [name for name, module in model.named_modules() if input_quantizer(module)] == ["2", "4"]
    seen: list[Tensor] = []
    handle = model[2].register_forward_hook(lambda module, args, out: seen.append(args[0]))
    model(images())
    handle.remove()
    assert len(seen[0].unique()) == 2  # behind a ReLU


def test_a_step_of_training_moves_the_scale_and_weight_decay_does_not() -> None:
    model = prepared()
    groups = parameter_groups(model, lr=0.1, weight_decay=0.5)
    scales = [module.log_scale for module in model.modules() if isinstance(module, TernaryActivation)]
    assert len(scales) == 3
    assert {id(p) for p in scales} <= {id(p) for p in groups[1]["params"]}
    assert groups[1]["weight_decay"] == 0
    before = [float(p.detach()) for p in scales]
    model(images()).square().sum().backward()
    torch.optim.AdamW(groups).step()
    assert all(float(p.detach()) != b for p, b in zip(scales, before, strict=True))


def test_convert_keeps_the_quantizers_and_the_outputs() -> None:
    model = prepared().eval()
    with torch.no_grad():
        expected = model(images(2))
        assert torch.equal(ternzip.convert(copy.deepcopy(model))(images(2)), expected)
        again = pickle.loads(pickle.dumps(ternzip.convert(model)))
        assert torch.equal(again(images(2)), expected)
    assert "2.input_quantizer.log_scale" in model.state_dict()


def test_autocast_compile_and_keyword_inputs() -> None:
    model = prepared()
    with torch.no_grad():
        expected = model(images(2))
        compiled = torch.compile(model, backend="eager", fullgraph=True)
        assert torch.equal(compiled(images(2)), expected)
        with torch.autocast("cpu", torch.bfloat16):
            assert model(images(2)).dtype == torch.bfloat16
        layer = model[2]
        x = torch.randn(1, 8, 5, 5)
        assert torch.equal(layer(input=x), layer(x))


def test_a_compiled_quantizer_trains_alike() -> None:
    made, x = quantizer(1.0), torch.randn(4, 5)
    made(x).square().sum().backward()
    expected = made.log_scale.grad
    made.zero_grad()
    torch.compile(made, backend="aot_eager", fullgraph=True)(x).square().sum().backward()
    assert expected is not None
    torch.testing.assert_close(made.log_scale.grad, expected)


def test_processes_must_not_start_from_scales_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    with pytest.raises(TernzipError, match="run one batch through the model before distributed training"):
        TernaryActivation()(torch.ones(2, 2))
    assert quantizer(1.0)(torch.ones(2, 2)).sum() == 4


def test_a_file_restores_the_scales(tmp_path: Path) -> None:
    model = prepared().eval()
    path = tmp_path / "m.tnz"
    ternzip.save_model(model, path)
    again = ternzip.load_model(network(), path).eval()
    with torch.no_grad():
        assert torch.equal(again(images(2)), model(images(2)))
    with torch.inference_mode():
        fast = ternzip.runtime.load_model(network(), path)
        torch.testing.assert_close(fast(images(2)), model(images(2)))
    with_state = quantize_inputs(network(), ["2", "4", "5"])
    with_state.load_state_dict(ternzip.load_file(path))
    with torch.no_grad():
        assert torch.equal(with_state(images(2)), model(images(2)))


def test_a_file_with_scales_for_no_layer_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "m.tnz"
    tensors = {**network().state_dict(), "1.input_quantizer.log_scale": torch.tensor(0.0)}
    ternzip.save_file(tensors, path)
    model = network()
    with pytest.raises(TernzipError, match=r"1 unknown, first 1\.input_quantizer\.log_scale"):
        ternzip.load_model(model, path)
    assert all(input_quantizer(module) is None for module in model.modules())


def test_errors_say_what_is_wrong_and_change_nothing() -> None:
    model = network()
    with pytest.raises(TernzipError, match="expected None or \"ternary\", found 'binary'"):
        ternzip.prepare(model, activations="binary")
    with pytest.raises(TernzipError, match="behind the model's first layer, found none"):
        ternzip.prepare(nn.Sequential(nn.Linear(3, 3)), activations="ternary")
    with pytest.raises(TernzipError, match="layer '1': expected a convolution or a linear layer, found ReLU"):
        quantize_inputs(model, ["0", "1"])
    assert list(model.state_dict()) == list(network().state_dict())
    with pytest.raises(TernzipError, match="layer 2: its ternary activation has no scale yet"):
        ternzip.convert(ternzip.prepare(model, activations="ternary"))


def test_scales_keep_the_type_that_they_were_saved_in(tmp_path: Path) -> None:
    model = prepared().bfloat16().eval()
    ternzip.save_model(model, tmp_path / "m.tnz")
    loaded = ternzip.load_model(network().bfloat16().eval(), tmp_path / "m.tnz")
    x = images().bfloat16()
    assert torch.equal(loaded(x), ternzip.convert(copy.deepcopy(model))(x))
    ternzip.save_model(loaded, tmp_path / "again.tnz")
    assert (tmp_path / "again.tnz").read_bytes() == (tmp_path / "m.tnz").read_bytes()


def test_an_average_takes_the_scale_of_what_it_averages() -> None:
    """Made before the first batch, as most are; its scales are then set by no input of its own."""
    model = ternzip.prepare(network(), activations="ternary")
    average = torch.optim.swa_utils.AveragedModel(model)
    model(images())
    average.update_parameters(model)
    found = input_quantizer(average.module[2])
    assert found is not None
    before = found.scale.clone()
    average.eval()(100 * images())
    assert torch.equal(found.scale, before)
    ternzip.convert(average.module)


def test_a_scale_that_is_none_is_not_saved(tmp_path: Path) -> None:
    model = ternzip.prepare(network(), activations="ternary")
    with pytest.raises(TernzipError, match="layer 2: its ternary activation has no scale yet"):
        ternzip.save_model(model, tmp_path / "m.tnz")
    assert not list(tmp_path.iterdir())


@pytest.mark.filterwarnings("ignore:prepare leaves weights in full precision")
def test_an_encoder_with_a_padding_mask() -> None:
    """torch's encoder makes nested tensors of what is masked, which have no sizes, where no gradients are wanted."""
    torch.manual_seed(0)
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True), 2)
    x, padding = torch.randn(3, 5, 16), torch.zeros(3, 5, dtype=torch.bool)
    padding[0, 3:] = True
    ternzip.prepare(encoder, activations="ternary")
    encoder(x, src_key_padding_mask=padding)
    encoder.eval()
    expected = encoder(x, src_key_padding_mask=padding)
    with torch.no_grad():
        found = encoder(x, src_key_padding_mask=padding)
    torch.testing.assert_close(found[~padding], expected[~padding])
