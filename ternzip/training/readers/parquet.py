"""Pictures in Parquet files: a column of encoded pictures, a column of labels, as data sets on the Hub have them."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ternzip._core.errors import TernzipError
from ternzip._core.extras import require
from ternzip._core.text import first_line
from ternzip.models.spec import MOST_CLASSES
from ternzip.training.images import MissingDataError
from ternzip.training.readers.folder import TEST_NAMES, Labelled
from ternzip.training.readers.pictures import Picture

LABEL_NAMES = ("label", "labels", "fine_label", "class", "target", "y")


def parquet_files(folder: Path) -> list[Path]:
    """The Parquet files in `folder` or its data/, by name."""
    return next(
        (found for place in (folder, folder / "data") if (found := sorted(place.glob("*.parquet")))), []
    )


def read_parquet(folder: Path) -> tuple[Labelled, Labelled | None]:
    """Training and test pictures: files with train, and those with test, val or valid, as a word of their names.

    Of files without such words all are for training. Labels are numbers, or strings, which are then the names of the
    classes; names for numbers are read from the metadata, as `datasets` writes them, or under class_names, with commas
    between them. Raises TernzipError for columns that are not there and labels that the training pictures have not.
    """
    require("reading Parquet files", "parquet", "pyarrow")
    files = parquet_files(folder)
    if not files:
        raise MissingDataError(f"{folder}: expected Parquet files of pictures, found none")
    test_files = [path for path in files if not _words(path).isdisjoint(TEST_NAMES)]
    train_files = [path for path in files if path not in test_files]
    named = [path for path in train_files if "train" in _words(path)]
    if not train_files:
        raise TernzipError(
            f"{folder}: expected a Parquet file with train in its name beside {test_files[0].name}"
        )
    train = _read(named or train_files)
    first = _labelled(train, train.class_names())
    return first, _labelled(_read(test_files), first.classes) if test_files else None


def _words(path: Path) -> set[str]:
    return set("".join(c if c.isalnum() else " " for c in path.stem.lower()).split())


@dataclass(frozen=True)
class _Rows:
    """What the rows of some files hold: labels are all numbers or, `by_name`, all strings."""

    pictures: list[Picture]
    labels: list[Any]
    by_name: bool
    listed: tuple[str, ...]

    def class_names(self) -> tuple[str, ...]:
        """Of strings themselves, in order; for numbers what the metadata lists, or else the numbers."""
        if self.by_name:
            return tuple(sorted(set(self.labels)))
        return self.listed or tuple(map(str, range(self._largest() + 1)))

    def _largest(self) -> int:
        """The largest number; TernzipError for one that is an identifier rather than a class."""
        largest: int = max(self.labels)
        if largest > MOST_CLASSES - 2:
            row = self.pictures[self.labels.index(largest)].name
            raise TernzipError(f"{row}: expected a label from 0 to {MOST_CLASSES - 2}, found {largest}")
        return largest


def _read(files: Sequence[Path]) -> _Rows:
    pictures: list[Picture] = []
    labels: list[Any] = []
    classes: tuple[str, ...] = ()
    for path in files:
        row = 0
        for batch, (image, label) in _batches(path):
            classes = classes or _class_names(batch.schema.metadata or {}, label)
            contents, values = batch.column(image).to_pylist(), batch.column(label).to_pylist()
            for content, value in zip(contents, values, strict=True):
                encoded = content.get("bytes") if isinstance(content, dict) else content
                where = f"{path}: row {row}"
                if not isinstance(encoded, bytes) or value is None:
                    lacking = "label" if isinstance(encoded, bytes) else "picture"
                    raise TernzipError(f"{where}: expected a {lacking}, found none")
                pictures.append(Picture(where, encoded))
                labels.append(value)
                row += 1
    if not pictures:
        raise TernzipError(f"{files[0]}: expected pictures, found no rows")
    strings = {isinstance(value, str) for value in labels}
    if len(strings) > 1:
        raise TernzipError(
            f"{files[0]}: expected labels of one type, found numbers and strings in {len(files)} files"
        )
    return _Rows(pictures, labels, strings == {True}, classes)


def _batches(path: Path) -> Iterator[tuple[Any, tuple[str, str]]]:
    """Batches of rows of the two columns that are read, and their names."""
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            columns = _columns(path, file.schema_arrow)
            for batch in file.iter_batches(columns=list(columns)):
                yield batch, columns
    except (OSError, pyarrow.ArrowException) as error:
        reason = first_line(error)
        raise TernzipError(f"{path}: not a Parquet file that can be read: {reason}") from error


def _columns(path: Path, schema: Any) -> tuple[str, str]:
    """The column of pictures, the first of bytes or of records with bytes; and that of labels, by its name or type."""
    import pyarrow.types as kinds

    def holds_bytes(kind: Any) -> bool:
        if kinds.is_struct(kind):
            return any(
                kind.field(i).name == "bytes" and holds_bytes(kind.field(i).type)
                for i in range(kind.num_fields)
            )
        return bool(kinds.is_binary(kind) or kinds.is_large_binary(kind))

    def labels(kind: Any) -> bool:
        return bool(kinds.is_integer(kind) or kinds.is_string(kind) or kinds.is_large_string(kind))

    fitting = [field.name for field in schema if labels(field.type)]
    images = [field.name for field in schema if holds_bytes(field.type)]
    named = [name for name in LABEL_NAMES if name in fitting] or (fitting if len(fitting) == 1 else [])
    if not images or not named:
        there = ", ".join(f"{field.name}: {field.type}" for field in schema)
        wanted = "of encoded pictures (binary)" if not images else f"of labels ({', '.join(LABEL_NAMES)})"
        raise TernzipError(f"{path}: expected a column {wanted}, found {there}")
    return images[0], named[0]


def _class_names(metadata: dict[bytes, bytes], label: str) -> tuple[str, ...]:
    """Names of classes in the metadata of a file; none where it has none that can be read."""
    if b"class_names" in metadata:
        return tuple(metadata[b"class_names"].decode("utf-8", "replace").split(","))
    try:
        features = json.loads(metadata[b"huggingface"])["info"]["features"]
        return tuple(str(name) for name in features[label]["names"])
    except (KeyError, TypeError, ValueError):
        return ()


def _labelled(rows: _Rows, classes: tuple[str, ...]) -> Labelled:
    known: Collection[Any] = classes if rows.by_name else range(len(classes))
    number = {label: i for i, label in enumerate(known)}
    for picture, label in zip(rows.pictures, rows.labels, strict=True):
        if label not in number:
            wanted = (
                "a label of the training pictures"
                if rows.by_name
                else f"a label from 0 to {len(classes) - 1}"
            )
            raise TernzipError(f"{picture.name}: expected {wanted}, found {label!r}")
    return Labelled(rows.pictures, [number[label] for label in rows.labels], classes)
