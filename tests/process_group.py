"""Processes that are one group, as in distributed training, for tests of what they do together."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import torch
import torch.distributed as dist


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


@contextmanager
def member(rank: int, ranks: int, port: int) -> Iterator[Any]:
    """Within this context the process is one of the group, whose mesh is given."""
    from torch.distributed.device_mesh import init_device_mesh

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=ranks)
    try:
        yield init_device_mesh("cpu", (ranks,))
    finally:
        dist.destroy_process_group()


def run_on_two_ranks(script: str) -> None:
    """Runs a test's file as a script, as its module has no name to import it by; the script calls `be_a_rank`."""
    port = str(free_port())
    processes = [
        subprocess.Popen([sys.executable, script, str(rank), "2", port], stderr=subprocess.PIPE, text=True)
        for rank in range(2)
    ]
    errors = [process.communicate()[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], "\n".join(errors)


def be_a_rank(work: Callable[[int, int, int], object]) -> NoReturn:
    """Does the work of one of the processes, with the arguments of `member`, and ends the process.

    It ends at once: fully_shard keeps the group's threads alive after destroy_process_group, and an interpreter that
    finalizes beside them is now and then aborted ("terminate called without an active exception").
    """
    work(*map(int, sys.argv[1:]))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
