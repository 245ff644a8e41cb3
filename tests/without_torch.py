"""The light path, run where importing torch is an error: python without_torch.py FOLDER MODEL.safetensors MODEL.pt.

What it prints and leaves in the folder is compared by test_light.py with what the same does beside torch.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

sys.modules["torch"] = None  # type: ignore[assignment]

import numpy as np
import pytest

import ternzip


def refused(work: Callable[[], object]) -> str:
    """The one line of the error that names the extra; an ImportError too."""
    with pytest.raises(ImportError) as raised:
        work()
    assert isinstance(raised.value, ternzip.TernzipError)
    return str(raised.value)


def main(folder: Path, model: Path, pickled: Path) -> None:
    """Every step once."""
    ternzip.compress(model, folder / "model.tnz")
    assert ternzip.verify(folder / "model.tnz", model).equal
    ternzip.decompress(folder / "model.tnz", folder / "again.safetensors")

    arrays = {"w": np.eye(40, 30, dtype=np.float32), "n": np.arange(5, dtype=np.int16)}
    arrays["tied"] = arrays["w"]
    ternzip.numpy.save_file(arrays, folder / "arrays.tnz", {"k": "v"})
    loaded = ternzip.numpy.load((folder / "arrays.tnz").read_bytes())
    assert all(np.array_equal(loaded[name], arrays[name]) for name in arrays)
    with ternzip.safe_open(folder / "arrays.tnz", "numpy") as file:
        assert np.array_equal(file.get_tensor("w"), arrays["w"])

    np.savez(folder / "arrays.npz", **arrays)
    np.save(folder / "array.npy", arrays["w"])
    for name in ("arrays.npz", "array.npy"):
        tnz = folder / f"{name}.tnz"
        ternzip.compress(folder / name, tnz)
        assert ternzip.verify(tnz, folder / name).equal
        ternzip.decompress(tnz, folder / f"again-{name}")

    for work in (
        lambda: ternzip.ops,
        lambda: ternzip.prepare,
        lambda: __import__("ternzip.ops"),
        lambda: __import__("ternzip.lowrank"),
        lambda: ternzip.compress(pickled, folder / "p.tnz"),
        lambda: ternzip.decompress(folder / "model.tnz", folder / "model.pt"),
        lambda: ternzip.save({}),
        lambda: ternzip.load_file(folder / "model.tnz"),
        lambda: ternzip.safe_open(folder / "model.tnz").get_tensor("w"),
        lambda: ternzip.compress(model, folder / "t.tnz", ternarize="twn"),
        lambda: ternzip.compress(model, folder / "r.tnz", float_dtype="bfloat16"),
    ):
        print(refused(work))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
