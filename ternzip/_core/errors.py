"""The one exception family: everything ternzip raises about data it was given."""

from __future__ import annotations


class TernzipError(Exception):
    """Bad data, a failed check, or a file that cannot be read or written as asked.

    The message is one line that says what is wrong, where (file, tensor, offset), what was expected
    and what was found.
    """


class DestinationExists(TernzipError):
    """The file to write is there already, and the caller did not ask to replace it."""
