"""compress --ternarize: never unasked, told, and checked."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from cli_run import Run, fails, misused
from samples import assert_same
from torch import nn

import ternzip


@pytest.fixture
def dense(folder: Path) -> dict[str, torch.Tensor]:
    tensors = {"conv.weight": torch.randn(8, 4, 3, 3), "fc.weight": torch.randn(5, 8), "bias": torch.randn(5)}
    torch.save(tensors, "dense.pt")
    return tensors


def test_full_precision_weights_are_never_ternarized_unasked(
    run: Run, dense: dict[str, torch.Tensor]
) -> None:
    result = run("compress", "dense.pt")
    assert (result.status, result.err) == (0, "")
    assert result.text.endswith("; no ternary weights\n")
    assert_same(ternzip.load_file("dense.tnz"), dense)


def test_ternarize(run: Run, dense: dict[str, torch.Tensor]) -> None:
    result = run("compress", "dense.pt", "--ternarize", "--delta", 0.5, "--skip", "fc.*")
    assert result.status == 0
    assert "ternarized 1 tensor (288 weights), Delta = 0.5, levels -1 and +1: " in result.err
    assert " % zeros (conv.weight). The file does not restore the full-precision weights." in result.err
    assert "left 1 tensor as found: fc.weight" in result.err
    found = ternzip.load_file("dense.tnz")
    weight = dense["conv.weight"]
    assert torch.equal(found["conv.weight"], torch.sign(weight) * (weight.abs() > 0.5))
    assert_same({n: found[n] for n in ("fc.weight", "bias")}, {n: dense[n] for n in ("fc.weight", "bias")})
    fails(run("verify", "dense.tnz", "--against", "dense.pt"), "'conv.weight'")


@pytest.mark.parametrize("around", ["optimizer", "optimizer_states"])
def test_an_optimizers_state_is_no_weight(run: Run, folder: Path, around: str) -> None:
    model = nn.Sequential(nn.Linear(6, 5))
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.randn(3, 6)).sum().backward()
    optimizer.step()
    state = optimizer.state_dict()
    stored = {"model": model.state_dict(), around: [state] if around.endswith("s") else state}
    torch.save(stored, "run.pt")
    result = run("compress", "run.pt", "--ternarize", "--delta", 0.2)
    assert "ternarized 1 tensor (30 weights)" in result.err
    prefix = f"{around}.0" if around.endswith("s") else around
    names = [f"{prefix}.state.0.{moment}" for moment in ("exp_avg", "exp_avg_sq")]
    assert f"left 2 tensors as found: {', '.join(names)}" in result.err
    found = ternzip.load_file("run.tnz")
    assert torch.equal(found[names[0]], state["state"][0]["exp_avg"])
    assert found["model.0.weight"].unique().tolist() == [-1, 0, 1]


def test_ternarize_by_default_and_as_twn(run: Run, dense: dict[str, torch.Tensor]) -> None:
    assert "Delta = 0.1, levels -1 and +1" in run("compress", "dense.pt", "a.tnz", "--ternarize").err
    result = run("compress", "dense.pt", "b.tnz", "--ternarize", "--threshold", "twn")
    assert "0.7 x mean |w| of each tensor, levels -+ mean |w| of the kept weights" in result.err
    result = run("compress", "dense.pt", "c.tnz", "--ternarize", "--scale", "--delta", "0.05")
    assert "Delta = 0.05, levels -+ mean |w|" in result.err
    weight = dense["fc.weight"]
    level = weight[weight.abs() > 0.05].abs().double().mean().float()
    with ternzip.safe_open("c.tnz") as file:
        assert file.info("fc.weight").levels == (-level, level)


def test_ternarize_must_be_asked_for(run: Run, dense: dict[str, torch.Tensor]) -> None:
    for option in (["--delta", "0.1"], ["--threshold", "twn"], ["--scale"], ["--skip", "x"]):
        misused(run("compress", "dense.pt", *option), option[0], "needs --ternarize")
    misused(
        run("compress", "dense.pt", "--ternarize", "--threshold", "twn", "--delta", "0.1"),
        "its own threshold",
    )
    for delta in ("-0.1", "inf", "nan"):
        misused(run("compress", "dense.pt", "--ternarize", "--delta", delta), "--delta")
    misused(run("compress", "dense.pt", "--ternarize", "--threshold", "ttq"), "--threshold")
    assert [path.name for path in Path().iterdir()] == ["dense.pt"]


def test_weights_that_cannot_be_ternarized_leave_no_file(run: Run, folder: Path) -> None:
    torch.save({"w": torch.tensor([[1.0, float("nan")]])}, "nan.pt")
    fails(run("compress", "nan.pt", "--ternarize"), "nan.pt: tensor 'w': cannot ternarize")
    assert [path.name for path in folder.iterdir()] == ["nan.pt"]


def test_latent_weights_are_pointed_out(run: Run, folder: Path) -> None:
    network = ternzip.prepare(nn.Sequential(nn.Linear(4, 4)))
    torch.save(network.state_dict(), "latent.pt")
    result = run("compress", "latent.pt")
    assert result.status == 0
    assert "0.parametrizations.weight.original: latent full-precision weights, stored as such" in result.err
    assert "ternzip.convert(model)" in result.err
    assert (
        "--ternarize" not in result.err
    )  # levels of -1 and +1 make another network of one that TWN has trained
    assert_same(ternzip.load_file("latent.tnz"), network.state_dict())
    changed = run("compress", "latent.pt", "other.tnz", "--ternarize")
    assert (
        "original: latent full-precision weights, made ternary by --ternarize, not by their quantizer"
        in changed.err
    )
    torch.save(ternzip.convert(network).state_dict(), "latent.pt")
    assert "latent" not in run("compress", "latent.pt", "--force").err.replace("latent.pt", "")


def test_layers_of_which_nothing_is_left_are_named(run: Run, folder: Path) -> None:
    """The network is dead then, although everything went well."""
    tensors = {"a": torch.randn(4, 4), "b": torch.full((3, 3), 0.05), "was zero": torch.zeros(2, 2)}
    torch.save(tensors, "dense.pt")
    warning = "ternzip: warning: 1 tensor became all zero (b): no weight is beyond Delta"
    assert warning in run("compress", "dense.pt", "--ternarize").err
    assert "became" not in run("compress", "dense.pt", "--force", "--ternarize", "--threshold", "twn").err


def test_weights_of_types_that_are_not_ternarized_are_told(run: Run, folder: Path) -> None:
    weight = torch.randn(4, 4)
    tensors = {"w": weight, "narrow": weight.to(torch.float8_e4m3fn), "complex": weight.to(torch.complex64)}
    torch.save(tensors, "dense.pt")
    result = run("compress", "dense.pt", "--ternarize")
    assert "left 2 tensors as found: narrow, complex" in result.err


def test_json_has_what_was_changed(run: Run, dense: dict[str, torch.Tensor]) -> None:
    """A script sees that a file is not lossless without reading notes for people."""
    found = run("compress", "dense.pt", "--json").json()
    assert (found["ternarized"], found["rounded"], found["latent"]) == ([], [], [])
    options = ("--ternarize", "--skip", "fc.*", "--float-dtype", "bfloat16")
    found = run("compress", "dense.pt", "--force", "--json", *options).json()
    assert (found["ternarized"], found["rounded"]) == (["conv.weight"], ["fc.weight", "bias"])


def test_a_pattern_that_skips_nothing_is_an_error(run: Run, dense: dict[str, torch.Tensor]) -> None:
    """A typo must not make the head ternary."""
    result = run("compress", "dense.pt", "--ternarize", "--skip", "cf.*")
    fails(result, "dense.pt: skip: no tensor matches 'cf.*': expected one of conv.weight, fc.weight, bias")
    assert [path.name for path in Path().iterdir()] == ["dense.pt"]


@pytest.mark.parametrize("normalization", ["weight_norm", "spectral_norm"])
def test_normalized_weights_are_not_announced_as_latent(run: Run, folder: Path, normalization: str) -> None:
    layer = getattr(nn.utils.parametrizations, normalization)(nn.Linear(3, 3))
    torch.save(layer.state_dict(), "normalized.pt")
    assert "latent" not in run("compress", "normalized.pt").err
