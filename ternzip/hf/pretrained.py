"""Models of transformers in folders of .tnz files."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ternzip._core.errors import TernzipError
from ternzip._core.extras import require
from ternzip._core.text import first_line
from ternzip.checkpoint.folder import CompressFolderReport, compress_folder
from ternzip.hf.hub import local_folder
from ternzip.hf.lazy import LazyTensors
from ternzip.quantization import quantize_inputs, ternary_layers, ternary_state
from ternzip.quantization.activations import (
    CHILD,
    check_calibrated,
    input_quantizer,
    stored_quantizers,
    takes_quantizer,
)

_SCALE = f"{CHILD}.log_scale"
_HUB_OPTIONS = ("revision", "token", "cache_dir", "local_files_only", "force_download")


def from_pretrained(
    folder_or_repo: str | os.PathLike[str],
    model_class: Any = None,
    *,
    config: Any = None,
    max_bytes: int | None = None,
    threads: int | None = 1,
    **options: Any,
) -> Any:
    """A model of transformers from a folder with config.json and .tnz files; see `save_pretrained`.

    Tensors are decoded one by one as transformers asks for them, in its own threads, so memory stays near that of
    the model. Quantizers that the configuration names (BitNet's packed uint8 weights) apply as ever. Layers for which
    the files hold the scale of ternary activations get their quantizer.

    Args:
        folder_or_repo: a folder, or a repository of the Hub as `owner/name`.
        model_class: a class of transformers with `from_pretrained`, such as AutoModelForCausalLM; None: the
            architecture that the configuration names.
        config: the configuration, or where it lies; None: the folder's, of which further options that are its
            attributes (num_labels, use_cache, ...) take the place.
        max_bytes: the most bytes of memory that all tensors may take; None: no limit. Files of strangers need one.
        threads: how many threads decode one tensor, transformers asking for four at a time; None: all processors.
        options: those of the class's `from_pretrained` (dtype, device_map, output_loading_info, subfolder, ...), but
            variant, and for the Hub: revision, token, cache_dir, local_files_only, force_download.

    Raises:
        TernzipError: no such folder or repository, no .tnz file in it, one that is damaged, hostile or beyond
            `max_bytes`, a configuration that names no architecture, tensors that are missing in the files
            or of other shapes than the configuration's, scales of ternary activations that no layer can have.
    """
    require("from_pretrained", "hf", "transformers")
    import transformers

    hub = {key: options.pop(key) for key in _HUB_OPTIONS if key in options}
    folder = _within(local_folder(folder_or_repo, **hub), options)
    trust = {key: options[key] for key in ("trust_remote_code",) if key in options}
    known = config
    if not isinstance(known, transformers.PreTrainedConfig):
        source = folder if config is None else config
        known = _read(transformers.AutoConfig, source, "config.json", **trust)
    chosen = _architecture(transformers, known, str(folder)) if model_class is None else model_class
    if not issubclass(chosen, transformers.PreTrainedModel):
        with torch.device(
            "meta"
        ):  # an AutoModel class cannot be loaded from a state, only the one it stands for
            chosen = type(chosen.from_config(known, **trust))
    if known is not config and chosen.config_class is not None:
        known = os.fspath(source)  # which transformers reads itself, with the options that belong to it
    told = bool(options.pop("output_loading_info", False))
    any_shape = bool(options.pop("ignore_mismatched_sizes", False))
    with LazyTensors(folder, max_bytes=max_bytes, threads=threads) as tensors:
        scales = _scales(tensors, folder)  # of which transformers knows nothing
        model, report = chosen.from_pretrained(
            None,
            config=known,
            state_dict={name: tensor for name, tensor in tensors.items() if name not in scales},
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            **options,
        )
    mismatched = sorted(report["mismatched_keys"])
    if mismatched and not any_shape:
        name, found, expected = mismatched[0]
        raise TernzipError(
            f"{folder}: tensor {name}: expected shape {tuple(expected)}, found {tuple(found)} "
            "(ignore_mismatched_sizes=True loads the others)"
        )
    left = _quantize_inputs(model, scales, report, folder)
    if left and not told:
        raise TernzipError(
            f"{folder}: tensor {left[0]}: expected a layer of {type(model).__name__} for this scale, "
            "found none (output_loading_info=True loads the others)"
        )
    missing = sorted(report["missing_keys"])
    if missing and not told:  # transformers gives them random values, with a warning only
        raise TernzipError(
            f"{folder}: {len(missing)} tensors of {type(model).__name__} are missing, first {missing[0]} "
            "(output_loading_info=True loads what is there)"
        )
    model.name_or_path = model.config.name_or_path = os.fspath(folder_or_repo)
    own = options.get("generation_config") is None and (folder / "generation_config.json").is_file()
    if own and model.can_generate():
        model.generation_config = _read(transformers.GenerationConfig, folder, "generation_config.json")
    return (model, report) if told else model


def _scales(tensors: LazyTensors, folder: Path) -> dict[str, Tensor]:
    """The scales of ternary activations by their names in the files; TernzipError for what cannot be one."""
    names = list(stored_quantizers(tensors).values())
    for name in names:
        found = tensors[name]
        if found.shape or not found.is_floating_point():
            raise TernzipError(
                f"{folder}: tensor {name}: expected one number of a floating-point type, "
                f"found shape {found.shape} of {found.get_dtype()}"
            )
    return {name: tensors[name][...] for name in names}


def _quantize_inputs(
    model: Any, scales: Mapping[str, Tensor], report: dict[str, Any], folder: Path
) -> list[str]:
    """Gives layers the ternary activations that they were saved with; returns the names of scales that are left over.

    A scale whose layer is no part of this model is not left over: it goes the way of the layer's weight, into the
    report's unexpected keys.
    """
    modules = dict(model.named_modules(remove_duplicate=False))
    state = model.state_dict()
    taken, unexpected, left = {}, [], []
    for name, scale in scales.items():
        weight = _renamed(model, f"{name.removesuffix(_SCALE)}weight", state)  # which lies beside the scale
        layer = weight.removesuffix("weight").removesuffix(".")
        if weight in state and takes_quantizer(modules.get(layer)):
            taken[layer] = scale
            continue
        if weight not in report["unexpected_keys"]:
            left.append(name)
        unexpected.append(name)
    for layer in taken:
        if modules[layer].weight.is_meta:
            raise TernzipError(
                f"{folder}: layer {layer}: expected its weight in memory, as its activations are ternary, "
                "found it offloaded: give another device_map"
            )
    quantize_inputs(model, taken)
    for layer, scale in taken.items():
        quantizer = input_quantizer(modules[layer])
        assert quantizer is not None
        # The scale is an exponential, taken in the type that it was saved in.
        quantizer.to(scale.dtype).train(model.training).load_state_dict({"log_scale": scale})
    # A class may have put the quantizer there itself.
    report["missing_keys"] -= {f"{layer}.{_SCALE}" for layer in taken}
    report["unexpected_keys"] |= set(unexpected)
    return left


def _renamed(model: Any, name: str, state: Mapping[str, Tensor]) -> str:
    """What transformers has called a tensor of the files when it loaded it into a model of that state."""
    from transformers.core_model_loading import WeightRenaming, rename_source_key

    known = getattr(model, "_weight_conversions", None) or []
    renamings = [each for each in known if isinstance(each, WeightRenaming)]
    found: list[str] = [
        rename_source_key(name, applied, [], model.base_model_prefix, state)[0] for applied in (renamings, [])
    ]
    return next((each for each in found if each in state), found[0])


def _within(folder: Path, options: dict[str, Any]) -> Path:
    """The folder that options of transformers name in a folder; takes these options out."""
    subfolder = options.pop("subfolder", None) or ""
    variant = options.pop("variant", None)
    if variant is not None:
        raise TernzipError(
            f"{folder}: variant: expected none, as .tnz files have no variants, found {variant!r}"
        )
    if not (folder / subfolder).is_dir():
        raise TernzipError(f"{folder}: expected a folder {subfolder} in it, found none")
    return folder / subfolder


def _architecture(transformers: Any, config: Any, folder: str) -> Any:
    names = getattr(config, "architectures", None) or []
    name = next(iter(names), None) if isinstance(names, list | tuple) else names
    found = getattr(transformers, name, None) if isinstance(name, str) else None
    # transformers holds functions, modules and tokenizers as well.
    if not isinstance(found, type) or not (
        issubclass(found, transformers.PreTrainedModel) or hasattr(found, "from_config")
    ):
        said = f"found {name!r}, which is no model of transformers" if names else "found none"
        raise TernzipError(
            f"{folder}: expected the configuration to name an architecture, {said}: give model_class"
        )
    return found


def _read(kind: Any, source: str | os.PathLike[str], name: str, **options: Any) -> Any:
    """A configuration of that class of transformers."""
    try:
        return kind.from_pretrained(source, **options)
    except Exception as error:  # transformers has many classes for it
        reason = first_line(error)
        raise TernzipError(f"{source}: expected a {name} that transformers can read: {reason}") from error


def save_pretrained(
    model: Any, folder: str | os.PathLike[str], *, max_shard_size: int | str = "5GB", **options: Any
) -> CompressFolderReport:
    """Write a model of transformers as a folder: its configuration, and its tensors in .tnz files.

    transformers itself decides on names, shards and configuration, so every program that reads such folders finds
    what it expects after `ternzip decompress`. Of a prepared model the ternary weights are stored, under their plain
    names, as `ternzip.save_model` does; the model stays as it is.

    Args:
        model: with `save_pretrained`, prepared, converted or plain.
        folder: the folder to make; it appears when it is complete, and must not exist or be empty.
        max_shard_size: the most bytes of tensors in one file, as transformers has it.
        options: those of `ternzip.compress`: codec, effort, threads, progress.

    Raises TernzipError as `ternzip.checkpoint.folder.compress_folder`, and for ternary activations that have seen no
    input.
    """
    target = Path(os.path.realpath(folder))
    if not target.parent.is_dir():
        raise TernzipError(f"{os.fspath(folder)}: cannot write: no folder {target.parent}")
    # Beside the target, as a model may be larger than the system's place for temporary files.
    with tempfile.TemporaryDirectory(prefix=f".{target.name[:32]}.", dir=target.parent) as place:
        plain, any_file = Path(place, "plain"), Path(place, "file")
        # What is made takes over permissions: those of any new folder and file, and not those of `place`, which is
        # closed to others, nor of safetensors, whose files may be.
        plain.mkdir()
        any_file.touch()
        _write_plain(model, plain, max_shard_size)
        for file in plain.glob("*.safetensors"):
            file.chmod(stat.S_IMODE(any_file.stat().st_mode))
        report = compress_folder(plain, folder, **options)
    return CompressFolderReport(type(model).__name__, report.target, report.files, report.carried)


def _write_plain(model: Any, folder: Path, max_shard_size: int | str) -> None:
    write: Callable[..., None] | None = getattr(model, "save_pretrained", None)
    if not isinstance(model, nn.Module) or write is None:
        raise TypeError(f"expected a model with save_pretrained, got {type(model).__name__}")
    check_calibrated(model)
    if ternary_layers(model):
        write(folder, max_shard_size=max_shard_size, state_dict=dict(ternary_state(model)))
    else:
        write(folder, max_shard_size=max_shard_size)


def push_to_hub(
    model: Any,
    repo_id: str,
    *,
    private: bool | None = None,
    token: str | bool | None = None,
    commit_message: str | None = None,
    **options: Any,
) -> Any:
    """Write a model as `save_pretrained` does, and upload the folder to a repository of the Hub, made if need be.

    Args:
        model: as for `save_pretrained`.
        repo_id: `owner/name`.
        private, token, commit_message: as huggingface_hub has them.
        options: those of `save_pretrained`.

    Returns:
        What `HfApi.upload_folder` returns.
    """
    require("push_to_hub", "hf", "huggingface_hub")
    from huggingface_hub import HfApi

    api = HfApi(token=token)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place, "model")
        save_pretrained(model, folder, **options)
        repo = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
        message = commit_message or "Upload model in .tnz files"
        return api.upload_folder(repo_id=repo, folder_path=folder, commit_message=message)
