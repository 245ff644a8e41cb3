"""Extensions: named bytes beside the tensors, which readers that do not know them pass over.

docs/FORMAT.md says what may be one. The container stores, lists and checks them; what they mean is for others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from ternzip._core.errors import TernzipError
from ternzip._core.text import quoted
from ternzip.container.layout import Record
from ternzip.container.limits import MAX_EXTENSION_NAME_BYTES, MAX_EXTENSIONS, text_problem


class Extensions(Mapping[str, bytes]):
    """The extensions of an open file by name, in its order; each is read, and its checksum checked, when asked for.

    Attributes:
        records: where each lies, by name.
    """

    def __init__(self, records: Mapping[str, Record], read: Callable[[str, Record], bytes]) -> None:
        self.records = dict(records)
        self._read = read

    @property
    def sizes(self) -> dict[str, int]:
        """Bytes of each by name, known without reading it."""
        return {name: record.size for name, record in self.records.items()}

    def __getitem__(self, name: str) -> bytes:
        return self._read(name, self.records[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self.records)

    def __len__(self) -> int:
        return len(self.records)


def check_extensions(names: list[str]) -> None:
    """TernzipError for names, or a number of them, that the format cannot hold."""
    if len(names) > MAX_EXTENSIONS:
        raise TernzipError(f"extensions: expected at most {MAX_EXTENSIONS}, found {len(names)}")
    for name in names:
        if not isinstance(name, str):
            raise TernzipError(
                f"extension {name!r}: expected a name of type str, found {type(name).__name__}"
            )
        problem = text_problem(name)
        if problem:
            raise TernzipError(f"extension {quoted(name)}: {problem}")
        if not 1 <= len(name.encode()) <= MAX_EXTENSION_NAME_BYTES:
            raise TernzipError(
                f"extension {quoted(name)}: expected a name of 1 to {MAX_EXTENSION_NAME_BYTES} bytes, "
                f"found {len(name.encode())}"
            )
