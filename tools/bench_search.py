#!/usr/bin/env python3
"""Measures the search: how often certificates are true, and what it finds on real networks.

    python tools/bench_search.py certificate              # test functions with a known optimum
    python tools/bench_search.py fc3 --mnist DIR          # MNIST test images, split 8,000 / 2,000
    python tools/bench_search.py svd --mnist DIR          # four weightings at equal bytes
    python tools/bench_search.py resnet --checkpoint fp32-resnet20.pt --cifar DIR

Each writes docs/benchmarks/search_NAME.json. `resnet` goes on where it was stopped. One thread; it takes an hour
or two of CPU time. TERNZIP_BENCH_OUT names another folder to write to.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from bench_search_certificate import certificate
from bench_search_mnist import fc3_table, svd_table
from bench_search_resnet import resnet_table


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("certificate")
    one.add_argument("--runs", type=int, default=100)
    one.add_argument("--dimensions", type=int, nargs="+", default=[1, 4, 8])
    one.set_defaults(run=certificate)
    for name, run in (("fc3", fc3_table), ("svd", svd_table)):
        one = commands.add_parser(name)
        one.add_argument("--mnist", type=Path, required=True, help="folder of t10k-*-ubyte.gz")
        one.add_argument("--epochs", type=int, default=30)
        one.add_argument("--seeds", type=int, default=3)
        one.set_defaults(run=run)
    one = commands.add_parser("resnet")
    one.add_argument("--checkpoint", type=Path, required=True)
    one.add_argument("--cifar", type=Path, required=True, help="folder of the official binary layout")
    one.add_argument("--methods", nargs="+", default=["all", "rank", "prune", "ternary"])
    one.add_argument("--sizes", nargs="+", default=["96KB", "64KB", "160KB"])
    one.add_argument("--engines", nargs="+", default=["pac", "uniform", "random", "qlognei", "tpe"])
    one.add_argument("--evaluations", type=int, default=24)
    one.add_argument("--count", type=int, default=None, help="fresh samples an evaluation")
    one.add_argument("--calibration", type=int, default=128, help="images for batch norm and weighted SVDs")
    one.add_argument("--delta", type=float, default=0.05, help="what counts as better, in L")
    one.add_argument("--share", default="shape", help="which layers share a parameter")
    one.add_argument("--seeds", type=int, default=3)
    one.add_argument("--samples", type=int, default=5000, help="training images to draw from")
    one.add_argument("--test", type=int, default=None, help="test images for the figures; all of them")
    one.set_defaults(run=resnet_table)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.run(arguments)


if __name__ == "__main__":
    main()
