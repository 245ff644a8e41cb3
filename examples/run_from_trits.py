"""A network that runs from its .tnz file without ever having dense weights.

Ternary convolutions and linear layers compute from lists of what is not zero, or from bit planes; batch norm and
activation are folded in. Needs `pip install "ternzip[torch]"`; takes some seconds.
"""

import tempfile
from pathlib import Path

import torch

import ternzip
from ternzip.models import he_resnet20

torch.manual_seed(0)
model = he_resnet20().eval()
with torch.no_grad():  # in place of training: of each layer's weights one in ten is not zero
    for parameter in model.parameters():
        if parameter.dim() >= 2:
            scale = 2 / parameter[0].numel() ** 0.5
            parameter.copy_(scale * parameter.sign() * (torch.rand_like(parameter) > 0.9))
path = Path(tempfile.mkdtemp()) / "resnet20.tnz"
ternzip.save_model(model, path)

images = torch.randn(4, 3, 32, 32)
with torch.device("meta"):  # the architecture alone: no memory for weights
    empty = he_resnet20()
fast = ternzip.runtime.load_model(empty, path)
with torch.inference_mode():
    difference = (fast(images) - model(images)).abs().max() / model(images).abs().max()

layers = ternzip.runtime.describe(fast)
for layer in layers[1:5]:
    print(
        f"{layer.name:16} {layer.kind:10} {layer.density:4.0%} of the weights, {layer.weight_bytes:6,} bytes"
    )
dense = sum(parameter.numel() * 4 for parameter in model.parameters() if parameter.dim() >= 2)
held = sum(layer.weight_bytes for layer in layers)
print(f"file {path.stat().st_size:,} bytes, weights in memory {held:,}, dense ones {dense:,}")
print(f"largest difference from dense layers: {difference:.1e} of the largest output")
