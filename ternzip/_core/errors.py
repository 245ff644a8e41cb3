"""The one exception family: everything ternzip raises about data it was given."""

from __future__ import annotations


class TernzipError(Exception):
    """Bad data, a failed check, or a file that cannot be read or written as asked.

    The message is one line that says what is wrong, where (file, tensor, offset), what was expected
    and what was found.
    """


class MissingPackage(TernzipError, ImportError):
    """An optional package is not installed; the message names the extra that brings it.

    An ImportError too, for programs that ask for a part of ternzip and do without it.
    """


class UnstorableTensor(TernzipError, ValueError, RuntimeError):
    """A tensor that no file can hold.

    safetensors raises a ValueError for some of these and a RuntimeError for others: what was written for it catches
    this as well.
    """


class DestinationExists(TernzipError):
    """The file to write is there already, and the caller did not ask to replace it."""
