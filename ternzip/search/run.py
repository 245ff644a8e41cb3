"""search(): from a trained model and samples to the best file."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import torch
from torch import nn

from ternzip._core.errors import TernzipError
from ternzip._core.text import first_line, parse_size
from ternzip.lowrank.stored import load_compressed
from ternzip.search.compressors.base import Compressor
from ternzip.search.compressors.methods import method, weightings
from ternzip.search.finetune import DivergedError, check_trainable
from ternzip.search.finetune import finetune as train_on
from ternzip.search.network import SMALLEST, CompressedNetwork, Network, copied
from ternzip.search.objective import accuracy
from ternzip.search.problem import Problem
from ternzip.search.result import Score, SearchResult, Visited
from ternzip.search.runoff import finalist_count
from ternzip.search.samples import Samples, SampleSource, drawn, gather, outputs_of, samples_of, split
from ternzip.search.size import Coder

if TYPE_CHECKING:
    from ternzip.search.study import OnTrial, SearchStudy

_RELOADED = 64
"""Samples that a file is loaded again for."""
_SAME = 1e-3
"""Largest difference between outputs that are the same, relative to the largest of them."""


def search(
    model: nn.Module,
    samples: SampleSource,
    *,
    target_size: int | str | None = None,
    compressor: Compressor | str = "all",
    loss: str = "distance",
    kappa: float = 1.0,
    samples_per_evaluation: int | None = None,
    evaluations: int | None = None,
    seconds: float | None = None,
    delta: float = 0.05,
    epsilon: float = 0.005,
    engine: str = "pac",
    study: str | None = None,
    name: str = "ternzip",
    seed: int = 0,
    skip: str | Iterable[str] = (),
    smallest: int = SMALLEST,
    batch_norm: bool = True,
    share: str = "none",
    calibration: int = 512,
    held_out: float = 0.2,
    test: SampleSource | None = None,
    finetune: int = 0,
    learning_rate: float = 1e-3,
    coder: Coder | None = None,
    metadata: Mapping[str, str] | None = None,
    on_trial: OnTrial | None = None,
) -> SearchResult:
    """The best compressed form of a trained model: of a file's size, or of kappa L + R.

    Args:
        model: any nn.Module with outputs (batch, classes), on any device; it is not changed. All runs on the CPU.
        samples: a tensor of inputs, a pair (inputs, labels), or an iterable of batches of either. All are kept in
            memory.
        target_size: bytes that the .tnz file may have ("200KB"); None minimises kappa L + R (Eq. 3) instead.
        compressor: a name of `ternzip.search.compressors.METHODS`, or an object.
        loss: "distance" (Eq. 5, no labels), "error" or "cross-entropy" (Eq. 1).
        kappa: weight of L against R.
        samples_per_evaluation: m fresh samples each; None: an eighth of those to draw from, 50 to 400.
        evaluations: that may be made in all, the last few of them in the runoff; None: 4 d + 20.
        seconds: that may pass before no further trial is begun.
        delta, epsilon: of the certificate, Eq. 12; delta in units of J.
        engine: "pac", or a baseline: "random", "tpe", "gp", "qlognei", "uniform".
        study: None keeps it in memory; "sqlite:///study.db", another database, or "grpc://HOST:PORT".
        name: of the study in its storage; one that exists there is gone on with.
        seed: of everything random. One worker with the same seed finds the same, also after an interruption.
        skip, smallest: layers left out, by pattern and by number of weights; these are stored with 8 bits.
        batch_norm: whether running statistics are estimated anew after every compression.
        share: "none": a number for each layer; "shape": one for all layers of one type and shape, which leaves deep
            networks a handful.
        calibration: samples, drawn at random, that batch norm is estimated on, and that weighted SVDs see.
        held_out: share of the samples that only final scores see, unless `test` is given.
        test: samples for that instead.
        finetune: epochs of training on, with thresholds, ranks, masks and bits held.
        learning_rate: of fine-tuning.
        coder: codec and effort of the file.
        metadata: further metadata of the file.
        on_trial: called with the number and the measurements of each trial this call makes.

    Raises TernzipError: no samples, a size that cannot be reached, a model without a layer to compress, outputs that
    are not finite, a study of another problem, or the extra `ternzip[search]` missing.
    """
    start = time.perf_counter()
    study_class = _study_class()
    extra = dict(metadata or {})
    found = method(compressor) if isinstance(compressor, str) else compressor
    target = None if target_size is None else parse_size(target_size)
    _check(kappa, samples_per_evaluation, delta, epsilon, held_out, calibration)
    if finetune < 0:
        raise TernzipError(f"finetune: expected at least 0 epochs, found {finetune}")
    if not 0 <= learning_rate < math.inf:
        raise TernzipError(f"learning_rate: expected a finite number of at least 0, found {learning_rate}")
    model = copied(model)
    inputs, labels = gather(samples)
    whole = samples_of(model, inputs, labels)
    if test is None:
        pool, held = split(whole, held_out, seed)
    else:
        pool, held = whole, samples_of(model, *gather(test))
    if (pool.labels is None) != (held.labels is None):
        raise TernzipError("samples: expected labels with all samples or with none, found them with some")
    calibrated = pool.take(drawn(len(pool), calibration, seed))
    if finetune:
        check_trainable(model, pool.inputs[:2])
    network = Network(
        model,
        found,
        calibration=calibrated.inputs,
        labels=calibrated.labels,
        skip=skip,
        batch_norm=batch_norm,
        smallest=smallest,
        fisher="fisher" in weightings(found),
        coder=coder,
    )
    problem = Problem(
        network,
        pool,
        held,
        loss=loss,
        kappa=kappa,
        count=samples_per_evaluation,
        target=target,
        seed=seed,
        metadata=extra,
        share=share,
    )
    # The smallest setting puts a pair wherever one can be: what no file gives back shows before the search, not after.
    smallest_setting = network.compress([0.0] * len(network.names))
    _check_file(network, smallest_setting, smallest_setting.file(network.coder, extra), pool)
    d = problem.dimension
    evaluations = 4 * d + 20 if evaluations is None else evaluations
    if evaluations < 1:
        raise TernzipError(f"evaluations: expected at least 1, found {evaluations}")
    if not d:
        evaluations = 1  # one layer and one size: nothing is left to choose
    the_study: SearchStudy = study_class(
        problem, study, name, engine=engine, seed=seed, delta=delta, epsilon=epsilon
    )
    finalists = finalist_count(evaluations)
    the_study.run(evaluations - finalists, on_trial, seconds)
    runoff = the_study.runoff(finalists)
    point = runoff[0].point if runoff else the_study.incumbent()[0]
    chosen = problem.compress(point)
    compressed, data = chosen.network, chosen.data
    notes = network.notes
    best = _score(problem, compressed, len(data), notes)
    notes += _better_left_alone(problem, model, compressed, best)
    uniform = problem.uniform(len(data) if target is None else target)
    finetuned = None
    if finetune:
        try:
            tuned = train_on(
                network,
                compressed,
                pool,
                epochs=finetune,
                learning_rate=learning_rate,
                seed=seed,
                target=target,
                metadata=extra,
            )
        except DivergedError as error:
            notes.append(f"{error}: the network stays as it was found; a lower learning rate may help")
        except Exception as error:  # whatever the model's own code raises: the search must not be lost by it
            notes.append(f"fine-tuning: {first_line(error)}: the network stays as it was found")
        else:
            compressed, data = tuned, tuned.file(network.coder, extra)
            finetuned = _score(problem, compressed, len(data), notes)
    _check_file(network, compressed, data, pool)
    settings: dict[str, object] = {
        "compressor": found.describe(),
        "loss": loss,
        "kappa": problem.kappa,
        "samples_per_evaluation": problem.count,
        "evaluations": evaluations,
        "trials": evaluations - finalists,
        "delta": delta,
        "epsilon": epsilon,
        "engine": engine,
        "seed": seed,
        "share": share,
        "calibration": len(network.calibration) if network.calibration is not None else 0,
        "batch_norm_estimated_anew": network.batch_norm,
        "samples": len(pool),
        "set_aside": problem.set_aside,
        "held_out": len(held),
        "finetune_epochs": finetune,
    }
    return SearchResult(
        network=compressed,
        data=data,
        theta=dict(zip(network.names, chosen.theta, strict=True)),
        dense=_dense(problem),
        best=best,
        uniform=_score(problem, uniform.network, len(uniform.data), []),
        finetuned=finetuned,
        certificate=the_study.certificate,
        confirmations=the_study.confirmations,
        visited=_visited(the_study),
        runoff=runoff,
        chosen=point,
        parameters=problem.names,
        target=target,
        settings=settings,
        seconds=time.perf_counter() - start,
        notes=notes,
    )


def _check(
    kappa: float, count: int | None, delta: float, epsilon: float, held_out: float, calibration: int
) -> None:
    for name, value in (("kappa", kappa), ("delta", delta)):
        if not 0 <= value < math.inf:
            raise TernzipError(f"{name}: expected a finite number of at least 0, found {value}")
    for name, share in (("epsilon", epsilon), ("held_out", held_out)):
        if not 0 <= share <= 1:
            raise TernzipError(f"{name}: expected 0 to 1, found {share}")
    if count is not None and count < 2:
        raise TernzipError(f"samples_per_evaluation: expected at least 2, found {count}")
    if calibration < 1:
        raise TernzipError(f"calibration: expected at least 1 sample, found {calibration}")


def _check_file(network: Network, compressed: CompressedNetwork, data: bytes, samples: Samples) -> None:
    """Raises TernzipError where the file, loaded into a network of its own, is not the one that is reported."""
    inputs = samples.inputs[:_RELOADED]
    found = []
    for model in (load_compressed(network.blank(), data), compressed.model):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # of networks that draw numbers
            found.append(outputs_of(model, inputs))
    loaded, expected = found
    tolerance = _SAME * float(expected.nan_to_num(0.0, 0.0, 0.0).abs().max())
    if not torch.allclose(loaded, expected, rtol=_SAME, atol=tolerance, equal_nan=True):
        raise TernzipError(
            "model: expected the network that its file gives to have the same outputs, found others: it keeps "
            "layers or weights outside its modules and state_dict; register them, or leave these layers out by --skip"
        )


def _study_class() -> type[SearchStudy]:
    try:
        from ternzip.search.study import SearchStudy
    except ImportError as error:
        raise TernzipError(
            f"searching needs BoTorch and Optuna ({error.name} is missing): pip install 'ternzip[search]'"
        ) from error
    return SearchStudy


def _score(problem: Problem, compressed: CompressedNetwork, size: int, notes: list[str]) -> Score:
    held = problem.held_out
    outputs = outputs_of(compressed.model, held.inputs)
    if not bool(outputs.isfinite().all()):
        notes.append(f"network of {size:,} bytes: NaN or infinity among its outputs on held-out samples")
    loss = problem.loss.estimate(outputs, held)
    right = None if held.labels is None else accuracy(outputs, held.labels)
    return Score(size, loss.value, loss.standard_error, right)


def _better_left_alone(
    problem: Problem, model: nn.Module, found: CompressedNetwork, best: Score
) -> list[str]:
    """What a size that is easily met makes worse for nothing: the network itself fits, or its batch norm was better."""
    network, notes = problem.network, []
    if problem.target is not None:
        whole = len(network.coder.file(model.state_dict(), problem.metadata))
        if whole <= problem.target.target:
            notes.append(
                f"the network as it is takes {whole:,} bytes in a .tnz file, and fits: ternzip compress"
            )
    if network.batch_norm:
        kept = _score(problem, network.assemble(found.layers, batch_norm=False), best.bytes, [])
        if kept.loss + 2 * (kept.standard_error + best.standard_error) < best.loss:
            notes.append(
                f"with the original's batch norm statistics L is {kept.loss:.4f} instead of {best.loss:.4f}: "
                "--keep-batch-norm (batch_norm=False)"
            )
    return notes


def _dense(problem: Problem) -> Score:
    held = problem.held_out
    loss = problem.loss.estimate(held.outputs, held)
    right = None if held.labels is None else accuracy(held.outputs, held.labels)
    return Score(problem.network.dense_bytes, loss.value, loss.standard_error, right)


def _visited(study: SearchStudy) -> list[Visited]:
    surrogate = study.surrogate()
    found = []
    for number, point, evaluation in study.evaluations():
        mean = deviation = None
        if surrogate is not None:
            means, covariance = surrogate.posterior(torch.tensor([point]))
            mean, deviation = float(means[0]), float(covariance[0, 0].clamp_min(0).sqrt())
        found.append(Visited(number, point, evaluation, mean, deviation))
    return found
