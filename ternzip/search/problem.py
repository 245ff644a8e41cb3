"""One compression problem: from a point of the unit cube to J, with its noise."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ternzip._core.errors import TernzipError
from ternzip.search.choices import SHARES
from ternzip.search.network import CompressedNetwork, Network
from ternzip.search.objective import Estimate, Loss, accuracy, centred, fresh
from ternzip.search.samples import Samples, drawn, outputs_of
from ternzip.search.target import TOLERANCE, TargetSize

_UNIFORMS = 9
_FEWEST, _MOST = 50, 400
"""Fresh samples of an evaluation. With the 50 of Ma et al. differences worth finding are mostly within the noise."""
_COMPARED, _MOST_COMPARED = 10, 1000
"""Samples that finalists are compared on: in evaluations' worth; and no more than so many, nor fewer than one's."""
_COMPARISON, _CONFIRMATION = 1_000_000, 1_000_001  # numbers that no trial has
_CONFIRMED_SHARE, _MOST_CONFIRMED = 8, 1000
"""Samples set aside for confirmations: an eighth, and no more than so many."""
_TOLD_BY = 8  # samples whose outputs' norms tell functions apart that have the same weights
_SAME_FUNCTION = 2e-3
_CORRECTIONS = 6  # batch norm's new statistics take some bytes more or less than the original's


@dataclass(frozen=True)
class Evaluation:
    """One measured setting.

    Attributes:
        value: J.
        noise: the variance of `value`.
        loss: L and its standard error.
        bytes: of the real file.
        ratio: R, bytes over those of the float32 file.
        accuracy: on the same samples; None without labels.
        seconds: it took.
        theta: of each layer.
    """

    value: float
    noise: float
    loss: Estimate
    bytes: int
    ratio: float
    accuracy: float | None
    seconds: float
    theta: tuple[float, ...]


@dataclass(frozen=True)
class Compressed:
    """A network at one point: theta of each layer, and its file."""

    network: CompressedNetwork
    theta: tuple[float, ...]
    data: bytes


class Problem:
    """J over the unit cube.

    The layers form groups that share one theta: each layer by itself, or all of one shape. Without a target size the
    point holds one theta a group, and J = kappa L + R. With one, it holds the ratios between groups: theta_g = s +
    spread (2 x_g - 1), with the compressor's spread, no offset for the group of the most weights, and s such that the
    real file has the target size; J is then L alone. A target that no setting fills binds nothing: where the largest
    file need not be the best (`Compressor.monotone`), the point is theta itself again, and J still L alone.

    Args:
        network: the layers and what may be done to them.
        samples: to search with; an eighth of them is set aside for confirmations.
        held_out: for the scores of what was found; nothing is chosen by them.
        loss: of `ternzip.search.objective.LOSSES`.
        kappa: weight of L without a target size.
        count: fresh samples an evaluation, m; None: `usual_count`.
        target: bytes of the file, or None.
        seed: of the samples drawn.
        metadata: further metadata of the file, which count towards its size.
        share: which layers share one theta, of SHARES.

    Raises TernzipError for a target that the file of the smallest setting exceeds.
    """

    def __init__(
        self,
        network: Network,
        samples: Samples,
        held_out: Samples,
        *,
        loss: str = "distance",
        kappa: float = 1.0,
        count: int | None = None,
        target: int | None = None,
        seed: int = 0,
        metadata: dict[str, str] | None = None,
        share: str = "none",
    ) -> None:
        self.network = network
        self.samples = samples
        self.held_out = held_out
        # Those set aside are of the same kind as those that evaluations draw. Held-out ones need not be: to an
        # overfitted original they are another world, and by them nothing may be chosen.
        aside = min(len(samples) // _CONFIRMED_SHARE, _MOST_CONFIRMED)
        aside = aside if aside > 1 else 0
        order = drawn(len(samples), len(samples), (seed << 24) + _CONFIRMATION)
        self._confirmed, self._searched = order[:aside], order[aside:]
        self.loss = Loss.over(loss, samples)
        self.kappa = 1.0 if target is not None else kappa
        self.count = usual_count(len(self._searched)) if count is None else count
        self.seed = seed
        self.metadata = metadata or {}
        if target is not None and len(self.smallest.data) > target:
            raise TernzipError(
                f"target size {target:,} bytes: cannot be reached: the smallest file that these compressors make "
                f"is {len(self.smallest.data):,} bytes"
            )
        self.target = None if target is None else TargetSize(network, target, metadata)
        self.binding = self.target is not None and (
            network.compressor.monotone or self.target.largest > self.target.target
        )
        self.groups = _groups(network, share)
        views = network.views
        sizes = [sum(views[name].weight.numel() for name in group) for group in self.groups]
        self._reference = sizes.index(max(sizes))

    @cached_property
    def names(self) -> list[str]:
        """The parameters, as a study names them."""
        kind = self.network.compressor.name
        names = [
            group[0] if len(group) == 1 else f"{group[0]} and {len(group) - 1} like it"
            for group in self.groups
        ]
        if not self.binding:
            return [f"{name} {kind}" for name in names]
        return [f"{name} {kind} ratio" for i, name in enumerate(names) if i != self._reference]

    @property
    def dimension(self) -> int:
        """How many numbers make a point."""
        return len(self.names)

    @cached_property
    def smallest(self) -> Compressed:
        """The network with every layer at theta = 0, and its file: what is left where nothing else fits."""
        return self._at([0.0] * len(self.network.names))

    def _at(self, theta: Sequence[float], zeros: float = 0.0) -> Compressed:
        compressed = self.network.compress(theta, zeros=zeros)
        return Compressed(compressed, tuple(theta), compressed.file(self.network.coder, self.metadata))

    def _of_layers(self, of_groups: Sequence[float]) -> list[float]:
        """The groups' numbers, one for each layer in the network's order."""
        found = {name: x for group, x in zip(self.groups, of_groups, strict=True) for name in group}
        return [found[name] for name in self.network.names]

    def offsets(self, point: Sequence[float]) -> list[float]:
        """By how much each layer's theta differs from the common one; 0 in the group of the most weights."""
        offsets = [self.network.compressor.spread * (2 * x - 1) for x in point]
        offsets.insert(self._reference, 0.0)
        return self._of_layers(offsets)

    def compress(self, point: Sequence[float]) -> Compressed:
        """The network at a point, with its file."""
        if self.target is not None and self.binding:
            return self.fitted(self.target, self.offsets(point))
        theta = self._of_layers(point)
        found = self._at(theta)
        if self.target is not None and len(found.data) > self.target.target:
            # `largest` is by entropy, and this file has turned out larger than that.
            return self.fitted(self.target, [t - max(theta) for t in theta])
        return found

    def fitted(self, target: TargetSize, offsets: Sequence[float]) -> Compressed:
        """The network whose file has the target's size, or is a little smaller; never larger.

        Where batch norm's new statistics leave no such file on this line, it is the smallest setting's.
        """
        goal = limit = target.target
        best: Compressed | None = None
        tabulated = 1.0
        for _ in range(_CORRECTIONS):
            fit = target.for_target(goal).fit(offsets, tabulated)
            tabulated = fit.tabulated
            found = self._at(fit.theta, fit.zeros)
            size = len(found.data)
            if size <= limit and (best is None or size > len(best.data)):
                best = found
            if limit * (1 - TOLERANCE) <= size <= limit or (size <= limit and fit.largest):
                break
            goal += math.floor(limit * (1 - TOLERANCE / 2)) - size
            if goal < target.smallest:
                break
        return best or self.smallest

    def uniform(self, size: int) -> Compressed:
        """One theta for all layers, with a file of at most that size; where no target binds, the best of a few.

        Without a target there is always one: the smallest file stands for sizes below it.
        """
        if self.target is not None and not self.binding:
            samples = fresh(self.samples, self.count, self.seed, 0, self._searched)
            tried = [self.compress([i / (_UNIFORMS - 1)] * len(self.groups)) for i in range(_UNIFORMS)]
            return min(tried, key=lambda one: self._loss(one, samples).value)
        if self.target is None and len(self.smallest.data) >= size * (1 - TOLERANCE):
            return self.smallest  # by its batch norm it may be some bytes larger
        target = self.target or TargetSize(self.network, size, self.metadata)
        return self.fitted(target.for_target(size), [0.0] * len(self.network.names))

    @property
    def uniform_points(self) -> list[tuple[float, ...]]:
        """Where every search begins: one theta for all layers. A size that binds leaves one such point."""
        values = (0.5,) if self.binding else (0.5, 0.25, 0.75)
        return [(value,) * self.dimension for value in values]

    def is_uniform(self, point: Sequence[float]) -> bool:
        """Whether all layers have one theta at this point."""
        return len({*point, 0.5} if self.binding else set(point)) <= 1

    def evaluate(self, point: Sequence[float], evaluation: int) -> Evaluation:
        """J at a point on samples that are drawn for this evaluation alone."""
        return self._measured(point, fresh(self.samples, self.count, self.seed, evaluation, self._searched))

    def compare(self, point: Sequence[float]) -> Evaluation:
        """J at a point on more samples than an evaluation's, the same for every point; none of them is held out or set
        aside."""
        count = max(min(_COMPARED * self.count, _MOST_COMPARED), self.count)
        return self._measured(point, fresh(self.samples, count, self.seed, _COMPARISON, self._searched))

    @property
    def set_aside(self) -> int:
        """How many samples confirmations have; 0 where there are too few for any."""
        return len(self._confirmed)

    def confirm(self, point: Sequence[float]) -> Evaluation:
        """J at a point on the samples that were set aside, which no evaluation draws."""
        return self._measured(point, self.samples.take(self._confirmed))

    def _measured(self, point: Sequence[float], samples: Samples) -> Evaluation:
        start = time.perf_counter()
        compressed = self.compress(point)
        size = len(compressed.data)
        outputs = outputs_of(compressed.network.model, samples.inputs)
        loss = self.loss.estimate(outputs, samples)
        ratio = size / self.network.dense_bytes
        value = self.kappa * loss.value + (ratio if self.target is None else 0.0)
        right = None if samples.labels is None else accuracy(outputs, samples.labels)
        noise = (self.kappa * loss.standard_error) ** 2
        return Evaluation(
            value, noise, loss, size, ratio, right, time.perf_counter() - start, compressed.theta
        )

    def _loss(self, compressed: Compressed, samples: Samples) -> Estimate:
        return self.loss.estimate(outputs_of(compressed.network.model, samples.inputs), samples)

    def fingerprint(self) -> dict[str, str]:
        """What tells this problem from others, to be compared by `agree`: the model, the samples, the objective."""
        digest = hashlib.sha256()
        for name, tensor in self.network.model.state_dict().items():
            digest.update(name.encode())
            digest.update(_bytes(tensor))
        data = hashlib.sha256()
        parts = (self.samples.inputs, self.samples.labels, self.held_out.inputs, self.held_out.labels)
        for tensor in (part for part in parts if part is not None):
            data.update(_bytes(tensor))
        objective = {
            "loss": self.loss.name,
            "kappa": self.kappa,
            "samples": self.count,
            "set aside": self.set_aside,
            "target": self.target and self.target.target,
            "spread": self.network.compressor.spread,
            "coder": f"{self.network.coder.codec} {self.network.coder.effort}",
            "metadata": hashlib.sha256(json.dumps(self.metadata, sort_keys=True).encode()).hexdigest()[:16],
        }
        norms = centred(self.samples.outputs[:_TOLD_BY]).square().sum(1).sqrt()
        return {
            "model": digest.hexdigest()[:16],
            "function": json.dumps([float(f"{norm:.6g}") for norm in norms.tolist()]),
            "data": data.hexdigest()[:16],
            "space": f"{self.network.describe()}, {len(self.groups)} groups",
            "objective": json.dumps(objective, sort_keys=True),
        }


def agree(key: str, expected: str, found: str | None) -> bool:
    """Whether two fingerprints agree in this key; what a network computes differs a little between machines."""
    if key != "function" or found is None:
        return found == expected
    one, other = json.loads(expected), json.loads(found)
    tolerance = _SAME_FUNCTION * max(one, default=0.0)
    return len(one) == len(other) and all(abs(a - b) <= tolerance for a, b in zip(one, other, strict=True))


def _bytes(tensor: Tensor) -> bytes:
    """A tensor's elements, of any dtype: numpy has no bfloat16."""
    return tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes()


def usual_count(samples: int) -> int:
    """Fresh samples an evaluation where so many are there to draw from: an eighth, that draws differ, 50 to 400."""
    return min(_MOST, max(_FEWEST, samples // 8))


def _groups(network: Network, share: str) -> list[list[str]]:
    """The layers' names, those together that share one theta; in the order of the network."""
    if share not in SHARES:
        raise TernzipError(f"share: expected one of {', '.join(SHARES)}, found {share!r}")
    groups: dict[object, list[str]] = {}
    for name, view in network.views.items():
        key: object = name if share == "none" else (type(view.layer), tuple(view.weight.shape))
        groups.setdefault(key, []).append(name)
    return list(groups.values())
