"""The mutations of fuzz_container.py, guided by coverage of reader and codecs (pip install atheris).

python tools/fuzz_container_atheris.py [libFuzzer options, such as -max_total_time=600] [CORPUS]
"""

from __future__ import annotations

import importlib
import random
import sys
import warnings
from typing import Any

atheris: Any = importlib.import_module("atheris")
with atheris.instrument_imports(include=["ternzip.container", "ternzip.codecs"]):
    from fuzz_container import check, mutant, seed_files


class Drawn(random.Random):
    """Every choice of a mutation is drawn from the fuzzer's bytes; the first of all once they run out."""

    def __init__(self, data: bytes) -> None:
        super().__init__(0)
        self._bits = int.from_bytes(data, "little")

    def getrandbits(self, k: int) -> int:
        value = self._bits & ((1 << k) - 1)
        self._bits >>= -(-k // 8) * 8
        return value

    def random(self) -> float:
        return self.getrandbits(24) / (1 << 24)


def main() -> None:
    warnings.simplefilter("error")
    files = seed_files()

    def one_input(data: bytes) -> None:
        check(mutant(files, Drawn(data)))

    atheris.Setup([*sys.argv, "-max_len=256"], one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
