"""inspect and verify at the shell, as text and as JSON."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from cli_run import Run, a_model, fails, misused
from samples import trits

import ternzip


def test_inspect(run: Run, tnz: Path) -> None:
    result = run("inspect", tnz)
    assert (result.status, result.err) == (0, "")
    for word in (
        "z.weight",
        "16x8x3x3",
        "scalar",
        "-0.5 +0.5",
        "= z.weight",
        "5 tensors",
        "author: someone",
    ):
        assert word in result.text
    assert f"model.tnz: {tnz.stat().st_size:,} bytes, of which header, framing and checksums" in result.text


def test_inspect_as_json(run: Run, tnz: Path) -> None:
    value = run("inspect", tnz, "--json").json()
    assert value["schema"] == 1
    tensors = {row["name"]: row for row in value["tensors"]}
    assert list(tensors) == list(a_model())
    assert value["metadata"] == {"author": "someone"}
    weight = a_model()["z.weight"]
    row = tensors["z.weight"]
    assert row["shape"] == [16, 8, 3, 3]
    assert row["dtype"] == "float32"
    assert row["levels"] == [-0.5, 0.5]
    assert row["level_blocks"] == 1
    assert row["level_block_shape"] == [16, 72]
    assert row["counted"] is True
    assert [row["negative"], row["zero"], row["positive"]] == [
        int((weight.sign() == s).sum()) for s in (-1, 0, 1)
    ]
    assert row["bits_per_symbol"] == pytest.approx(8 * row["bytes"] / weight.numel())
    assert tensors["masked"]["negative_zeros"] > 0
    assert tensors["tied"]["tied_to"] == "z.weight"
    assert tensors["tied"]["bytes"] == 0
    assert "levels" not in tensors["bias"]
    assert tensors["bias"]["codec"] == "solid"
    total = value["total"]
    assert total["tensors"] == 5
    assert total["bytes"] == tnz.stat().st_size
    assert total["bytes"] == total["overhead_bytes"] + total["ternary_bytes"] + total["other_bytes"]
    assert total["bytes"] == total["overhead_bytes"] + sum(row["bytes"] for row in value["tensors"])
    assert total["ternary_weights"] == total["negative"] + total["zero"] + total["positive"] == 1152 + 72
    assert total["ternary_bytes"] == tensors["z.weight"]["bytes"] + tensors["masked"]["bytes"]
    expected = sum(tensors[n]["entropy"] * a_model()[n].numel() / 8 for n in ("z.weight", "masked"))
    assert total["predicted_bytes"] == pytest.approx(expected)
    # What `compress` prints and the table shows; all symbols in one distribution would have more.
    assert total["entropy"] == pytest.approx(8 * expected / total["ternary_weights"])
    pooled = ternzip.SymbolCounts(total["negative"], total["zero"], total["positive"])
    assert total["entropy"] < pooled.entropy


def test_json_of_odd_files(run: Run, folder: Path) -> None:
    """Infinities are no JSON numbers, and there may be nothing to divide by."""
    weight = torch.tensor([[float("-inf"), 0.0], [0.0, 2.0]])
    rows = torch.tensor([[1.0, 2.0], [2.0, 0.0]]).repeat(1, 20) * torch.tensor([[1.0], [3.0]])
    ternzip.save_file(
        {"w": weight, "rows": trits(2, 99).float() * torch.tensor([[1.0], [3.0]]), "r": rows}, "odd.tnz"
    )
    tensors = {row["name"]: row for row in run("inspect", "odd.tnz", "--json").json()["tensors"]}
    assert tensors["w"]["levels"] == ["-inf", 2.0]
    assert tensors["rows"]["levels"] is None
    assert tensors["rows"]["level_blocks"] == 2
    assert tensors["rows"]["level_block_shape"] == [1, 99]
    assert "-inf +2" in run("inspect", "odd.tnz").text
    assert "per row" in run("inspect", "odd.tnz").text
    ternzip.save_file({}, "empty.tnz")
    total = run("inspect", "empty.tnz", "--json").json()["total"]
    assert (total["tensors"], total["bits_per_symbol"], total["entropy"]) == (0, None, 0)
    assert run("inspect", "empty.tnz").status == 0
    assert run("verify", "empty.tnz").text == "empty.tnz: 0 tensors whole\n"
    assert run("decompress", "empty.tnz").status == 0


def test_compress_as_json(run: Run, model: dict[str, torch.Tensor]) -> None:
    value = run("compress", "model.pt", "--json").json()
    assert value["source"] == "model.pt"
    assert value["source_bytes"] == Path("model.pt").stat().st_size
    assert value["file"] == "model.tnz"
    assert value["bytes"] == Path("model.tnz").stat().st_size
    assert value["tensors"] == 5
    assert value["schema"] == 1
    assert value["not_stored"] == [
        "1 entry that is no tensor (epoch)",
        "the key 'state_dict' around the tensors",
    ]


def test_weights_that_are_almost_ternary_are_named(run: Run, folder: Path) -> None:
    weight = trits(64, 64).float()
    weight[1, 2] = 0.3
    torch.save({f"w{i}": weight + 0 for i in range(7)}, "stray.pt")
    result = run("compress", "stray.pt", "--json")
    why = "4,095 of 4,096 elements take three values; 1 does not, the first at index 66"
    assert result.json()["almost_ternary"] == {f"w{i}": why for i in range(7)}
    notes = result.err.splitlines()
    assert notes[:5] == [f"ternzip: note: w{i}: not stored as ternary: {why}" for i in range(5)]
    assert notes[5:] == ["ternzip: note: 2 more tensors not stored as ternary, though nearly so"]


def test_a_file_that_is_no_smaller_is_not_called_smaller(run: Run, folder: Path) -> None:
    torch.save({"w": torch.ones(3)}, "small.pt")
    assert "bytes, no smaller than its tensors); no ternary weights" in run("compress", "small.pt").text


def test_verify_as_json(run: Run, model: dict[str, torch.Tensor], tnz: Path) -> None:
    assert run("verify", tnz, "--json").json() == {
        "schema": 1,
        "file": "model.tnz",
        "tensors": 5,
        "against": None,
        "equal": True,
        "differences": [],
        "not_compared": [],
    }
    against = run("verify", tnz, "--against", "model.pt", "--json").json()
    assert against["not_compared"] == [
        "1 entry that is no tensor (epoch)",
        "the key 'state_dict' around the tensors",
    ]
    torch.save({**model, "bias": model["bias"] + 1}, "other.pt")
    result = run("verify", tnz, "--against", "other.pt", "--json")
    assert result.status == 1
    value = result.json()
    assert value["equal"] is False
    assert len(value["differences"]) == 1
    assert value["differences"][0].startswith("tensor 'bias': 8 of 8 elements differ")


def flipped(tensor: torch.Tensor) -> torch.Tensor:
    other = tensor.clone()
    other.view(torch.int32).view(-1)[5] ^= 1
    return other


CHANGES: dict[str, tuple[Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]], str]] = {
    "bit": (
        lambda m: {**m, "bias": flipped(m["bias"])},
        "tensor 'bias': 1 of 8 elements differ, first at index 5",
    ),
    "dtype": (lambda m: {**m, "bias": m["bias"].double()}, "tensor 'bias': expected float64, found float32"),
    "name": (
        lambda m: {name.replace("bias", "offset"): tensor for name, tensor in m.items()},
        "in 2 places: tensor 'bias': in the file, not in other.pt",
    ),
    "tie": (
        lambda m: {**m, "tied": m["tied"].clone()},
        "tensor 'tied': in the file tied to 'z.weight', in other.pt not",
    ),
    "order": (
        lambda m: {name: m[name] for name in ("z.weight", "bias", "masked", "tied", "steps")},
        "tensor 'masked': the order of tensors differs from here on",
    ),
    "shape": (
        lambda m: {**m, "bias": m["bias"].view(2, 4)},
        "tensor 'bias': expected shape [2, 4], found [8]",
    ),
    "missing": (
        lambda m: {n: t for n, t in m.items() if n != "steps"},
        "tensor 'steps': in the file, not in other.pt",
    ),
    "further": (lambda m: {**m, "more": torch.ones(1)}, "tensor 'more': in other.pt, not in the file"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_verify_names_what_differs(run: Run, tnz: Path, change: str) -> None:
    alter, message = CHANGES[change]
    torch.save(alter(a_model()), "other.pt")
    result = run("verify", tnz, "--against", "other.pt")
    assert result.status == 1
    assert result.out == b""
    last = result.err.splitlines()[-1]
    assert last.startswith("ternzip: error: model.tnz differs from other.pt in ")
    assert message in last


def test_verify_finds_any_damage(run: Run, tnz: Path) -> None:
    assert run("verify", tnz).text == "model.tnz: 5 tensors whole\n"
    whole = tnz.read_bytes()
    for position in range(0, len(whole), 5):
        tnz.write_bytes(whole[:position] + bytes([whole[position] ^ 16]) + whole[position + 1 :])
        fails(run("verify", tnz), "model.tnz: ", "offset")


def test_errors_are_json_too(run: Run, tnz: Path) -> None:
    whole = tnz.read_bytes()
    tnz.write_bytes(whole[:-1])
    for command, arguments in (
        ("verify", ["model.tnz"]),
        ("inspect", ["model.tnz"]),
        ("compress", ["model.tnz", "x.tnz"]),
    ):
        result = run(command, *arguments, "--json")
        assert result.status == 1
        assert result.err.startswith("ternzip: error: model.tnz: offset")
        value = result.json()
        assert value["schema"] == 1
        assert f"ternzip: error: {value['error']}\n" == result.err
    assert run("verify", "model.tnz", "--json").json()["equal"] is False
    tnz.write_bytes(whole)
    value = run("verify", "model.tnz", "--against", "missing.pt", "--json").json()
    assert (value["equal"], value["against"]) == (False, "missing.pt")
    assert value["error"] == "missing.pt: cannot read: No such file or directory"


def test_several_files_are_verified_and_inspected(run: Run, tnz: Path) -> None:
    whole = tnz.read_bytes()
    for name in ("a.tnz", "c.tnz"):
        Path(name).write_bytes(whole)
    Path("b.tnz").write_bytes(whole[:-1])
    result = run("verify", "a.tnz", "b.tnz", "c.tnz")
    assert result.out.decode() == "a.tnz: 5 tensors whole\nc.tnz: 5 tensors whole\n"  # b does not stop c
    assert (result.status, result.err.count("\n")) == (1, 1)
    assert result.err.startswith("ternzip: error: b.tnz: offset")
    files = run("verify", "a.tnz", "b.tnz", "--json").json()["files"]
    assert [(one["file"], one["equal"], "error" in one) for one in files] == [
        ("a.tnz", True, False),
        ("b.tnz", False, True),
    ]
    tables = run("inspect", "a.tnz", "c.tnz")
    alone = run("inspect", "a.tnz").text
    assert (tables.status, tables.text) == (0, f"{alone}\n{alone.replace('a.tnz', 'c.tnz')}")
    files = run("inspect", "a.tnz", "b.tnz", "--json").json()["files"]
    assert [one.get("total", {}).get("tensors") for one in files] == [5, None]
    assert [one["file"] for one in files] == ["a.tnz", "b.tnz"]


def test_several_files_are_compared_with_none(run: Run, tnz: Path) -> None:
    result = run("verify", "model.tnz", "model.tnz", "--against", "model.pt")
    assert (result.status, "compares one SRC, found 2" in result.err) == (2, True)
    for command in ("verify", "inspect"):
        result = run(command, "model.tnz", "-", stdin=tnz.read_bytes())
        assert (result.status, "- cannot be one of several SRC" in result.err) == (2, True)


def test_stdin_cannot_be_both(run: Run, tnz: Path) -> None:
    result = run("verify", "-", "--against", "-", stdin=tnz.read_bytes())
    assert result.status == 2
    assert "stdin can only be read once" in result.err


@pytest.mark.parametrize("command", ["inspect", "verify", "decompress"])
def test_a_limit_of_memory(run: Run, tnz: Path, command: str) -> None:
    size = sum(tensor.nbytes for name, tensor in a_model().items() if name != "tied")
    words = f"at most {size - 1:,} bytes in memory"
    result = run(command, tnz, "--max-size", size - 1)
    fails(result, words, f"found {size:,}")
    assert "max_bytes" not in result.err  # what a person typed is called --max-size
    assert run(command, tnz, "--max-size", f"{size}B").status == 0
    for text in ("many", "2XB", "-1", "1e3", "0"):
        misused(
            run(command, tnz, "--max-size", text),
            "--max-size",
            "expected a" if text != "0" else "at least 1 byte",
        )
