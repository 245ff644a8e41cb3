"""Copies of models that anybody may have written."""

from __future__ import annotations

import copy
from typing import Any, TypeVar

from ternzip._core.errors import TernzipError
from ternzip._core.text import first_line

_T = TypeVar("_T")


def model_copy(model: _T, memo: dict[int, Any] | None = None) -> _T:
    """A deep copy, `memo` as of copy.deepcopy. Raises TernzipError for a model that cannot be copied."""
    try:
        return copy.deepcopy(model, memo)
    except Exception as error:  # of whatever the model holds
        raise TernzipError(f"model: cannot be copied: {first_line(error)}") from error
