"""What cannot be stored is refused by name."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import ternzip
from ternzip._core.errors import TernzipError


def refused_tensors() -> dict[str, tuple[Tensor, str]]:
    dense = torch.eye(3)
    jagged = torch.nested.nested_tensor([torch.ones(2), torch.ones(3)], layout=torch.jagged)
    quantized = torch.quantize_per_tensor(dense, 0.1, 0, torch.qint8)
    return {
        "sparse": (dense.to_sparse(), "cannot store a sparse_coo tensor: expected a dense one"),
        "csr": (dense.to_sparse_csr(), "cannot store a sparse_csr tensor"),
        "quantized": (quantized, "cannot store torch.qint8: the format has no code for it"),
        "meta": (torch.ones(3, device="meta"), "cannot store a meta tensor: it has no elements"),
        "jagged": (jagged, "cannot store a nested tensor"),
        "lazy": (nn.UninitializedParameter(), "cannot store an uninitialized parameter"),
        "bits": (torch.empty(3, dtype=torch.uint4), "cannot store torch.uint4"),
    }


@pytest.mark.filterwarnings("ignore")  # torch's own, about some of these kinds
@pytest.mark.parametrize("kind", ["sparse", "csr", "quantized", "meta", "jagged", "lazy", "bits"])
def test_what_cannot_be_stored_is_refused_by_name(kind: str) -> None:
    tensor, message = refused_tensors()[kind]
    with pytest.raises(TernzipError, match=f"^tensor 'the {kind}': {message}"):
        ternzip.save({"good": torch.ones(3), f"the {kind}": tensor})


@pytest.mark.parametrize("is_transposed", [False, True])
def test_storage_taken_from_under_a_tensor(is_transposed: bool) -> None:
    """Its elements would be whatever lies behind."""
    tensor = torch.ones(20, 30)
    given = {"good": torch.ones(3), "w": tensor.T if is_transposed else tensor}
    tensor.untyped_storage().resize_(80)
    with pytest.raises(
        TernzipError, match=r"^tensor 'w': .* expected a storage of at least 2,400 bytes, found 80"
    ):
        ternzip.save(given)
    tensor.untyped_storage().resize_(2400)
    assert "w" in ternzip.load(ternzip.save(given))


@pytest.mark.parametrize("value", [None, 3, [1.0], np.ones(3)], ids=lambda value: type(value).__name__)
def test_what_is_no_tensor_is_refused_by_name(value: object) -> None:
    with pytest.raises(TernzipError, match=r"tensor 'x': expected a torch\.Tensor, found"):
        ternzip.save({"x": value})  # type: ignore[dict-item]


def test_names_that_cannot_be_stored() -> None:
    with pytest.raises(TernzipError, match=r"tensor name '\\ud800': expected text that UTF-8 can hold"):
        ternzip.save({"\ud800": torch.ones(3)})
    with pytest.raises(TernzipError, match=r"tensor 'n{40}'\.\.\.: expected a name of at most 65536 bytes"):
        ternzip.save({"n" * 65537: torch.ones(3)})
    with pytest.raises(TernzipError, match="tensor 7: expected a name of type str, found int"):
        ternzip.save({7: torch.ones(3)})  # type: ignore[dict-item]


def test_options_that_are_none() -> None:
    with pytest.raises(ValueError, match=r"codec: expected one of auto, .*, got 'zip'"):
        ternzip.save({}, codec="zip")
    with pytest.raises(ValueError, match="threads: expected at least 1, got 0"):
        ternzip.save({}, threads=0)
    with pytest.raises(ValueError, match="threads: expected at least 1, got -1"):
        ternzip.load(ternzip.save({}), threads=-1)
