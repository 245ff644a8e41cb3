"""Errors about a part of a file say which part."""

from __future__ import annotations

from types import TracebackType

from ternzip._core.errors import TernzipError
from ternzip._core.text import quoted
from ternzip.codecs.base import CorruptPayload
from ternzip.container.layout import Entry, Record, SolidBlock


class Located:
    """Within this context a CorruptPayload becomes a TernzipError with file, tensor and offset."""

    def __init__(self, name: str, owner: Entry | SolidBlock, record: Record | None) -> None:
        self._name = name
        self._owner = owner
        self._record = record

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not isinstance(error, CorruptPayload | TernzipError):
            return
        where = [self._name]
        if isinstance(self._owner, Entry):
            where.append(f"tensor {quoted(self._owner.name)}")
        else:
            names = [entry.name for entry in self._owner.members]
            where.append(f"solid block of {len(names)} tensors from {quoted(names[0])} on")
        if self._record is not None:
            where.append(f"offset {self._record.offset}")
        raise TernzipError(f"{': '.join(where)}: {error}") from None
