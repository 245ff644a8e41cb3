"""Whole models in .tnz files: the ternary state of a prepared model, or the plain state of any other."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from ternzip._core.errors import TernzipError
from ternzip.io.files import load_file, save_file
from ternzip.io.tensors import shared_views, to_raw
from ternzip.quantization import quantize_inputs, ternary_layers, ternary_state
from ternzip.quantization.activations import (
    check_calibrated,
    input_quantizer,
    stored_quantizers,
    takes_quantizer,
)


def save_model(model: nn.Module, path: str | os.PathLike[str], **options: Any) -> None:
    """Write a model's tensors to a .tnz file, with ternary weights in place of latent ones; the model stays as it is.

    The file holds what `ternzip.convert(model).state_dict()` would: enough to run the network, not to train on. Tied
    weights are stored once.

    Args:
        model: prepared, converted, or plain.
        path: the file; one that exists is replaced when the new one is complete.
        options: those of `save_file`: codec, metadata, threads, progress, ...

    Raises TernzipError for a tensor that the format cannot hold, ternary activations that have seen no input, and a
    path that cannot be written; TypeError for what is no module, such as a state_dict.
    """
    _check_module(model, "save_model takes a torch.nn.Module", "save_file takes a dictionary of tensors")
    check_calibrated(model)
    save_file(ternary_state(model), path, **options)


def load_model(model: nn.Module, path: str | os.PathLike[str]) -> nn.Module:
    """Load a .tnz file into a plain model of the same architecture, in place; returns the model.

    Layers for which the file holds the scale of ternary activations get their quantizer.

    Raises TernzipError, before the model is changed, for a file that is missing or damaged, for names, shapes or dtypes
    that do not fit, for tensors that differ in the file and are one in the model, for a model on the meta device, and
    for a prepared model: ternary weights cannot be the latent ones it was trained with. To train
    on, save and load `model.state_dict()`; to start anew from ternary weights, load first and prepare then.
    TypeError for what is no module, such as the path.
    """
    _check_module(model, "load_model takes a torch.nn.Module and a path", "load_file takes a path alone")
    if ternary_layers(model):
        raise TernzipError(
            f"{path}: cannot be loaded into a prepared model, which holds latent weights: "
            "load it into a plain model (ternzip.convert makes one)"
        )
    if any(tensor.is_meta for tensor in model.state_dict().values()):
        raise TernzipError(
            f"{path}: cannot be loaded into a model on the meta device, which has no memory: "
            "give it some first, with model.to_empty(device='cpu')"
        )
    tensors = load_file(path)
    check_fit(model, tensors, str(path), dtypes=True)
    load_fitting(model, tensors)
    return model


def _check_module(model: object, expected: str, otherwise: str) -> None:
    if not isinstance(model, nn.Module):
        raise TypeError(f"{expected}, got {type(model).__name__}; {otherwise}")


def load_fitting(model: nn.Module, tensors: Mapping[str, Tensor], *, assign: bool = False) -> None:
    """Loads what check_fit has let pass: values, or with `assign` the tensors themselves, in the model's dtypes.

    Layers get the quantizers of activations that the tensors speak of.
    """
    restore_quantizers(model, tensors)
    if assign:
        expected = model.state_dict()
        tensors = {name: tensor.to(expected[name].dtype) for name, tensor in tensors.items()}
    model.load_state_dict(tensors, assign=assign)


def restore_quantizers(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Gives the layers whose scales of ternary activations are among the tensors their quantizers, without the scales.

    Names of no such layer are left alone.
    """
    modules = dict(model.named_modules(remove_duplicate=False))
    stored = {
        layer: name
        for layer, name in stored_quantizers(tensors).items()
        if takes_quantizer(modules.get(layer))
    }
    new = [layer for layer in stored if input_quantizer(modules[layer]) is None]
    quantize_inputs(model, stored)
    for layer in new:
        quantizer = input_quantizer(modules[layer])
        assert quantizer is not None
        # The scale is an exponential, taken in the type that it was saved in.
        quantizer.to(tensors[stored[layer]].dtype)


def check_fit(model: nn.Module, tensors: Mapping[str, Tensor], where: str, *, dtypes: bool = False) -> None:
    """TernzipError, naming the first of each, unless a model has exactly these names and shapes (and dtypes).

    And the same elements for names that are one tensor in the model, of which the last would be kept.
    Scales of ternary activations may be there beside, for layers that can get them (load_fitting).
    """
    expected = model.state_dict()
    layers = dict(model.named_modules(remove_duplicate=False))
    for layer, name in stored_quantizers(tensors).items():
        if takes_quantizer(layers.get(layer)):
            expected.setdefault(name, tensors[name].new_empty(()))
    missing = [name for name in expected if name not in tensors]
    unknown = [name for name in tensors if name not in expected]
    if missing or unknown:
        parts = [f"{len(missing)} missing, first {missing[0]}"] if missing else []
        parts += [f"{len(unknown)} unknown, first {unknown[0]}"] if unknown else []
        raise TernzipError(f"{where}: tensor names do not fit {type(model).__name__}: {'; '.join(parts)}")
    for name, tensor in tensors.items():
        own = expected[name]
        if is_lazy(own):
            raise TernzipError(
                f"{where}: tensor {name}: expected a shape to compare with in {type(model).__name__}, "
                "found none before the model's first call"
            )
        if tensor.shape != own.shape:
            shapes = f"expected shape {tuple(own.shape)}, found {tuple(tensor.shape)}"
            raise TernzipError(f"{where}: tensor {name}: {shapes}")
        if dtypes and tensor.dtype != own.dtype:
            raise TernzipError(f"{where}: tensor {name}: expected {own.dtype}, found {tensor.dtype}")
    _check_ties(model, expected, tensors, where)


def _check_ties(
    model: nn.Module, expected: Mapping[str, Tensor], tensors: Mapping[str, Tensor], where: str
) -> None:
    # A tensor without memory gets one of its own; for one on the meta device only shapes are compared.
    compared = {name: own for name, own in expected.items() if not tensors[name].is_meta}
    for name, first in shared_views(compared):
        if tensors[first] is not tensors[name] and not _same_bits(tensors[first], tensors[name]):
            raise TernzipError(
                f"{where}: tensors {first} and {name} differ, and are one tensor in {type(model).__name__}"
            )


def _same_bits(one: Tensor, other: Tensor) -> bool:
    return one.dtype == other.dtype and np.array_equal(to_raw("", one).data, to_raw("", other).data)
