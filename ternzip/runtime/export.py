"""Networks as ONNX files, for other engines; needs the extra `onnx`."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ternzip._core.copies import model_copy
from ternzip._core.errors import TernzipError
from ternzip._core.extras import require
from ternzip._core.text import first_line
from ternzip.io.atomic import atomic_file
from ternzip.runtime.compact_onnx import compact
from ternzip.runtime.integer_onnx import integer_model
from ternzip.runtime.layers import RuntimeLayer

if TYPE_CHECKING:
    import onnx
    from torch.export import Dim


BITS = {"float32": 32, "int8": 8, "int2": 2}
"""Bits of a ternary weight, by what export_onnx calls it."""


def export_onnx(
    model: nn.Module,
    path: str | os.PathLike[str],
    example: Tensor,
    *,
    weights: str = "float32",
    calibration: Tensor | None = None,
    overwrite: bool = True,
) -> None:
    """Writes a plain model, in evaluation mode, to an ONNX file.

    Args:
        model: converted or loaded, not optimized; it stays as it is.
        path: the file; it appears when it is complete.
        example: an input of batch size 2 or more; the file takes any batch size.
        weights: how ternary weights are written, exactly in any case: "float32", "int8", or "int2", which is 2 bits in
            linear layers with opposite levels, by an operator of ONNX Runtime (MatMulNBits), and int8 elsewhere.
        calibration: inputs (n, ...). The network then computes with 8-bit activations, whose ranges are those over
            these inputs, and all its weights take 8 bits (see `ternzip.runtime.integer_onnx`): `weights` must be
            "int8". None: activations are float32.
        overwrite: whether a file that exists may be replaced.

    Raises TernzipError where the extra is missing, for a model that is optimized or that torch.onnx cannot export or
    ONNX Runtime cannot quantize, where no weight takes the form asked for, as in float16, and for a path that cannot be
    written; ValueError for other `weights`.
    """
    data = onnx_bytes(model, example, weights, calibration)
    with atomic_file(path, overwrite=overwrite) as stream:
        stream.write(data)


def onnx_bytes(
    model: nn.Module, example: Tensor, weights: str = "float32", calibration: Tensor | None = None
) -> bytes:
    """What export_onnx writes."""
    if weights not in BITS:
        raise ValueError(f"weights: expected {', '.join(BITS)}, found {weights!r}")
    if calibration is not None and weights != "int8":
        raise ValueError(f"weights: expected int8 beside 8-bit activations, found {weights!r}")
    require("exporting to ONNX", "onnx", "onnx", "onnxscript")
    if calibration is not None:
        require("exporting 8-bit activations", "onnx", "onnxruntime")
        if calibration.shape[1:] != example.shape[1:]:
            raise TernzipError(
                f"calibration: expected inputs of shape {tuple(example.shape[1:])}, "
                f"found {tuple(calibration.shape[1:])}"
            )
    if any(isinstance(module, RuntimeLayer) for module in model.modules()):
        raise TernzipError(f"{type(model).__name__} is optimized: export the model it was made from")
    plain = model_copy(model).eval()
    batch: dict[int, Dim | object] = {0: torch.export.Dim.DYNAMIC}
    with _quiet(), torch.no_grad():
        try:
            program = torch.onnx.export(
                plain, (example,), dynamo=True, dynamic_shapes=(batch,), verbose=False
            )
        except Exception as error:  # torch has many classes for it
            raise TernzipError(
                f"{type(model).__name__}: torch.onnx cannot export it: {_reason(error)}"
            ) from error
    assert program is not None
    proto = program.model_proto
    _check_sound(proto, type(model).__name__)
    if calibration is not None:
        proto = integer_model(proto, calibration)
    elif weights != "float32" and not compact(proto, BITS[weights]):
        raise TernzipError(f"{type(model).__name__}: no weight becomes {weights}: {_why_none(plain)}")
    data: bytes = proto.SerializeToString()
    return data


def _check_sound(proto: onnx.ModelProto, name: str) -> None:
    """TernzipError for a model that other engines refuse: torch.onnx folds bfloat16 batch norms into float32 ones."""
    import onnx.checker

    try:
        onnx.checker.check_model(proto, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise TernzipError(
            f"{name}: torch.onnx cannot export it so that others can read it: {first_line(error)}: "
            "where it is not float32, call model.float()"
        ) from error


def _why_none(model: nn.Module) -> str:
    """What was expected of weights and found, in one line."""
    dtypes = sorted({str(p.dtype).removeprefix("torch.") for p in model.parameters() if p.dim() >= 2})
    if dtypes and "float32" not in dtypes:
        return f"expected ternary ones in float32, found {', '.join(dtypes)}: call model.float()"
    return "expected ternary ones, of one pair of levels or one for each output, found none"


def _reason(error: BaseException) -> str:
    """One line on what went wrong in the model, not on the exporter's steps around it."""
    while error.__cause__ is not None:
        error = error.__cause__
    return first_line(error)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's own notes on its progress, on its failures and on what it will deprecate."""
    most = {
        "torch.onnx": logging.ERROR,
        "torch.export": logging.CRITICAL,
        "torch._dynamo": logging.CRITICAL,
        "torch._subclasses": logging.CRITICAL,
    }
    loggers = [logging.getLogger(name) for name in most]
    levels = [logger.level for logger in loggers]
    for logger, level in zip(loggers, most.values(), strict=True):
        logger.setLevel(level)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
