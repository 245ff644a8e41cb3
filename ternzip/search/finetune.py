"""Training on after the search: thresholds, ranks, masks and bits are held, the values behind them move."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from ternzip._core.errors import TernzipError
from ternzip._core.text import first_line
from ternzip.lowrank.batch_norm import trainable_batch_norm
from ternzip.search.compressors.base import sparser_layer
from ternzip.search.compressors.encodings import Encoding
from ternzip.search.network import CompressedNetwork, Network
from ternzip.search.objective import accuracy, centred
from ternzip.search.samples import Samples, drawn, outputs_of

_HALVINGS = 14
_CALIBRATION = 512
_COMPARED, _COMPARED_SHARE = 2000, 8
"""Samples that are not trained on but compared with: an eighth, and at most so many."""
_NARROW = (torch.float16, torch.bfloat16)


class DivergedError(TernzipError):
    """A loss or a weight was no longer finite."""


class Held(nn.Module):
    """Parametrization: what is stored for the latent weight; the gradient passes to the latent unchanged."""

    def __init__(self, encoding: Encoding) -> None:
        super().__init__()
        self.encoding = encoding

    def forward(self, latent: Tensor) -> Tensor:
        value = self.encoding.encode(latent.detach()).value
        return value + (latent - latent.detach())

    def right_inverse(self, weight: Tensor) -> Tensor:
        """What is assigned becomes the latent weight."""
        return weight


def finetune(
    network: Network,
    compressed: CompressedNetwork,
    samples: Samples,
    *,
    epochs: int,
    learning_rate: float = 1e-3,
    batch_size: int = 64,
    seed: int = 0,
    target: int | None = None,
    metadata: dict[str, str] | None = None,
) -> CompressedNetwork:
    """The compressed network trained on; `compressed` stays as it is.

    Args:
        samples: with labels the loss is cross entropy, without them Eq. 5 towards the original's outputs.
        learning_rate: of Adam, falling to 0 along a cosine.
        target: bytes that the file must not exceed. Weights that cross a held threshold change its size; where it
            has grown too large, the smallest kept magnitudes become zeros until it fits again.

    What comes back is `compressed` itself where that is the better one on an eighth of the samples, drawn at random,
    that training does not see. Weights of 16 bits are trained in float32, as Adam's steps are below what they can tell
    apart, and cast back.

    Raises DivergedError for a loss or a weight that is not finite.
    """
    model, dtypes = trainable_copy(compressed.model)
    order = drawn(len(samples), len(samples), seed)
    aside = min(len(samples) // _COMPARED_SHARE, _COMPARED)
    trained = order[: len(order) - aside]
    compared = samples.take(order[-aside:])  # all of a handful
    samples = replace(samples, inputs=_widened(samples.inputs))
    trainable_batch_norm(model, samples.inputs[trained[:_CALIBRATION]])
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    places = {
        f"{name}.{part}".removesuffix(".weight"): latent_and_encoding
        for name, layer in compressed.layers.items()
        for part, latent_and_encoding in layer.latents.items()
    }
    for place, (latent, encoding) in places.items():
        module = model.get_submodule(place)
        with torch.no_grad():
            module.weight.copy_(latent)  # type: ignore[operator]
        parametrize.register_parametrization(module, "weight", Held(encoding))
    _train(model, samples, trained, epochs, learning_rate, batch_size, seed)
    latents: dict[str, dict[str, Tensor]] = {}
    for name, layer in compressed.layers.items():
        latents[name] = {}
        for part in layer.latents:
            module = model.get_submodule(f"{name}.{part}".removesuffix(".weight"))
            original = module.parametrizations["weight"].original  # type: ignore[index,union-attr]
            assert isinstance(original, Tensor)
            latents[name][part] = original.detach().to(layer.latents[part][0].dtype, copy=True)
            parametrize.remove_parametrizations(module, "weight")
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    for name, tensor in _tensors(model):
        tensor.data = tensor.data.to(dtypes.get(name, tensor.dtype))
    values = [tensor for part in latents.values() for tensor in part.values()]
    if not all(bool(value.isfinite().all()) for value in (*values, *model.parameters())):
        raise DivergedError("fine-tuning: expected finite weights, found NaN or infinity")

    def assembled(zeros: float) -> CompressedNetwork:
        layers = {
            name: sparser_layer(network.views[name], layer, zeros, latents[name])
            for name, layer in compressed.layers.items()
        }
        return network.assemble(layers, base=model)

    def fits(candidate: CompressedNetwork) -> bool:
        return target is None or len(candidate.file(network.coder, metadata)) <= target

    def better(candidate: CompressedNetwork) -> CompressedNetwork:
        # Held thresholds do not hold a size: what has outgrown its target can lose more by the zeros than it has won.
        # And on samples that were trained on every network is the better one afterwards.
        before, after = (
            _badness(outputs_of(one.model, compared.inputs), compared) for one in (compressed, candidate)
        )
        return candidate if after <= before else compressed

    found = assembled(0.0)
    if fits(found):
        return better(found)
    low, high, best = 0.0, 1.0, None
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        candidate = assembled(middle)
        if fits(candidate):
            high, best = middle, candidate
        else:
            low = middle
    return compressed if best is None else better(best)


def trainable_copy(model: nn.Module) -> tuple[nn.Module, dict[str, torch.dtype]]:
    """A copy whose tensors of 16 bits are float32, and the dtypes that these had, by name."""
    model = copy.deepcopy(model)
    dtypes = {name: tensor.dtype for name, tensor in _tensors(model) if tensor.dtype in _NARROW}
    for name, tensor in _tensors(model):
        if name in dtypes:
            tensor.data = tensor.data.float()
    return model, dtypes


def check_trainable(model: nn.Module, inputs: Tensor) -> None:
    """Runs a copy of the model as fine-tuning will: in training mode, and in float32 if it is one of 16 bits.

    Raises TernzipError where that is no model of outputs (batch, classes), or does not run.
    """
    model, dtypes = trainable_copy(model)
    inputs = _widened(inputs)
    expected = "runs in float32 too"
    try:
        if dtypes:
            outputs_of(model, inputs)
        expected = "runs in training mode too"
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            outputs = model.train()(inputs)
    except Exception as error:  # whatever the model's own code raises
        kind = "model of 16 bits" if dtypes else "model"
        raise TernzipError(
            f"fine-tuning: expected a {kind} that {expected}, found {first_line(error)}"
        ) from error
    if not isinstance(outputs, Tensor) or outputs.dim() != 2:
        found = f"shape {list(outputs.shape)}" if isinstance(outputs, Tensor) else type(outputs).__name__
        raise TernzipError(
            f"fine-tuning: expected outputs of shape (batch, classes) in training mode too, found {found}"
        )


def _tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from model.named_parameters()
    yield from model.named_buffers()


def _widened(inputs: Tensor) -> Tensor:
    return inputs.float() if inputs.dtype in _NARROW else inputs


def _train(
    model: nn.Module,
    samples: Samples,
    trained: Tensor,
    epochs: int,
    learning_rate: float,
    batch_size: int,
    seed: int,
) -> None:
    """Trains on the samples of the indices `trained`."""
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(model.parameters(), learning_rate)
    batches = max(1, len(trained) // batch_size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * batches)
    spread = 1.0 if samples.labels is not None else float(centred(samples.outputs).square().sum(1).mean())
    model.train()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # of dropout
        for _ in range(epochs):
            order = trained[torch.randperm(len(trained), generator=generator)]
            # Not chunk(), whose last part may be a single sample, which batch norm refuses.
            for index in order.tensor_split(batches):
                batch = samples.take(index)
                outputs = model(batch.inputs)
                loss = _loss(outputs, batch) / spread
                if not bool(loss.isfinite()):
                    raise DivergedError(f"fine-tuning: expected a finite loss, found {float(loss.detach())}")
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                schedule.step()
    model.eval()


def _badness(outputs: Tensor, samples: Samples) -> tuple[float, float]:
    """What is compared: the share of wrong answers, 0 without labels, then the loss.

    Not the loss alone: cross entropy falls as well where a network only becomes surer of itself.
    """
    wrong = 0.0 if samples.labels is None else 1 - accuracy(outputs, samples.labels)
    return wrong, float(_loss(outputs, samples))


def _loss(outputs: Tensor, samples: Samples) -> Tensor:
    """Cross entropy with labels, without them the mean of Eq. 5's terms, not scaled."""
    if samples.labels is not None:
        return F.cross_entropy(outputs, samples.labels)
    return centred(outputs - samples.outputs.to(outputs)).square().sum(1).mean()
