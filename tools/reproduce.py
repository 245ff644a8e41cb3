"""The paper's experiments: train them all in a folder, killed and resumed as often as need be; report on what is there.

    python tools/reproduce.py --scale cpu --data DIR --seeds 3 --out runs/          # again after a kill: it goes on
    python tools/reproduce.py --scale cpu --data DIR --seeds 3 --out runs/ --report docs/results   # of what is finished
    python tools/reproduce.py --scale gpu --data DIR --out runs/ --minutes 9        # in calls of nine minutes

Two at a time: start the same command twice. tools/reproduce_plan.py says what is trained; the folder is all that the
tool needs, and may be moved to another machine.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from reproduce_plan import SCALES, plan
from reproduce_queue import work
from reproduce_report import write_report

from ternzip._core.errors import TernzipError


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scale", choices=SCALES, required=True)
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of the data set")
    parser.add_argument(
        "--note", help="what the data are, for the report; by default the data set of the runs"
    )
    parser.add_argument(
        "--seeds",
        type=int,
        default=1,
        help="runs of each method, with seeds 0, 1, ...; of other fixed Deltas and the ablation one",
    )
    parser.add_argument(
        "--first-seed",
        type=int,
        default=0,
        help="train from this one on, where another machine trains those before; a report is of all",
    )
    parser.add_argument(
        "--only",
        nargs="*",
        default=[],
        help='names of methods, "ablation", "methods" for all others; default these',
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument(
        "--threads", type=int, default=1, help="of each run; another number rounds in other ways"
    )
    parser.add_argument("--minutes", type=float, help="stop after this long, to go on another time")
    parser.add_argument(
        "--report", type=Path, help="train nothing: report on what is finished, in this folder"
    )
    arguments = parser.parse_args()
    if not 0 <= arguments.first_seed < arguments.seeds:
        parser.error(
            f"expected --first-seed from 0 to {arguments.seeds - 1} by --seeds, found {arguments.first_seed}"
        )
    first = arguments.first_seed if arguments.report is None else 0
    try:
        runs = plan(arguments.scale, arguments.seeds, tuple(arguments.only), first)
    except ValueError as error:
        parser.error(str(error))
    try:
        if arguments.report is not None:
            for path in write_report(runs, arguments.out, arguments.data, arguments.report, arguments.note):
                print(path)
            return 0
        deadline = None if arguments.minutes is None else time.monotonic() + 60 * arguments.minutes
        failed = work(runs, arguments.out, arguments.data, threads=arguments.threads, deadline=deadline)
    except TernzipError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
