"""Models of transformers in folders of .tnz files."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ternzip._core.errors import TernzipError
from ternzip._core.extras import require
from ternzip._core.text import first_line
from ternzip.checkpoint.folder import CompressFolderReport, compress_folder
from ternzip.hf.hub import local_folder
from ternzip.hf.lazy import LazyTensors
from ternzip.quantization import ternary_layers, ternary_state

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
    the model. Quantizers that the configuration names (BitNet's packed uint8 weights) apply as ever.

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
            or of other shapes than the configuration's.
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
        model, report = chosen.from_pretrained(
            None,
            config=known,
            state_dict=dict(tensors),
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

    Raises TernzipError as `ternzip.checkpoint.folder.compress_folder`.
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
