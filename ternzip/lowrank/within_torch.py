"""Which of a model's modules are torch's to run."""

from __future__ import annotations

from torch import nn

_CONTAINERS = (nn.Module, nn.Sequential, nn.ModuleList, nn.ModuleDict)
"""They call what they hold, if anything."""


def inside_torch(model: nn.Module) -> dict[int, str]:
    """By the id of each module that a module of torch's own holds, at any depth, what the innermost of these is.

    Attention, transformer and recurrent layers read the weights of the layers in them, some on fast paths only, so that
    no other module can stand there. A class derived from one of torch's is as that is.
    """
    found: dict[int, str] = {}
    for module in model.modules():  # from the outside in
        if _is_torchs(type(module)):
            found.update(
                {id(inner): type(module).__name__ for inner in module.modules() if inner is not module}
            )
    return found


def _is_torchs(kind: type[nn.Module]) -> bool:
    return any(
        base.__module__.startswith("torch.nn.modules.") and base not in _CONTAINERS for base in kind.__mro__
    )
