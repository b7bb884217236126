"""One mutant from its seed to its outcome, in the process that calls."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import stat
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType

from metaprobe.trainers.errors import MetaprobeError
from tests.fuzz import writing
from tests.fuzz.mutation import Mutation, apply, drawn, remove
from tests.fuzz.outcome import HANG, MEMORY, TRACEBACK, Hang, Outcome, judged, read_all
from tests.fuzz.subjects import FAMILIES, SUBJECTS

SECONDS = 20  # that a mutant may take
BYTES = 2 << 30  # of memory that it may take on top


@dataclass(frozen=True)
class Mutant:
    """A subject, and what is done to its clean files."""

    subject: str
    seed: int
    mutations: tuple[Mutation, ...]


def subject_of(seed: int, only: tuple[str, ...] = ()) -> str:
    """Return which subject the mutant of a seed is of."""
    names = list(only or SUBJECTS)
    return random.Random(f"subject:{seed}").choices(names, [SUBJECTS[name].weight for name in names])[0]


class Campaign:
    """The clean files in a folder, and what each reader finds in them; mutants are made beside them.

    Args:
        root: the folder.
        name: of this process's part of it; two that work at once need two.
    """

    def __init__(self, root: Path, name: str = "mutant") -> None:
        self.root, self.place = root, root / name
        self._clean: dict[str, dict[str, dict[str, str]]] = {}

    def write(self, subjects: tuple[str, ...]) -> None:
        """Write the clean files of subjects."""
        shared = self.root / "shared"
        shared.mkdir(parents=True)
        writing.shared(shared)
        for name in subjects:
            place = self.root / "clean" / name
            place.mkdir(parents=True)
            SUBJECTS[name].write(shared, place)

    def mutant(self, subject: str, seed: int) -> Mutant:
        """Return the mutant of a seed."""
        clean = self.root / "clean" / subject
        return Mutant(subject, seed, drawn(seed, subject, clean, SUBJECTS[subject].targets, FAMILIES))

    def judge(self, mutant: Mutant) -> tuple[Outcome, list[str]]:
        """Make a mutant, read it, and return how it ended and what was done to it."""
        subject = SUBJECTS[mutant.subject]
        if mutant.subject not in self._clean:
            apply((), self.root / "clean" / mutant.subject, self.place, FAMILIES)
            with contextlib.chdir(self.place):
                try:
                    self._clean[mutant.subject] = read_all(subject.readers)
                except MetaprobeError as error:
                    return Outcome(TRACEBACK, "clean file", str(error)), []
        done = apply(mutant.mutations, self.root / "clean" / mutant.subject, self.place, FAMILIES)
        try:
            with contextlib.chdir(self.place), _watched() as taken:
                outcome = judged(subject.readers, self._clean[mutant.subject], subject.another)
        except Hang:  # that came between two readers
            return Outcome(HANG, told="in all"), done
        if taken() > BYTES and not outcome.failed:
            outcome = Outcome(MEMORY, told=f"{taken() / 1e9:.1f} GB")
        return outcome, done

    def keep(self, folder: Path, mutant: Mutant, outcome: Outcome, done: list[str]) -> None:
        """Keep a failure: its files as they are, and what was done, found and said."""
        apply(mutant.mutations, self.root / "clean" / mutant.subject, self.place, FAMILIES)
        target = folder / f"{mutant.subject.replace(' ', '-')}-{mutant.seed}"
        remove(target)
        target.mkdir(parents=True)
        files = {one.file for one in mutant.mutations}
        for file in sorted(files):
            source = self.place / file
            if source.exists() and stat.S_ISREG(os.lstat(source).st_mode) and source.stat().st_size < 64 << 20:
                (target / Path(file).name).write_bytes(source.read_bytes())
        told = {"subject": mutant.subject, "seed": mutant.seed, "done": done, "outcome": asdict(outcome)}
        told["mutations"] = [asdict(one) for one in mutant.mutations]
        (target / "failure.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


@contextlib.contextmanager
def _watched() -> Iterator:
    """Raise `Hang` in what takes too long; yield what tells how much memory was taken on top."""

    def hang(number: int, frame: FrameType | None) -> None:
        raise Hang

    _reset_peak()
    before = _memory("VmRSS")
    handler = signal.signal(signal.SIGPROF, hang)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)  # of the processor: a busy machine is no hang
    try:
        yield lambda: max(0, _memory("VmHWM") - before)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, handler)


def _reset_peak() -> None:
    with contextlib.suppress(OSError):  # where there is no /proc nothing is measured
        Path("/proc/self/clear_refs").write_text("5")


def _memory(name: str) -> int:
    try:
        rows = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next(1024 * int(row.split()[1]) for row in rows if row.startswith(f"{name}:"))
