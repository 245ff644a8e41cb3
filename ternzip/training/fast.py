"""What `--fast` turns on: arithmetic in bfloat16 where the device has it, and a compiled network.

On one machine a fast run gives the same numbers every time, and so does one that is resumed. Another processor or
another torch rounds in other ways.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from ternzip.training.recipe import Recipe


def precision_of(recipe: Recipe) -> str:
    """Lightning's name of the arithmetic that a recipe asks for; `--fast` alone takes what this machine is quick in."""
    if recipe.precision is not None:
        return recipe.precision
    return "bf16-mixed" if recipe.fast and computes_in_bfloat16(recipe.accelerator) else "32"


def computes_in_bfloat16(accelerator: str) -> bool:
    """Whether the device that Lightning will take for `accelerator` has instructions for bfloat16.

    Without them bfloat16 is emulated, more slowly than float32.
    """
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return torch.cuda.get_device_capability() >= (8, 0)
    if accelerator == "cpu" or (accelerator == "auto" and not torch.backends.mps.is_available()):
        check = getattr(torch.cpu, "_is_avx512_bf16_supported", None)  # no public function says it
        return check is not None and bool(check())
    return False


# From how many inputs on a value is written to memory rather than computed wherever it is read. By default that is so
# of a batch norm's output, which has five: the backward pass would write it in float32, only to read it again.
CPU_OPTIONS: dict[str, Any] = {"realize_reads_threshold": 8}


class CompiledForward:
    """Calls a network through torch.compile for batches of the first one's size, and as it is for all others.

    The last batch of an epoch is smaller: compiled for any size, all of them would be slower. Where compiling
    fails (on a CPU it needs a C++ compiler, on a GPU Triton), the network is called as it is from then on, and a
    warning says so.
    """

    def __init__(self, network: nn.Module) -> None:
        self._network = network
        self._compiled: Callable[..., Any] | None = None
        self._size: int | None = None
        self._works = True

    def __call__(self, *inputs: Any) -> Any:
        """The network's outputs."""
        size = len(inputs[0])
        if self._size is None:
            self._size = size  # the first batch of an epoch is a whole one
        if self._works and size == self._size:
            if self._compiled is None:  # now that the network is on its device
                on_cpu = all(parameter.is_cpu for parameter in self._network.parameters())
                options = CPU_OPTIONS if on_cpu else None
                self._compiled = torch.compile(self._network, dynamic=False, options=options)
            try:
                return self._compiled(*inputs)
            except torch._dynamo.exc.TorchDynamoException as error:
                self._works = False
                reason = " ".join(str(error).split("\n\n")[0].split()) or type(error).__name__
                warnings.warn(f"--fast: not compiled, so training is slower: {reason}", stacklevel=2)
        return self._network(*inputs)
