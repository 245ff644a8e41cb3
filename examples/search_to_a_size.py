"""A trained network pressed into a file of a given size, without training it again.

`ternzip.search.search` tries settings of thresholds, ranks and bits for each layer, weighs the file that each would
make, and keeps the best that fits. Needs `pip install "ternzip[search,demo]"`; takes some seconds.
"""

import tempfile
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch import nn

import ternzip
from ternzip.lowrank import load_compressed

digits = load_digits()
images, labels = torch.tensor(digits.data / 16, dtype=torch.float32), torch.tensor(digits.target)
test = torch.arange(len(images)) % 5 == 0


def network() -> nn.Sequential:
    """Some 9,000 weights: 38 KB in float32."""
    return nn.Sequential(nn.Linear(64, 128), nn.BatchNorm1d(128), nn.ReLU(), nn.Linear(128, 10))


torch.manual_seed(0)
model = network()
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
for _ in range(10):
    for index in torch.randperm(int((~test).sum())).split(64):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images[~test][index]), labels[~test][index]).backward()
        optimizer.step()

result = ternzip.search.search(
    model,
    (images[~test], labels[~test]),
    test=(images[test], labels[test]),
    target_size="4KB",
    evaluations=10,
)
path = Path(tempfile.mkdtemp()) / "small.tnz"
result.save(path)
small = load_compressed(network(), path).eval()  # an ordinary network again
with torch.inference_mode():
    assert torch.equal(small(images), result.model(images))

print(f"trained:           {result.dense.bytes:6,} bytes, {result.dense.accuracy:.1%} right")
print(f"one setting:       {result.uniform.bytes:6,} bytes, {result.uniform.accuracy:.1%}")
print(f"best of {len(result.visited)} settings: {path.stat().st_size:6,} bytes, {result.best.accuracy:.1%}")
