"""Every CUDA kernel once, on small and awkward input, against the CPU: what compute-sanitizer watches.

python tools/exercise_cuda.py
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

import ternzip
from ternzip import ops


def same(found: Tensor, expected: Tensor) -> None:
    if found.cpu().numpy().tobytes() != expected.numpy().tobytes():
        raise RuntimeError("the device computes something else than the CPU")


def exercise_weights() -> None:
    for dtype in (torch.float32, torch.bfloat16):
        for n, offset in ((1, 0), (4099, 1), (70_001, 3)):
            host = torch.randn(n + offset, dtype=dtype)[offset:]
            grad = torch.randn(n, dtype=dtype)
            results = []
            for device in ("cpu", "cuda"):
                w, g = (
                    torch.cat([torch.zeros(offset, dtype=dtype), host]).to(device)[offset:],
                    grad.to(device),
                )
                out, trits = torch.empty_like(w), torch.empty_like(w, dtype=torch.int8)
                counts = ops.clip_ternarize_count_([w], [out], -0.1, 0.1)
                ops.clip_ternarize_count_([w], [trits], -0.1, 0.1, bound=None)
                pos = torch.ones(1, dtype=torch.float64, device=device, requires_grad=True)
                latent = w.clone().requires_grad_()
                (q,), _ = ops.ternarize_many([latent], -0.1, 0.1, -1.0, pos, ste="closed")
                q.backward(g)  # type: ignore[no-untyped-call]
                assert latent.grad is not None
                assert pos.grad is not None
                results.append([w, out, trits, counts, latent.grad, pos.grad, ops.count_many([trits])])
            for found, expected in zip(results[1], results[0], strict=True):
                same(found, expected)


def exercise_decoder() -> None:
    rng = np.random.default_rng(0)
    for zeros, shape in ((0.5, (3, 7)), (0.9, (300, 401)), (0.99, (60, 20_000))):
        trits = torch.from_numpy(rng.choice([-1, 0, 1], shape, p=[(1 - zeros) / 2, zeros, (1 - zeros) / 2]))
        rows = torch.linspace(0.5, 1.0, shape[0])[:, None]
        tensors = {"bf16": trits.bfloat16(), "int8": trits.to(torch.int8), "rows": trits.float() * rows + 0.0}
        data = ternzip.save(tensors, codec="fast")
        for name, found in ternzip.load(data, device="cuda").items():
            same(found.view(torch.uint8), tensors[name].view(torch.uint8))


if __name__ == "__main__":
    torch.manual_seed(0)
    exercise_weights()
    exercise_decoder()
    print("the same on both")
