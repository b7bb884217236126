"""`python -m tests.fuzz --minutes 10`, or `--mutants 10000`; one again: `--mutants 1 --only store --seed 4711`."""

from __future__ import annotations

import argparse
import collections
import itertools
import os
import random
import sys
import tempfile
import time
from pathlib import Path

from metaprobe.trainers.progress import ProgressLine
from tests.fuzz.campaign import Mutant, subject_of
from tests.fuzz.mutation import minimised
from tests.fuzz.outcome import FAILURES, REFUSED, SAME, Outcome
from tests.fuzz.subjects import SUBJECTS
from tests.fuzz.worker import Worker, side_by_side

_KINDS = (SAME, REFUSED, *FAILURES)


def main() -> int:
    """Run a campaign; the exit status is 1 when there was a failure."""
    asked = _arguments()
    only = tuple(asked.only or SUBJECTS)
    seed = random.SystemRandom().randrange(10**9) if asked.seed is None else asked.seed
    print(f"seed {seed}; failures are kept in {asked.keep}")
    with tempfile.TemporaryDirectory(prefix="metaprobe-fuzz-", ignore_cleanup_errors=True) as root:
        workers = [Worker(Path(root), f"worker{number}") for number in range(asked.jobs)]
        try:
            workers[0].call("write", only)
            return _run(workers, only, seed, asked.mutants, asked.minutes, asked.keep)
        finally:
            for worker in workers:
                worker.end()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="how long (default: 10)")
    parser.add_argument("--mutants", type=int, help="how many, instead of how long")
    parser.add_argument("--seed", type=int, help="of the first mutant; the others count on (default: drawn, printed)")
    parser.add_argument("--only", action="append", choices=list(SUBJECTS), help="a subject; may be given again")
    parser.add_argument("--keep", type=Path, default=Path("runs/fuzz"), help="folder for failures (default: runs/fuzz)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: one a core)")
    return parser.parse_args()


def _run(
    workers: list[Worker], only: tuple[str, ...], seed: int, mutants: int | None, minutes: float, keep: Path
) -> int:
    seeds = itertools.islice(itertools.count(seed), mutants)
    end = time.monotonic() + 60 * minutes if mutants is None else float("inf")
    counts: dict[str, collections.Counter[str]] = {name: collections.Counter() for name in only}
    known: collections.Counter[str] = collections.Counter()
    with ProgressLine("fuzz", mutants or 0, unit="mutants") as bar:

        def work(worker: Worker) -> bool:
            number = next(seeds, None)
            if number is None or time.monotonic() > end:
                return False
            mutant = worker.call("mutant", subject_of(number, only), number)
            outcome, done = worker.judge(mutant)
            counts[mutant.subject][outcome.kind] += 1
            key = f"{mutant.subject} | {outcome.key}"
            known[key] += outcome.failed
            if outcome.failed and known[key] <= 3:  # more of one cause tell nothing new
                bar.say(_kept(worker, mutant, outcome, done, keep))
            bar.advance(f"{sum(known.values())} failures")
            return True

        side_by_side(workers, work)
    _summary(counts, known)
    return 1 if known.total() else 0


def _kept(worker: Worker, mutant: Mutant, outcome: Outcome, done: list[str], keep: Path) -> str:
    """Minimise a failure, keep it, and return the line that tells of it."""

    def still(mutations: tuple) -> bool:
        return worker.judge(Mutant(mutant.subject, mutant.seed, mutations))[0].key == outcome.key

    tries = 3 if outcome.kind == "hang" else 20
    least = Mutant(mutant.subject, mutant.seed, minimised(mutant.mutations, still, tries))
    found, least_done = worker.judge(least) if least != mutant else (outcome, done)
    worker.call("keep", keep.absolute(), least, found, least_done)
    told = "; ".join(least_done) or "; ".join(map(str, least.mutations))
    return (
        f"{outcome.kind}: {mutant.subject}, {outcome.reader}: {outcome.told}\n    after {told}\n"
        f"    again: python -m tests.fuzz --mutants 1 --only '{mutant.subject}' --seed {mutant.seed}"
    )


def _summary(counts: dict[str, collections.Counter[str]], known: collections.Counter[str]) -> None:
    width = max(map(len, counts)) + 2
    print("".ljust(width) + "  ".join(_KINDS))
    for name, found in {**counts, "in all": sum(counts.values(), collections.Counter())}.items():
        print(name.ljust(width) + "  ".join(str(found[kind] or ".").rjust(len(kind)) for kind in _KINDS))
    for key, count in sorted(known.items()):
        if count:
            print(f"{count:6}  {key}")


if __name__ == "__main__":
    sys.exit(main())
