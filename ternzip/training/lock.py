"""One run at a time in a folder."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lightning.pytorch.utilities import rank_zero_only

from ternzip._core.errors import TernzipError
from ternzip.io.atomic import make_folder

try:
    import fcntl
except ImportError:  # Windows: without a lock
    fcntl = None  # type: ignore[assignment]

LOCK = "run.lock"  # "lock" is tools/reproduce_queue.py's


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """The folder, made if missing, is this run's; TernzipError while another process or thread trains in it.

    The system gives the lock back however the process ends. The file stays: who removed it could remove the next run's.
    Of a run in several processes the first holds it. File systems without locks have none.
    """
    if fcntl is None or getattr(rank_zero_only, "rank", None):
        yield
        return
    make_folder(folder)
    lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise TernzipError(
                f"{folder}: another run is training in it: wait for its end or choose another --out"
            ) from None
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP):
                raise
            yield
            return
        try:
            yield
        finally:
            # Not by closing alone: a DataLoader's workers may have inherited the descriptor, and outlive the run.
            fcntl.flock(lock, fcntl.LOCK_UN)
    finally:
        os.close(lock)
