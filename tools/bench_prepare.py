"""Does `prepare(model)` learn at once, with nothing else said? Six usual models, 200 steps of Adam; writes JSON.

    python tools/bench_prepare.py --json docs/benchmarks/prepare.json

Every model is trained three times from the same start on the same batches: in full precision, prepared by default, and
prepared with the paper's absolute Delta of 0.1. Needs scikit-learn (its digits) and transformers (whose models are
built from configurations, at random; nothing is downloaded).
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from machine import provenance
from torch import Tensor, nn
from torch.nn import functional as F

import ternzip
from ternzip.models import resnet20

CLASSES, TOKENS, LENGTH = 10, 64, 32
Batches = Iterator[tuple[Tensor, Tensor]]


def digits() -> tuple[Tensor, Tensor]:
    """scikit-learn's digits: images (1797, 1, 8, 8) in [0, 1], and labels."""
    from sklearn.datasets import load_digits

    data = load_digits()
    return torch.tensor(data.images, dtype=torch.float32).unsqueeze(1) / 16, torch.tensor(data.target)


def image_batches() -> Batches:
    images, labels = digits()
    generator = torch.Generator().manual_seed(0)
    while True:
        chosen = torch.randint(0, len(labels), (64,), generator=generator)
        yield images[chosen], labels[chosen]


def text_batches() -> Batches:
    """Texts of one of ten topics: half of the words are among the topic's twelve, the others are any.

    No single word tells the topic: it takes what a model's body does, to gather them.
    """
    generator = torch.Generator().manual_seed(0)
    topics = torch.stack([torch.randperm(TOKENS, generator=generator)[:12] for _ in range(CLASSES)])
    while True:
        labels = torch.randint(0, CLASSES, (64,), generator=generator)
        own = topics[labels].gather(1, torch.randint(0, 12, (64, LENGTH), generator=generator))
        other = torch.randint(0, TOKENS, (64, LENGTH), generator=generator)
        yield torch.where(torch.rand(64, LENGTH, generator=generator) < 0.5, own, other), labels


def mlp() -> nn.Module:
    return nn.Sequential(
        nn.Upsample((28, 28)), nn.Flatten(), nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, CLASSES)
    )


class RowEncoder(nn.Module):
    """nn.TransformerEncoder over the rows of an image."""

    def __init__(self) -> None:
        super().__init__()
        self.inputs = nn.Linear(8, 64)
        self.positions = nn.Parameter(torch.randn(8, 64) / 8)
        layer = nn.TransformerEncoderLayer(64, 4, 128, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(64, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = self.head(self.encoder(self.inputs(images.squeeze(1)) + self.positions).mean(dim=1))
        return scores


class Scores(nn.Module):
    """A classifier of transformers as a function from tokens to scores."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor) -> Tensor:
        scores: Tensor = self.model(input_ids=tokens).logits
        return scores


def llama() -> nn.Module:
    from transformers import LlamaConfig, LlamaForSequenceClassification

    config = LlamaConfig(
        vocab_size=TOKENS + 1,
        hidden_size=64,
        intermediate_size=172,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=LENGTH,
        num_labels=CLASSES,
        pad_token_id=TOKENS,
    )
    return Scores(LlamaForSequenceClassification(config))


def bert() -> nn.Module:
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(
        vocab_size=TOKENS,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=LENGTH,
        num_labels=CLASSES,
    )
    return Scores(BertForSequenceClassification(config))


def gpt2() -> nn.Module:
    from transformers import GPT2Config, GPT2ForSequenceClassification

    config = GPT2Config(
        vocab_size=TOKENS + 1,
        n_embd=64,
        n_layer=2,
        n_head=4,
        n_positions=LENGTH,
        num_labels=CLASSES,
        pad_token_id=TOKENS,
        bos_token_id=TOKENS,
        eos_token_id=TOKENS,
    )
    return Scores(GPT2ForSequenceClassification(config))


def gpt2_options() -> dict[str, Any]:
    from transformers.pytorch_utils import Conv1D

    return {"include": Conv1D}


@dataclass(frozen=True)
class Case:
    """A model, its data, and what `prepare` is told beside it."""

    make: Callable[[], nn.Module]
    batches: Callable[[], Batches]
    options: Callable[[], dict[str, Any]] = field(default=dict)


CASES = {
    "MLP 784-256-10": Case(mlp, image_batches),
    "ResNet, width 64": Case(lambda: resnet20(inflate=4, in_channels=1), image_batches),
    "TransformerEncoder": Case(RowEncoder, image_batches),
    "Llama": Case(llama, text_batches),
    "BERT": Case(bert, text_batches),
    "GPT-2, `include=Conv1D`": Case(gpt2, text_batches, gpt2_options),
}


def zeros(model: nn.Module) -> dict[str, Any]:
    """Share of zeros over all ternary weights, and how many layers hold nothing else."""
    counts = ternzip.count_layers(model)
    return {
        "zeros": sum(counts.values(), ternzip.SymbolCounts()).sparsity,
        "empty_layers": sum(count.zero == count.total for count in counts.values()),
        "layers": len(counts),
    }


def train(model: nn.Module, batches: Batches, steps: int, lr: float) -> float:
    """Mean loss over the last tenth of the steps."""
    torch.manual_seed(1)  # dropout draws alike in every run
    optimizer = torch.optim.Adam(model.parameters(), lr)
    losses = []
    for _ in range(steps):
        inputs, labels = next(batches)
        loss = F.cross_entropy(model(inputs), labels)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        ternzip.clip_latent_(model)
        losses.append(loss.item())
    return statistics.fmean(losses[-max(1, steps // 10) :])


def measure(case: Case, steps: int, lr: float) -> dict[str, Any]:
    """Losses of the three runs, and the zeros of the two ternary ones."""
    torch.manual_seed(0)
    row: dict[str, Any] = {"full_precision": train(case.make(), case.batches(), steps, lr)}
    for name, quantizer in (("default", None), ("delta", "delta")):
        torch.manual_seed(0)
        model = ternzip.prepare(case.make(), quantizer, **case.options())
        start = zeros(model)
        loss = train(model, case.batches(), steps, lr)
        row[name] = {"loss": loss, "start": start, "end": zeros(model)}
    return row


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, default=Path("prepare.json"))
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--lr", type=float, default=1e-3, help="rate of Adam")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    # What prepare warns of is what the table shows.
    warnings.filterwarnings("ignore", "prepare leaves|.* layers start with all")

    results = {}
    for name, case in CASES.items():
        results[name] = row = measure(case, arguments.steps, arguments.lr)
        default, delta = row["default"], row["delta"]
        print(
            f"{name:>24}: full precision {row['full_precision']:.3f}, default {default['loss']:.3f} "
            f"({default['start']['zeros']:.0%} -> {default['end']['zeros']:.0%} zeros), Delta 0.1 {delta['loss']:.3f} "
            f"({delta['start']['empty_layers']} of {delta['start']['layers']} layers empty)",
            flush=True,
        )
    record = {
        **provenance(),
        "steps": arguments.steps,
        "lr": arguments.lr,
        "chance": math.log(CLASSES),
        "results": results,
    }
    arguments.json.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
