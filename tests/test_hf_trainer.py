"""Ternary training in transformers' Trainer, and how it resumes."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")

from small_llama import small_llama

import ternzip
from ternzip._core.errors import TernzipError
from ternzip.hf import TernaryTrainerCallback

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"
)

SCHEDULE = {"initial": 0.05, "growth": "linear", "multiplier": 1.0, "maximum": 0.4}


def model_and_data() -> tuple[Any, list[dict[str, torch.Tensor]]]:
    model = ternzip.prepare(small_llama(16), skip=["lm_head"])
    rows = torch.arange(16 * 8).reshape(16, 8) % 32
    return model, [{"input_ids": row, "labels": row} for row in rows]


def train(
    folder: Path, callback: TernaryTrainerCallback, *, epochs: int = 4, stop: int | None = None, **more: Any
) -> Any:
    """A Trainer that has trained for `epochs`, or until it was stopped after `stop` of them."""

    class Stop(transformers.TrainerCallback):  # type: ignore[misc]
        def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            control.should_training_stop = stop is not None and state.epoch >= stop

    model, data = model_and_data()
    arguments = transformers.TrainingArguments(
        folder,
        num_train_epochs=epochs,
        per_device_train_batch_size=8,
        learning_rate=1e-2,
        logging_strategy="epoch",
        save_strategy="epoch",
        report_to=[],
        disable_tqdm=True,
        use_cpu=True,
        **more,
    )
    resume = any(folder.glob("checkpoint-*"))
    trainer = transformers.Trainer(model, arguments, train_dataset=data, callbacks=[callback, Stop()])
    trainer.train(resume_from_checkpoint=resume)
    return trainer


def deltas(trainer: Any) -> list[float]:
    return [entry["delta"] for entry in trainer.state.log_history if "delta" in entry and "loss" in entry]


def test_a_run_that_resumes_is_the_run_left_alone(tmp_path: Path) -> None:
    alone = train(tmp_path / "alone", TernaryTrainerCallback(SCHEDULE))
    train(tmp_path / "twice", TernaryTrainerCallback(SCHEDULE), stop=2)
    again = train(tmp_path / "twice", TernaryTrainerCallback(SCHEDULE))
    assert deltas(alone) == deltas(again) == pytest.approx([0.1, 0.15, 0.2, 0.25])
    mine, other = alone.model.state_dict(), again.model.state_dict()
    assert all(torch.equal(tensor, other[name]) for name, tensor in mine.items())


def test_epochs_of_data_without_a_length(tmp_path: Path) -> None:
    model, data = model_and_data()

    class Stream(torch.utils.data.IterableDataset[dict[str, torch.Tensor]]):
        def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
            return iter(data)

    arguments = transformers.TrainingArguments(
        tmp_path,
        max_steps=6,
        per_device_train_batch_size=8,
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        use_cpu=True,
    )
    callback = TernaryTrainerCallback(SCHEDULE)
    trainer = transformers.Trainer(model, arguments, train_dataset=Stream(), callbacks=[callback])
    trainer.train()
    assert deltas(trainer) == pytest.approx([0.1, 0.1, 0.15, 0.15, 0.2, 0.2])


def test_arguments_are_in_the_checkpoint(tmp_path: Path) -> None:
    train(tmp_path, TernaryTrainerCallback(SCHEDULE, carry_on=True), stop=2)
    again = train(tmp_path, TernaryTrainerCallback(), restore_callback_states_from_checkpoint=True)
    assert deltas(again) == pytest.approx([0.1, 0.15, 0.2, 0.25])


def test_what_is_logged(tmp_path: Path) -> None:
    trainer = train(tmp_path, TernaryTrainerCallback(), epochs=1)
    counts = sum(ternzip.count_layers(trainer.model).values(), ternzip.SymbolCounts())
    logged = next(entry for entry in trainer.state.log_history if "loss" in entry)
    assert logged["sparsity"] == counts.sparsity
    assert logged["entropy"] == counts.entropy
    assert "delta" not in logged


def test_delta_for_every_step(tmp_path: Path) -> None:
    seen: list[float] = []
    callback = TernaryTrainerCallback(SCHEDULE, per_step=True)

    class Look(transformers.TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            assert callback._schedule is not None
            seen.append(callback._schedule.delta)

    model, data = model_and_data()
    arguments = transformers.TrainingArguments(
        tmp_path,
        num_train_epochs=2,
        per_device_train_batch_size=8,
        report_to=[],
        disable_tqdm=True,
        use_cpu=True,
    )
    transformers.Trainer(model, arguments, train_dataset=data, callbacks=[callback, Look()]).train()
    assert seen == pytest.approx([0.1, 0.125, 0.15, 0.175])


def test_latent_weights_stay_clipped(tmp_path: Path) -> None:
    trainer = train(tmp_path, TernaryTrainerCallback(), epochs=1, weight_decay=-100.0)
    latent = [tensor for name, tensor in trainer.model.named_parameters() if name.endswith("original")]
    assert latent
    assert max(float(tensor.detach().abs().max()) for tensor in latent) <= 1


def test_a_collapsed_training_is_stopped(tmp_path: Path) -> None:
    model, data = model_and_data()
    for name, tensor in model.named_parameters():
        if name.endswith("original"):
            tensor.data.zero_()
    arguments = transformers.TrainingArguments(
        tmp_path,
        num_train_epochs=1,
        learning_rate=0.0,
        logging_steps=1,
        report_to=[],
        disable_tqdm=True,
        use_cpu=True,
    )
    trainer = transformers.Trainer(model, arguments, train_dataset=data, callbacks=[TernaryTrainerCallback()])
    with pytest.raises(TernzipError, match="training has collapsed"):
        trainer.train()


def test_a_plain_model_is_refused(tmp_path: Path) -> None:
    model, data = model_and_data()
    ternzip.convert(model)
    arguments = transformers.TrainingArguments(tmp_path, report_to=[], disable_tqdm=True, use_cpu=True)
    trainer = transformers.Trainer(model, arguments, train_dataset=data, callbacks=[TernaryTrainerCallback()])
    with pytest.raises(TernzipError, match=r"no ternary layer: call ternzip\.prepare"):
        trainer.train()
