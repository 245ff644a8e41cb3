"""Memory of a training process on Linux: kept when it is freed, and in large pages.

A training step allocates and frees the same activations over and over. The allocator of glibc maps each block of more
than some megabytes anew and gives it back at once, and the kernel fills it with zeros, four KiB at a time: a fifth of
the time of a fast step on a CPU.
"""

from __future__ import annotations

import ctypes
import mmap
import sys

# malloc.h of glibc
M_TRIM_THRESHOLD = -1
M_MMAP_MAX = -4

ARENA = 4 << 30  # bytes of addresses that get large pages; memory is taken only for what is used of them
LEAST_ARENA = 64 << 20


def keep_freed_memory() -> bool:
    """Let this process keep what it frees, and have its heap in large pages; for the rest of its life.

    To be called before the large blocks are allocated, by a program that owns its process. It then holds as much
    memory as it ever needed at once. Returns whether that was done: False where the allocator is not glibc's. The
    values of a computation do not depend on it.
    """
    if not sys.platform.startswith("linux"):
        return False
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "gnu_get_libc_version"):
        return False
    # No block is mapped by itself, and the heap never shrinks: -1 is the largest size_t.
    if not (libc.mallopt(M_MMAP_MAX, 0) and libc.mallopt(M_TRIM_THRESHOLD, -1)):
        return False
    _advise_large_pages(libc)
    return True


def _advise_large_pages(libc: ctypes.CDLL) -> None:
    """Grow the heap by addresses without memory, and ask for large pages there."""
    libc.malloc.restype = ctypes.c_void_p
    libc.malloc.argtypes = [ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    size = ARENA
    while size >= LEAST_ARENA:
        block = libc.malloc(size)
        if block:
            start = -(-block // mmap.PAGESIZE) * mmap.PAGESIZE
            end = (block + size) // mmap.PAGESIZE * mmap.PAGESIZE
            libc.madvise(start, end - start, mmap.MADV_HUGEPAGE)  # advice: a refusal costs nothing
            libc.free(block)
            return
        size //= 2  # a limit of the process or of the machine
