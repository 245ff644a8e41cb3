"""What a growing threshold does to the bits of a network, epoch by epoch, while it learns.

Delta is the magnitude below which a weight counts as zero. As it grows, zeros get more and the entropy falls: the bits
that a weight takes. Nothing has to be stored to know it: `count_layers` counts the symbols as they stand. Needs
`pip install "ternzip[torch]"`; takes a second or two.
"""

import torch
from torch import nn

import ternzip
from ternzip.quantization import Delta

torch.manual_seed(0)
images, labels = torch.randn(512, 64), torch.randint(4, (512,))
images[:, :4] += 3 * nn.functional.one_hot(labels, 4)  # four inputs that say something, sixty that do not

model = nn.Sequential(
    *(nn.Linear(64, 128), nn.BatchNorm1d(128), nn.Hardtanh()),
    *(nn.Linear(128, 4), nn.BatchNorm1d(4)),
)
ternzip.prepare(model, Delta(0.03))
schedule = ternzip.DeltaSchedule(model, initial=0.03, growth="log", multiplier=1.5)
optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)

print("epoch  Delta  loss   zeros  bits/weight")
for epoch in range(1, 13):
    for x, y in zip(images.split(64), labels.split(64), strict=True):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        ternzip.clip_latent_(model)
    counts = sum(ternzip.count_layers(model).values(), ternzip.SymbolCounts())
    bar = "#" * round(20 * counts.entropy)
    print(f"{epoch:5}  {schedule.delta:.3f}  {loss:.2f}  {counts.sparsity:6.1%}  {counts.entropy:.3f} {bar}")
    schedule.step()

size = len(ternzip.save(ternzip.ternary_state(model)))
print(
    f"by entropy {counts.entropy * counts.total / 8:,.0f} bytes of ternary weights; the file: {size:,} with all else"
)
