"""A checkpoint compressed, verified, looked into without decoding it, and opened one tensor at a time.

The checkpoint is an ordinary .pt file whose weights have three values, as ternary training leaves them. Needs
`pip install "ternzip[torch]"`; takes a second.
"""

import tempfile
from pathlib import Path

import torch

import ternzip

folder = Path(tempfile.mkdtemp())
torch.manual_seed(0)
tensors = {}
for layer, alpha in enumerate((0.021, 0.034, 0.013)):
    latent = torch.randn(256, 256)
    tensors[f"layers.{layer}.weight"] = alpha * ternzip.ternarize(latent, 0.8)
    tensors[f"layers.{layer}.bias"] = 0.01 * torch.randn(256)
torch.save(tensors, folder / "model.pt")

ternzip.compress(folder / "model.pt")  # -> model.tnz
assert ternzip.verify(folder / "model.tnz", against=folder / "model.pt").equal  # every checksum, every bit
before, after = ((folder / name).stat().st_size for name in ("model.pt", "model.tnz"))
print(f"{before:,} bytes -> {after:,} bytes: {before / after:.1f} times smaller")

with ternzip.safe_open(folder / "model.tnz") as file:
    for name in file.keys():  # noqa: SIM118 - as safetensors spells it
        info = file.info(name)  # from the index: nothing is decoded
        if info.counts is not None:
            kind = (
                f"{info.counts.sparsity:.0%} zeros, {info.bits_per_symbol:.2f} bits a weight by {info.codec}"
            )
        else:
            kind = f"not ternary, by {info.codec}"
        print(f"  {name:16} {info.dtype} {list(info.shape)}: {info.bytes:,} bytes, {kind}")
    weight = file.get_tensor("layers.1.weight")  # reads and decodes this one alone
assert torch.equal(weight, tensors["layers.1.weight"])

back = ternzip.load_file(folder / "model.tnz")
assert all(torch.equal(back[name], tensors[name]) for name in tensors)
print("all tensors are back, bit for bit")
