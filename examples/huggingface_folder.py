"""A model folder of Hugging Face: made ternary, stored as .tnz, loaded by transformers, expanded for other programs.

The model is a Llama of random weights, so that nothing has to be downloaded. Needs `pip install "ternzip[hf]"`; takes
some seconds, most of them for the import of transformers.
"""

import os
import tempfile
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

import ternzip
from ternzip.hf import expand, from_pretrained, save_pretrained

folder = Path(tempfile.mkdtemp())
os.environ["TERNZIP_CACHE"] = str(folder / "cache")  # where `expand` puts what it makes

torch.manual_seed(0)
config = LlamaConfig(
    hidden_size=128,
    intermediate_size=256,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    vocab_size=256,
    bos_token_id=1,
    eos_token_id=2,
)
model = LlamaForCausalLM(config).eval()
model.save_pretrained(folder / "full")

ternzip.prepare(model, skip=["lm_head"])  # here one would train
save_pretrained(model, folder / "ternary")  # config.json and .tnz files of the ternary weights

tokens = torch.arange(8)[None] + 3
with torch.inference_mode():
    ternary = from_pretrained(folder / "ternary", AutoModelForCausalLM)
    expected = ternary(tokens).logits
    assert torch.equal(expected, ternzip.convert(model)(tokens).logits)

    plain = expand(folder / "ternary")  # safetensors, for programs that know nothing of .tnz
    assert torch.equal(expected, AutoModelForCausalLM.from_pretrained(plain).eval()(tokens).logits)


def size(path: Path) -> int:
    """Bytes of the weights in a folder."""
    return sum(file.stat().st_size for suffix in ("safetensors", "tnz") for file in path.glob(f"*.{suffix}"))


for name, path in (
    ("full precision", folder / "full"),
    ("ternary", folder / "ternary"),
    ("expanded", Path(plain)),
):
    print(f"{name:15} {size(path):9,} bytes: {', '.join(sorted(file.name for file in path.iterdir()))}")
print("logits of the folder and of what it expands to: the same bits")
