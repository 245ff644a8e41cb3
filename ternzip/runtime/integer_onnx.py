"""An ONNX model that computes in 8 bits, by ONNX Runtime's quantizer; needs the extra `onnx`."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ternzip._core.errors import TernzipError
from ternzip._core.text import first_line

if TYPE_CHECKING:
    from onnx import ModelProto

_BATCH = 32


def integer_model(model: ModelProto, inputs: Tensor) -> ModelProto:
    """The model with 8-bit activations and weights: QLinearConv, QGemm and their like.

    Weights have one scale a row, by the largest of it, so that a row of opposite ternary levels is exact: -127, 0 and
    127. Of two different levels the smaller is rounded to a multiple of 1/127 of the larger.

    Args:
        model: as torch.onnx writes it, with one input, float32.
        inputs: (n, ...), float32; the range of an activation is what it takes over them.

    Raises TernzipError where there are no inputs, where one is not finite, and where the quantizer refuses the model.
    """
    if len(inputs) == 0:
        raise TernzipError("calibration: expected at least one input, found none")
    if not bool(torch.isfinite(inputs).all()):
        raise TernzipError("calibration: expected finite inputs, found infinite ones or NaN")
    import onnx
    from onnxruntime import quantization

    # Only paths are taken by each release that the extra allows.
    with tempfile.TemporaryDirectory() as folder, _quiet():
        plain, integer = Path(folder) / "float32.onnx", Path(folder) / "int8.onnx"
        plain.write_bytes(model.SerializeToString())
        (name,) = (entry.name for entry in model.graph.input)
        try:
            quantization.quantize_static(
                plain,
                integer,
                _reader(name, inputs),
                quant_format=quantization.QuantFormat.QOperator,
                activation_type=quantization.QuantType.QUInt8,
                weight_type=quantization.QuantType.QInt8,
                per_channel=True,
            )
        except Exception as error:  # it has many classes for it, ONNX Runtime's own among them
            reason = first_line(error)
            raise TernzipError(f"ONNX Runtime cannot quantize it: {reason}") from error
        return onnx.load(integer)


def _reader(name: str, inputs: Tensor) -> Any:
    """Batches of the inputs, as the quantizer asks for them."""
    from onnxruntime import quantization

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.batches = iter(torch.split(inputs.detach().cpu().float(), _BATCH))

        def get_next(self) -> dict[str, Any] | None:
            batch = next(self.batches, None)
            return None if batch is None else {name: batch.contiguous().numpy()}

    return Reader()


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the quantizer's advice, which it gives to the root logger and to the screen."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with redirect_stdout(StringIO()):
            yield
    finally:
        logging.disable(disabled)
