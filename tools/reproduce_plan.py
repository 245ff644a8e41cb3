"""What tools/reproduce.py trains: methods, scales, and the order of the runs.

A run of fewer epochs than the paper's is the paper's recipe, shrunk. The paper's learning rate has stopped falling
after 250 of its 500 epochs, so a run of E epochs takes its steps at s = E / 250 of their epochs: at the first rate it
trains for 101 s. Latent weights that Adam moves by steps of one size in changing directions spread with the root of
the number of steps: at that rate, batches of 256 and inflate 1, to a deviation of 0.079 sqrt(epoch) in the eighth
epoch of a trial. Delta must keep up with them. Its bound is 1.45 of what they will have spread to when the rate first
falls, which leaves some 86 % zeros by their distribution then, and is met shortly before: by log at 0.85 of that time,
by linear at 0.8.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Options = Mapping[str, Any]
NEEDED = ("init", "teacher")  # the options that name another run's file


@dataclass(frozen=True)
class Run:
    """One training: a folder `name` of the queue's folder.

    Attributes:
        method: what its results are reported under, with those of other seeds.
        options: of its recipe, all but where the data lie.
    """

    method: str
    seed: int
    options: Options

    @property
    def name(self) -> str:
        """Of its folder."""
        return f"{self.method}-seed{self.seed}".replace(",", "").replace(" ", "-")

    @property
    def needs(self) -> str | None:
        """The name of the run that must be finished before this one, as it takes a file of it."""
        return next((str(self.options[name]).split("/")[0] for name in NEEDED if name in self.options), None)


@dataclass(frozen=True)
class Scale:
    """How large the experiment is.

    Attributes:
        base: options of every run.
        methods: options of each method beside those, by name, in the order in which they are trained.
        once: methods that are trained for the first seed alone, as those of the ablation are.
        ablation: methods that are trained only where they are asked for, by their names or all as "ablation".
    """

    base: Options
    methods: Mapping[str, Options]
    once: tuple[str, ...] = ()
    ablation: Mapping[str, Options] = field(default_factory=dict)


LATE = 5  # last epochs, whose mean reports give: the accuracy of ternary networks swings
FULL_PRECISION = "full precision"
SHORT, SHORT_FULL = "short", "short, full precision"
SHORT_BOTH, SHORT_HALF = "short, rate and teacher", "short, half the rate and teacher"
SHORT_NORMS, SHORT_HALF_NORMS = "short, norms anew", "short, half the rate, norms anew"
LOG_BOTH = "log, rate and teacher"
# As in their papers: from the full-precision twin, first and last layer left alone, small steps, levels smaller ones.
LEARNED: Options = {
    "skip": ("conv1", "linear"),
    "lr": 1e-4,
    "levels_lr": 1e-5,
    "lr_schedule": "constant",
}


def methods(delta: float, log: Options, linear: Options, bound: float, epochs: int) -> dict[str, Options]:
    """The methods of one scale: `delta` is Delta's start, `bound` its end."""
    short = {"epochs": max(1, epochs // 2), "lr_scale": None}
    return {
        FULL_PRECISION: {"quantizer": "none"},
        "log": {"growth": "log", "delta": delta, "max_delta": bound, **log},
        "binary": {"quantizer": "binary"},
        "fixed": {"growth": "fixed", "delta": delta, "max_delta": bound},
        "linear": {"growth": "linear", "delta": delta, "max_delta": bound, **linear},
        "TWN": {"quantizer": "twn"},
        "EC2T": {"quantizer": "ec2t", **LEARNED, **short},
        "TTQ": {"quantizer": "ttq", **LEARNED, **short},
        "fixed, twice the Delta": {"growth": "fixed", "delta": 2 * delta, "max_delta": bound},
        "fixed, four times the Delta": {"growth": "fixed", "delta": 4 * delta, "max_delta": bound},
    }


def ablation(epochs: int, growth: Options, rate: float) -> dict[str, Options]:
    """One thing at a time beside the same short run by the paper's method, and two together; and their own twin.

    `rate` is chosen by the gradients: at a price of 1 a kibibyte pulls a weight near Delta with about 1e-3, while the
    cross entropy of a batch moves one of the last stage, where most weights are, by some 2e-4 (inflate 1, epoch 5).
    A trial of 80 steps on 5,000 images at a fixed Delta of 0.05 gave files of 36.0, 25.4 and 17.6 kB at 0, 0.03 and
    0.3, with 54, 75 and 85 % zeros and accuracies of 29.5, 34.0 and 28.7 % of 1,000 images, which swing by as much
    from epoch to epoch. A longer run sums up more of the pull, so that it starts lower: one of 30 epochs at 0.01 had
    91.8 % zeros after 17 of them, where one without a price had 82.3 % after 21. Half the price is for a file of about
    the size that the paper's method has, and not for the smallest.
    """
    base = {"epochs": epochs, "lr_scale": epochs / 250, **growth}
    priced = {"rate": rate, "rate_epochs": max(1, epochs // 4)}
    cheaper = {**priced, "rate": rate / 2}
    taught = {"teacher": SHORT_FULL}
    anew = {"norm_batches": 40}  # by running averages alone, single epochs swing by more than is asked about
    return {
        SHORT_FULL: {"quantizer": "none", "epochs": epochs, "lr_scale": epochs / 250},
        SHORT: base,
        "short, rate": {**base, **priced},
        SHORT_BOTH: {**base, **priced, **taught},
        SHORT_HALF: {**base, **cheaper, **taught},
        "short, teacher": {**base, **taught},
        "short, half the rate": {**base, **cheaper},
        SHORT_NORMS: {**base, **anew},
        SHORT_HALF_NORMS: {**base, **cheaper, **anew},
        "short, Delta by layer": {**base, "delta_scale": ("conv1=0.5", "linear=0.5", "layer3.*=1.25")},
    }


def beyond(log: Options, epochs: int, rate: float) -> dict[str, Options]:
    """What the ablation adds to the paper's method, both at once, in a run of full length.

    `rate` is a quarter of the short runs'. Over a time of t steps weights are pulled by t, while they spread, and Delta
    with them, by the root of t: in three times the epochs a price does about 1.7 times as much. So a quarter does there
    a little less than half the price does in the short runs, which made the file a fifth smaller. So it was reckoned;
    it did nothing to be seen, as two such runs ended with as many zeros as those without a price.
    """
    return {LOG_BOTH: {**log, "rate": rate, "rate_epochs": max(1, epochs // 4), "teacher": FULL_PRECISION}}


ABLATION, METHODS = "ablation", "methods"
FIXED_DELTAS = ("fixed, twice the Delta", "fixed, four times the Delta")
PAPERS = methods(0.1, {"multiplier": 1.9}, {"multiplier": 0.1}, 0.9, 500)
ON_CPU = methods(0.05, {"multiplier": 3.4}, {"multiplier": 0.54}, 0.56, 60)
SCALES = {
    "cpu": Scale(
        {"epochs": 60, "lr_scale": 60 / 250, "fast": True, "fold_norms": True},
        {**ON_CPU, **beyond(ON_CPU["log"], 60, rate=0.005 / 4)},
        FIXED_DELTAS,
        ablation(20, {"delta": 0.033, "multiplier": 4.7, "max_delta": 0.33}, rate=0.005),
    ),
    "gpu": Scale(
        {"epochs": 250, "inflate": 5, "fast": True, "fold_norms": True},
        methods(0.1, {"multiplier": 1.9}, {"multiplier": 0.1}, 0.9, 250),
        FIXED_DELTAS,
    ),
    "full": Scale({"inflate": 5, "fast": True, "fold_norms": True}, PAPERS, FIXED_DELTAS),
    # A minute on data that need no download: that the tool works, no more.
    "trial": Scale(
        {"dataset": "digits", "epochs": 4, "batch_size": 64, "train_images": 320, "lr_scale": 4 / 250},
        methods(0.03, {"multiplier": 0.5}, {"multiplier": 0.2}, 0.2, 4),
        FIXED_DELTAS,
        ablation(4, {"delta": 0.03, "multiplier": 0.5, "max_delta": 0.2}, rate=0.01),
    ),
}

# The options that any plan names. Of data no plan but the trial's says what they are, which `auto` finds.
PLANNED = {
    name
    for scale in SCALES.values()
    for options in (scale.base, *scale.methods.values(), *scale.ablation.values())
    for name in options
} | {"init"}
NOT_COMPARED = {"dataset"}


def plan(scale: str, seeds: int, only: tuple[str, ...] = (), first: int = 0) -> list[Run]:
    """The runs of a scale in the order of the queue: every method with the seed `first`, then with the next.

    `only` keeps the methods of these names, and what they start from; "ablation" stands for all of the scale's, and
    "methods" for all others.
    ValueError for a name that is none.
    """
    known = SCALES[scale]
    choices = {**known.methods, **known.ablation}
    wanted = set(only or known.methods)
    for several, names in ((ABLATION, known.ablation), (METHODS, known.methods)):
        if several in wanted:
            wanted = (wanted - {several}) | set(names)
    unknown = sorted(wanted - set(choices))
    if unknown:
        raise ValueError(
            f"unknown method {unknown[0]!r}: expected one of {', '.join([*choices, ABLATION, METHODS])}"
        )
    wanted |= {twin for name in wanted if (twin := _twin(choices[name])) is not None}
    return [
        _run(known.base, method, options, seed)
        for seed in range(first, seeds)
        for method, options in choices.items()
        if method in wanted and (seed == 0 or method not in (*known.once, *known.ablation))
    ]


def _twin(options: Options) -> str | None:
    """The method in full precision that one of these options starts from or learns from."""
    if "teacher" in options:
        return str(options["teacher"])
    return FULL_PRECISION if options.get("quantizer") in ("ttq", "ec2t") else None


def _run(base: Options, method: str, own: Options, seed: int) -> Run:
    options = {**base, **own, "seed": seed}
    if (twin := _twin(options)) is not None:
        # Not its .tnz file: batch norm is folded there, which is for evaluation only.
        options["teacher" if "teacher" in options else "init"] = f"{Run(twin, seed, {}).name}/last.ckpt"
    return Run(method, seed, {name: value for name, value in options.items() if value is not None})
