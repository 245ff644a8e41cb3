"""A mixin that gives any network of one's own `from_pretrained`, `save_pretrained` and `push_to_hub`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import ModelHubMixin, hf_hub_download
from huggingface_hub.errors import EntryNotFoundError
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from ternzip._core.errors import TernzipError
from ternzip.io.files import load_file
from ternzip.io.models import check_fit, load_fitting, save_model

FILE = "model.tnz"


class TernzipHubMixin(ModelHubMixin, library_name="ternzip", tags=["ternzip"]):
    """For classes that are also nn.Module: folders and repositories with config.json and model.tnz.

        class Net(nn.Module, TernzipHubMixin):
            def __init__(self, width: int = 16) -> None: ...

        Net(width=32).save_pretrained("folder")
        net = Net.from_pretrained("folder")          # width 32

    The arguments of the constructor go into config.json, as huggingface_hub does it. Of a prepared model the ternary
    weights are stored, and `from_pretrained` gives a plain model with them, in the floating types that they had.
    """

    def _save_pretrained(self, save_directory: Path) -> None:
        assert isinstance(self, nn.Module)
        save_model(self, save_directory / FILE)

    @classmethod
    def _from_pretrained(
        cls,
        *,
        model_id: str,
        revision: str | None,
        cache_dir: str | Path | None,
        force_download: bool,
        local_files_only: bool,
        token: str | bool | None,
        map_location: str | torch.device = "cpu",
        max_bytes: int | None = None,
        **model_kwargs: Any,
    ) -> Any:
        """Load model.tnz into a new model; TernzipError where it is missing, damaged or does not fit."""
        if os.path.isdir(model_id):
            path = os.path.join(model_id, FILE)
        else:
            try:
                path = hf_hub_download(
                    model_id,
                    FILE,
                    revision=revision,
                    cache_dir=cache_dir,
                    force_download=force_download,
                    token=token,
                    local_files_only=local_files_only,
                )
            except EntryNotFoundError as error:
                raise TernzipError(
                    f"{model_id}: expected a file {FILE} in the repository, found none"
                ) from error
        tensors = load_file(path, max_bytes=max_bytes)
        model: Any = cls(**model_kwargs)
        _take_types(model, tensors)
        check_fit(model, tensors, path, dtypes=True)
        load_fitting(model, tensors)
        return model.to(map_location)


def _take_types(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """A constructor makes float32 of what was saved in bfloat16. In place, so that tied tensors stay so.

    Where all has been saved in one floating type, buffers that are in no file get it too.
    """
    own = {
        name: tensor
        for name, tensor in model.state_dict(keep_vars=True).items()
        if not is_lazy(tensor) and tensor.is_floating_point()
    }
    found = {
        name: tensors[name].dtype for name in own if name in tensors and tensors[name].is_floating_point()
    }
    made = {own[name].dtype for name in found}
    if len(set(found.values())) == 1 and made != set(found.values()):
        model.to(next(iter(found.values())))
        return
    for name, dtype in found.items():
        own[name].data = own[name].data.to(dtype)
