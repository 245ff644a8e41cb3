"""ternzip.numpy: arrays in .tnz files, with the signatures of safetensors.numpy."""

from __future__ import annotations

import inspect
import io
import sys
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
import torch
from samples import random_bits

import ternzip
from ternzip import TernzipError
from ternzip.io import arrays
from ternzip.numpy import load, load_file, save, save_file


def some_arrays() -> dict[str, np.ndarray[Any, Any]]:
    rng = np.random.default_rng(0)
    kinds = (
        "float64 float32 float16 int8 int16 int32 int64 uint8 uint16 uint32 uint64 bool complex64 complex128"
    )
    found = {kind: rng.integers(0, 2, (3, 5)).astype(kind) for kind in kinds.split()}
    base = rng.normal(size=(6, 8)).astype(np.float32)
    found |= {"base": base, "same": base, "view": base[:], "columns": base[:, ::2], "turned": base.T}
    return found | {"scalar": np.array(2.5), "empty": np.empty((0, 3)), "empty too": np.empty((0, 3))}


@pytest.mark.parametrize("verb", ["save", "save_file", "load", "load_file"])
def test_signatures(verb: str) -> None:
    theirs = inspect.signature(getattr(safetensors.numpy, verb)).parameters.values()
    own = inspect.signature(getattr(ternzip.numpy, verb)).parameters.values()
    shared = [(p.name, p.kind, p.default) for p in theirs if p.name != "backend"]
    assert [(p.name, p.kind, p.default) for p in own][: len(shared)] == shared


def test_arrays_come_back(tmp_path: Path) -> None:
    given = some_arrays()
    save_file(given, tmp_path / "a.tnz", {"k": "v"})
    assert (tmp_path / "a.tnz").read_bytes() == save(given, {"k": "v"})
    for found in (load_file(tmp_path / "a.tnz"), load(save(given))):
        assert list(found) == list(given)
        for name, array in given.items():
            assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
            assert found[name].tobytes() == array.tobytes()
            assert found[name].flags.writeable
        assert found["same"] is found["base"] is found["view"]
        assert found["columns"] is not found["base"]


def test_the_file_is_the_one_that_torch_makes() -> None:
    given = {name: array for name, array in some_arrays().items() if name != "view"}
    base = torch.from_numpy(given["base"])
    tensors = {name: torch.from_numpy(array) for name, array in given.items()}
    tensors |= {"base": base, "same": base, "columns": base[:, ::2], "turned": base.T}
    assert save(given) == ternzip.save(tensors)


def test_memory_that_is_used_again_is_no_tie() -> None:
    class Changing(dict[str, Any]):
        def items(self) -> Any:
            for number in range(4):
                yield f"t{number}", np.full(50, float(number))

    found = load(save(Changing()))
    assert [array[0] for array in found.values()] == [0.0, 1.0, 2.0, 3.0]


def test_big_endian_arrays_keep_their_numbers() -> None:
    array = np.arange(6, dtype=">i4").reshape(2, 3)
    found = load(save({"a": array}))["a"]
    assert found.dtype == np.dtype("<i4")
    assert np.array_equal(found, array)


def test_what_cannot_be_stored_is_named() -> None:
    for array, words in {
        "a list": ([1.0], "expected a numpy.ndarray, found list"),
        "text": (np.array(["a"]), "cannot store <U1"),
        "a date": (np.zeros(2, "datetime64[s]"), r"cannot store datetime64\[s\]"),
        "fields": (np.zeros(2, [("a", "f4")]), "cannot store"),
        "masked": (np.ma.masked_array([1.0], [True]), "cannot store a masked array: its mask would be lost"),
        "long": (np.zeros(2, np.longdouble), "cannot store float128|cannot store longdouble"),
        "half bytes": (np.zeros(2, ml_dtypes.int4), "cannot store int4"),
    }.values():
        with pytest.raises(TernzipError, match=f"tensor 'x': {words}"):
            save({"x": array})  # type: ignore[dict-item]
    with pytest.raises(TernzipError, match="expected a name of type str, found int"):
        save({1: np.zeros(2)})  # type: ignore[dict-item]
    with pytest.raises(TernzipError, match="expected a mapping of names to arrays, found list"):
        save([np.zeros(2)])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="load_file takes a path"):
        load_file(b"bytes")  # type: ignore[arg-type]


def test_types_of_ml_dtypes(monkeypatch: pytest.MonkeyPatch) -> None:
    data = ternzip.save({"b": random_bits(torch.bfloat16, 4, 6), "e": random_bits(torch.float8_e5m2, 7)})
    found = load(data)
    assert found["b"].dtype == ml_dtypes.bfloat16
    assert save(found) == data
    arrays.numpy_dtype.cache_clear()
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    try:
        with pytest.raises(TernzipError, match="tensor 'b': numpy has no bfloat16: pip install ml_dtypes"):
            load(data)
        with (
            ternzip.safe_open(io.BytesIO(data), "np") as file,
            pytest.raises(TernzipError, match="numpy has no"),
        ):
            file.get_tensor("e")
    finally:
        arrays.numpy_dtype.cache_clear()
    with pytest.raises(TernzipError, match="numpy has no complex32: load it with torch"):
        load(ternzip.save({"c": random_bits(torch.complex32, 3)}))


def test_options_are_those_of_save_file() -> None:
    array = np.eye(50, dtype=np.float32)
    assert save({"a": array}, codec="packed") == ternzip.save({"a": torch.eye(50)}, codec="packed")
    with pytest.raises(TernzipError, match="at most 100 bytes"):
        load(save({"a": array}), max_bytes=100)
