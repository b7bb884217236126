"""A campaign of kills: `python -m tests.kills --times 200`.

Commands that take long are stopped by SIGKILL, SIGTERM or SIGINT at moments that a seed decides, and given again until
they end. What they leave must be what an undisturbed call leaves, byte for byte, but for times; see `TIMES`.

Everything is imported once; each call is a fork of this process, which must therefore never start a thread.
"""

from __future__ import annotations

import argparse
import collections
import importlib
import json
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

_TRAIN = (
    *("--data", "class_folder:pictures", "--n-way", "3", "--n-query", "2", "--iterations", "12", "--meta-batch", "2"),
    *("--inner-steps", "2", "--filters", "4", "--val-tasks", "2", "--val-every", "5", "--chunk", "4"),
    *("--gradient", "unrolled"),
)
_BASE = ("--base", "base/checkpoints/last.safetensors")
_CAPTURE = ("capture", "base/checkpoints/last.safetensors", "--tasks", "12", "--steps", "all", "--out", "out/store.h5")
COMMANDS = {
    "maml": ("train", "maml", *_TRAIN, "--out", "out"),
    "anil": ("train", "anil", *_TRAIN, "--out", "out"),
    "tsa_maml": ("train", "tsa_maml", *_TRAIN, *_BASE, "--clusters", "2", "--cluster-tasks", "60", "--out", "out"),
    "capture": _CAPTURE,
    "raw capture": (*_CAPTURE, "--raw"),
    "study": ("study", "third", "--out", "out", "--jobs", "2"),  # and its tiny options
}
"""What is killed, by name; each works in a folder of its own, with pictures and the run `base` in it."""

_WEIGHTS = {"study": 1}  # of 4 each: a study begins processes of its own, and takes longest
_MOST = 4  # kills of one piece of work, before it is left to end
_TIMES = ("seconds", "peak_memory_mb")


@dataclass(frozen=True)
class Call:
    """How a call ended: its status (negative for a signal), the seconds that it took, and what it wrote to stderr."""

    status: int
    seconds: float
    told: str


def call(words: tuple[str, ...], place: Path, number: int | None = None, after: float = 0.0) -> Call:
    """Give a command in a folder, in a fork of this process; send it a signal after so many seconds."""
    sys.stdout.flush()
    began, log = time.monotonic(), place / "stderr.log"
    log.write_bytes(b"")  # a child that is killed at once has made none, or an earlier child's is there
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    child = os.fork()
    if child == 0:
        _be(words, place, log)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    if number is not None:
        while time.monotonic() - began < after and os.waitid(os.P_PID, child, _PEEK) is None:
            time.sleep(0.002)
        os.kill(child, number)  # not yet waited for, so nobody else has its id
    _, status = os.waitpid(child, 0)
    return Call(os.waitstatus_to_exitcode(status), time.monotonic() - began, log.read_text(encoding="utf-8"))


LATE = (
    "torch._dynamo",
    "metaprobe.trainers.outer_loop",
    "metaprobe.analyses.similarity",
    "metaprobe.reports.study.run",
    "tests.tiny_study",
)
"""What is imported when it is needed; the first of these by torch, at the first gradient, for seconds."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_PEEK = os.WEXITED | os.WNOHANG | os.WNOWAIT


def _be(words: tuple[str, ...], place: Path, log: Path) -> None:
    """Be the process of a command; never returns."""
    os.setpgid(0, 0)  # Ctrl-C is for the campaign
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell ignores in what it puts in the background
    os.chdir(place)
    for stream, file in ((1, os.devnull), (2, str(log))):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
    status = 1
    try:
        from metaprobe.probe.cli import main
        from metaprobe.reports.registry import STUDIES
        from tests.tiny_study import THIRD

        STUDIES["third"] = THIRD
        os.environ["METAPROBE_CACHE"] = str(place.parent / "cache")
        _begin()
        status = main(words)
        sys.stderr.flush()
    except BaseException:  # as an interpreter would end
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(status)


def _begin() -> None:
    """Let signals in that came while this process was no command yet: they end it as they would end an interpreter."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    except KeyboardInterrupt:
        os._exit(130)
    signal.signal(signal.SIGTERM, before)


def import_all() -> None:
    """Import what commands import, once, so that a call takes what its work takes."""
    for name in LATE:
        importlib.import_module(name)
    assert len(list(Path("/proc/self/task").iterdir())) == 1, "a thread was started, and forks would lack it"


def without_times(path: Path) -> bytes:
    """Return what a file holds but for times, which are in these places alone.

    `metrics.jsonl`: `seconds` and `peak_memory_mb` of each record. `engine.toml`: `seconds` of each engine that was
    tried.
    """
    content = path.read_bytes()
    if path.name == "metrics.jsonl":
        records = [json.loads(line) for line in content.splitlines()]
        return json.dumps([{k: v for k, v in one.items() if k not in _TIMES} for one in records]).encode()
    if path.name == "engine.toml":
        return re.sub(rb"(?m)^seconds = .*$", b"", content)
    return content


