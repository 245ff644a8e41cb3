"""The prepared weights of a model: which they are, and where each is used."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor, nn

from ternzip._core.errors import TernzipError
from ternzip.quantization.quantizers import Quantizer

_NONE = nn.ModuleDict()


@dataclass(frozen=True)
class TernaryLayer:
    """One prepared weight.

    Attributes:
        name: the module's name where the weight is its `weight`, else the weight's own full name
            ("encoder.self_attn.in_proj_weight", or "weight" where the model is the layer).
        module: the module that holds it.
        parameter: the weight's name in the module.
    """

    name: str
    module: nn.Module
    parameter: str = "weight"

    @property
    def quantizer(self) -> Quantizer:
        """The ternarizer of this weight alone, with its own thresholds and levels."""
        found = parametrizations(self.module)[self.parameter][0]  # type: ignore[index]
        assert isinstance(found, Quantizer)
        return found

    @property
    def latent(self) -> Tensor:
        """The full-precision weight that the optimizer moves."""
        original = parametrizations(self.module)[self.parameter].original
        assert isinstance(original, Tensor)
        return original

    @property
    def is_frozen(self) -> bool:
        """Whether neither the latent weight nor its threshold is to move (requires_grad False, or `pinned`)."""
        return self.quantizer.pinned or not self.latent.requires_grad


def parametrizations(module: nn.Module) -> nn.ModuleDict:
    """The parametrizations of a module, by parameter; empty for one without any.

    Looked up among its own children: wrappers that pass attribute lookups on to the module they wrap, as those of
    torch.compile and of checkpoint_wrapper do, would answer with that one's.
    """
    children = module._modules  # of a scripted module without get()
    found = children["parametrizations"] if "parametrizations" in children else None  # noqa: SIM401
    return found if isinstance(found, nn.ModuleDict) else _NONE


def keep_plain_order(module: nn.Module, order: tuple[str, ...]) -> None:
    """Remember the order of a plain module's parameters, in which `convert` and `ternary_state` give them back."""
    if not hasattr(parametrizations(module), "plain_order"):
        parametrizations(module).plain_order = order  # type: ignore[assignment]


def plain_order(module: nn.Module) -> tuple[str, ...]:
    """What keep_plain_order was told first."""
    order: tuple[str, ...] = getattr(parametrizations(module), "plain_order")  # noqa: B009
    return order


def layer_name(module_name: str, parameter: str) -> str:
    """The name of a weight as a layer of its model."""
    if module_name and parameter == "weight":
        return module_name
    return f"{module_name}.{parameter}" if module_name else parameter


def is_prepared(module: nn.Module, parameter: str = "weight") -> bool:
    """Whether that weight of the module reads as a ternary one."""
    own = parametrizations(module)
    return parameter in own and isinstance(own[parameter][0], Quantizer)  # type: ignore[index]


def every_use(model: nn.Module, *, every_name: bool = False) -> Iterator[tuple[str, TernaryLayer]]:
    """(module name, layer) of all prepared weights, tied ones at every place; `every_name` repeats shared modules.

    Raises TernzipError for a weight that is parametrized once more, behind its quantizer: what the network uses is then
    not what is counted and stored.
    """
    for name, module in model.named_modules(remove_duplicate=not every_name):
        for parameter in parametrizations(module):
            if is_prepared(module, parameter):
                _check_alone(module, name, parameter)
                yield name, TernaryLayer(layer_name(name, parameter), module, parameter)


def _check_alone(module: nn.Module, name: str, parameter: str) -> None:
    _, *others = parametrizations(module)[parameter].children()
    if others:
        raise TernzipError(
            f"layer {layer_name(name, parameter)}: expected its quantizer alone, found {type(others[0]).__name__} "
            "registered behind it: its weight is not ternary any more"
        )


def ternary_layers(model: nn.Module) -> list[TernaryLayer]:
    """The prepared weights of `model`, in the order of its modules; empty for a model that is not prepared.

    Tied weights are one, under the first of their names.
    """
    distinct: dict[int, TernaryLayer] = {}
    for _, layer in every_use(model):
        distinct.setdefault(id(layer.latent), layer)
    return list(distinct.values())
