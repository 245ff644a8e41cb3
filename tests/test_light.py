"""Without torch: safetensors' and numpy's files both ways, arrays, and one clear line for all that needs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from samples import ALL_DTYPES, name_of, random_bits, trits

import ternzip
from ternzip._core.errors import MissingPackage

HERE = Path(__file__).parent
BLOCKED = "import sys; sys.modules['torch'] = None; from ternzip.cli import main; main()"


def a_model(path: Path) -> Path:
    """A file of safetensors of every type it knows."""
    known = [dtype for dtype in ALL_DTYPES if name_of(dtype) not in ("complex32", "complex128")]
    tensors = {name_of(dtype): random_bits(dtype, 4, 6) for dtype in known}
    tensors |= {"w": trits(64, 48).bfloat16(), "big": random_bits(torch.float32, 200, 100)}
    safetensors.torch.save_file(tensors, path, {"format": "pt"})
    return path


def test_the_light_path(tmp_path: Path) -> None:
    model = a_model(tmp_path / "model.safetensors")
    torch.save({"a": torch.ones(3)}, tmp_path / "p.pt")
    light = tmp_path / "light"
    light.mkdir()
    command = [sys.executable, HERE / "without_torch.py", light, model, tmp_path / "p.pt"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    asked = [line.partition(" needs torch: ") for line in done.stdout.splitlines()]
    assert {install for _, _, install in asked} == {"pip install 'ternzip[torch]'"}
    assert [what for what, _, _ in asked] == [
        "ternzip.ops",
        "ternzip.quantization.prepare",
        "ternzip.ops",
        "ternzip.lowrank",
        f"{tmp_path / 'p.pt'}: reading a PyTorch checkpoint",
        f"{light / 'model.pt'}: writing a PyTorch file",
        *["ternzip's load and save for tensors of torch (ternzip.numpy has them for arrays)"] * 2,
        "safe_open (unless it has framework='numpy')",
        "ternarizing",
        "rounding",
    ]

    # The same bytes as beside torch.
    ternzip.compress(model, tmp_path / "model.tnz")
    assert (light / "model.tnz").read_bytes() == (tmp_path / "model.tnz").read_bytes()
    assert (light / "again.safetensors").read_bytes() == model.read_bytes()
    w, n = torch.eye(40)[:, :30].clone(), torch.arange(5, dtype=torch.int16)
    assert (light / "arrays.tnz").read_bytes() == ternzip.save({"w": w, "n": n, "tied": w}, {"k": "v"})
    with np.load(light / "again-arrays.npz") as again:
        assert list(again) == ["w", "n", "tied"]
        assert np.array_equal(again["tied"], w.numpy())
    assert (light / "again-array.npy").read_bytes() == (light / "array.npy").read_bytes()


@pytest.mark.parametrize(("command", "extra"), [("train", "train"), ("eval x.tnz --arch fc3", "torch")])
def test_commands_that_need_torch(command: str, extra: str) -> None:
    name = command.split()[0]
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED, *command.split()], capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"ternzip: error: ternzip {name} needs torch: pip install 'ternzip[{extra}]'\n"


def test_a_torch_that_is_broken_tells_its_own_fault(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Only torch itself can be missing: a module that torch lacks is no missing torch."""
    (tmp_path / "broken.py").write_text("import no_such_module_of_torch\n")
    from ternzip._core.extras import require

    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ModuleNotFoundError, match="no_such_module_of_torch") as raised:
        require("this", "torch", "broken")
    assert not isinstance(raised.value, MissingPackage)