def differing(alone: Path, killed: Path) -> list[str]:
    """Return the files below two folders that are in one alone, or differ in more than times."""
    files = [{p.relative_to(at).as_posix() for p in at.rglob("*") if p.is_file()} for at in (alone, killed)]
    odd = [f"{name} is {'missing' if name in files[0] else 'left over'}" for name in sorted(files[0] ^ files[1])]
    both = sorted(files[0] & files[1])
    return odd + [f"{name} differs" for name in both if without_times(alone / name) != without_times(killed / name)]


class Kills:
    """The work that is killed, in folders below `root`, and what became of it."""

    def __init__(self, root: Path, names: tuple[str, ...]) -> None:
        from tests.fuzz.writing import pictures
        from tests.tiny_study import TINY

        self._root, self._words = root, COMMANDS | {"study": (*COMMANDS["study"], *TINY["third"].split())}
        self._alone: dict[str, float] = {}
        self.kills: collections.Counter[str] = collections.Counter()
        self.statuses: collections.Counter[tuple[str, int]] = collections.Counter()
        self.failures: list[str] = []
        pictures(root / "pictures")
        first = self._place("first")
        self._ended(("train", "maml", *_TRAIN, "--out", "run"), first)
        shutil.move(first / "run", root / "base")
        for name in names:
            place = self._place(f"alone {name}")
            self._alone[name] = self._ended(self._words[name], place)

    def _place(self, name: str) -> Path:
        place = self._root / name
        place.mkdir()
        for shared in ("pictures", "base"):
            (place / shared).symlink_to(self._root / shared)  # to nothing, before the base is there
        return place

    def _ended(self, words: tuple[str, ...], place: Path) -> float:
        ended = call(words, place)
        if ended.status != 0:
            raise SystemExit(f"undisturbed, `{' '.join(words)}` ends with {ended.status}: {ended.told}")
        return ended.seconds

    def once(self, name: str, seed: int) -> int:
        """Kill one piece of work up to a few times, let it end, look at what it left; return the number of kills."""
        rng, place = random.Random(f"{name}:{seed}"), self._place(f"killed {seed}")
        story, kills = [], 0
        for _ in range(rng.randint(1, _MOST)):
            number = rng.choice((signal.SIGKILL, signal.SIGTERM, signal.SIGINT))
            after = rng.uniform(0, 1.05 * self._alone[name])
            ended = call(self._words[name], place, number, after)
            story.append(f"{number.name} after {after:.3f} s: {ended.status}")
            self.statuses[number.name, ended.status] += 1
            kills += 1
            self.kills[name] += 1
            if ended.status not in (0, 130, *((-signal.SIGKILL,) if number == signal.SIGKILL else ())):
                self._fail(name, seed, f"exit status {ended.status}", story, ended.told)
            if "Traceback" in ended.told:
                self._fail(name, seed, "a traceback", story, ended.told)
        ended = call(self._words[name], place)
        if ended.status != 0 or "Traceback" in ended.told:
            self._fail(name, seed, f"the last call ends with {ended.status}", story, ended.told)
        elif odd := differing(self._root / f"alone {name}" / "out", place / "out"):
            self._fail(name, seed, f"{len(odd)} files: {'; '.join(odd[:6])}", story, "")
        shutil.rmtree(place)
        return kills

    def _fail(self, name: str, seed: int, what: str, story: list[str], told: str) -> None:
        self.failures.append(f"{name}: {what}")
        tail = "".join(f"\n      {line}" for line in told.strip().splitlines()[-12:])
        again = f"python -m tests.kills --times 1 --only '{name}' --seed {seed}"
        print(f"{name}: {what}\n    after {'; '.join(story)}\n    again: {again}{tail}", flush=True)


def main() -> int:
    """Run a campaign; the exit status is 1 when there was a failure."""
    parser = argparse.ArgumentParser(prog="python -m tests.kills", description=__doc__)
    parser.add_argument("--times", type=int, default=200, help="kills (default: 200)")
    parser.add_argument("--seed", type=int, help="of the first piece of work (default: drawn, printed)")
    parser.add_argument("--only", action="append", choices=list(COMMANDS), help="what; may be given again")
    asked = parser.parse_args()
    names = tuple(asked.only or COMMANDS)
    seed = random.SystemRandom().randrange(10**6) if asked.seed is None else asked.seed
    print(f"seed {seed}")
    import_all()
    with tempfile.TemporaryDirectory(prefix="metaprobe-kills-", ignore_cleanup_errors=True) as root:
        kills, done = Kills(Path(root).resolve(), names), 0
        while done < asked.times:
            name = random.Random(seed).choices(names, [_WEIGHTS.get(name, 4) for name in names])[0]
            done += kills.once(name, seed)
            seed += 1
            print(f"{done} of {asked.times} kills, {len(kills.failures)} failures", file=sys.stderr, flush=True)
    print("\n".join(f"{name}: {count} kills" for name, count in sorted(kills.kills.items())))
    print(
        "\n".join(
            f"{name}: {count} calls ended with {status}" for (name, status), count in sorted(kills.statuses.items())
        )
    )
    print("\n".join(f"{count} × {what}" for what, count in sorted(collections.Counter(kills.failures).items())))
    return 1 if kills.failures else 0


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy is there: its library would start threads
    sys.exit(main())
