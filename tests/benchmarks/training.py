"""How fast training and test-time adaptation are, against plain torch, `higher`, `torchopt` and `learn2learn`.

    pip install -e '.[bench]'
    python -m tests.benchmarks.training [--workloads mini,cifar] [--rounds 5] [--json FILE] [--device cuda]

An iteration is the meta-gradient of one meta-batch, or the test of a learner on as many tasks, of random images: the
same numbers for everybody, and the same results (see tests/test_benchmark.py). Each contender is a process of its own;
after a warm-up they take turns, in an order that alternates from round to round. Peers run with one thread and with
all; the best of them counts. Ratios are medians over the rounds.

Peak memory is by how much a process grew from just before its first iteration to the end of its warm-up; for ours, that
includes choosing an engine. The share of matmul is the floating-point operations that the work needs
(`Work.flops`), a second, over those of a square float32 matmul on as many threads, timed in the same rounds.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import json
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from tests.benchmarks.contender import Contender, Process
from tests.benchmarks.peers import PEERS
from tests.benchmarks.results import COLUMNS, TARGET_COLUMNS, Row, cells, show, verdicts
from tests.benchmarks.work import RULES, TESTS, TRAINS, Work


@dataclass(frozen=True)
class Workload:
    """Sizes, the kinds of work to do with them, and engines of ours to set side by side."""

    work: Work
    kinds: tuple[str, ...] = TRAINS
    engines: tuple[str, ...] = ()
    by_default: bool = True


CIFAR = Work("maml", channels=3, image_size=32, filters=32, downsample="max-pool", tasks=4)
MINI = dataclasses.replace(CIFAR, image_size=84)
MEMORY = dataclasses.replace(MINI, n_shot=5, steps=10, tasks=1)
RULED = Work("maml", n_shot=5, n_query=5, filters=32, tasks=8)  # as arnold2021 has Omniglot, with two blocks more
TINY = Work("maml", image_size=16, filters=4, n_query=2, steps=2, tasks=2)
WORKLOADS = {
    "omniglot-1step": Workload(Work("maml", steps=1, n_query=1, tasks=32)),
    "omniglot-5step": Workload(Work("maml", tasks=8)),
    "omniglot-20way": Workload(Work("maml", n_way=20, tasks=4), ("anil",)),
    "cifar": Workload(CIFAR, (*TRAINS, *TESTS), ("unrolled:1", "sweep:1")),
    "mini": Workload(MINI, (*TRAINS, *TESTS), ("unrolled:1", "sweep:1")),
    "memory": Workload(MEMORY, ("maml",), ("unrolled:1", "sweep:1")),
    "test-1query-5step": Workload(Work("full", n_query=1, tasks=16), TESTS),
    "test-1query-10step": Workload(Work("full", n_query=1, steps=10, tasks=16), TESTS),
    "test-15query-5step": Workload(Work("full", tasks=16), TESTS),
    "test-15query-10step": Workload(Work("full", steps=10, tasks=16), TESTS),
    "rules": Workload(RULED, ("maml", *RULES)),
    "gpu": Workload(Work("maml", tasks=32), by_default=False),
    "tiny": Workload(TINY, (*TRAINS, *TESTS), by_default=False),
}


class Pool:
    """Processes of contenders: started when they are needed, and again for the next workload when they died."""

    def __init__(self) -> None:
        self._processes: dict[Contender, Process] = {}

    def start(self, contenders: set[Contender]) -> None:
        """Start what does not run, all at once: each takes seconds to import its libraries."""
        self._processes |= {one: Process(one) for one in contenders if one not in self._processes}

    def ask(self, row: Row, do: str, work: Work) -> dict[str, Any]:
        """Ask the contender of a row; a failure is noted there, and nothing more is asked for it."""
        process = self._processes.get(row.contender)
        if row.error is not None or process is None:
            return {}
        reply = process.ask(do, work)
        row.error = reply.get("error")
        return reply if row.error is None else {}

    def forget(self) -> None:
        """Let everyone drop what the last workload needed; those that died are taken out."""
        for contender, process in list(self._processes.items()):
            if "error" in process.ask("forget"):
                self._processes.pop(contender).close()

    def close(self) -> None:
        """End all."""
        for process in self._processes.values():
            process.close()


def measure(
    name: str, workload: Workload, contenders: list[Contender], rounds: int, profile: bool, pool: Pool
) -> list[Row]:
    """Return a row for each kind of work and contender, those that are not installed included."""
    works = {kind: dataclasses.replace(workload.work, kind=kind) for kind in workload.kinds}
    rows = [
        Row(name, kind, one, works[kind].tasks)
        for kind in works
        for one in contenders
        if kind not in RULES or one.name not in PEERS
    ]
    for row in rows:
        peer = PEERS.get(row.contender.name)
        if peer and peer.library and importlib.util.find_spec(peer.library) is None:
            row.error = "not installed"
    pool.start({row.contender for row in rows if row.error is None})
    for row in rows:
        told = pool.ask(row, "prepare", works[row.kind])
        row.flops = told.get("flops", works[row.kind].flops)
        row.peak, row.engine = told.get("peak"), told.get("engine")
    for number in range(rounds):
        for row in rows if number % 2 == 0 else reversed(rows):
            if reply := pool.ask(row, "time", works[row.kind]):
                row.seconds.append(reply["seconds"])
    for row in rows:
        if profile and row.contender.ours:
            row.profile = pool.ask(row, "profile", works[row.kind]).get("profile", [])
    pool.forget()
    return rows


def contenders_of(workload: Workload, options: argparse.Namespace) -> list[Contender]:
    """Return who competes, in order: ours with all threads, peers and matmul with one thread and with all."""
    on_cpu = options.device == "cpu"
    counts = sorted({1, options.threads}) if on_cpu else [options.threads]
    engines = [f"ours:{engine}" for engine in workload.engines]
    return [
        Contender(
            name,
            threads,
            options.device,
            keeps=on_cpu and (name.startswith("ours") or options.allocator == "both"),
            tf32=options.precision == "tf32",
            seconds=options.seconds,
        )
        for name in (*options.contenders.split(","), *engines, "matmul")
        for threads in (counts[-1:] if name.startswith("ours") else counts)
    ]


def arguments() -> argparse.ArgumentParser:
    """Return what the command line may say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = [name for name, workload in WORKLOADS.items() if workload.by_default]
    parser.add_argument("--workloads", default=",".join(default), help=f"of {', '.join(WORKLOADS)}")
    parser.add_argument(
        "--work", help=f"kinds of work, of {', '.join((*TRAINS, *RULES, *TESTS))} (default: the workload's)"
    )
    parser.add_argument(
        "--contenders",
        default=",".join(["ours", *PEERS]),
        help="ours:unrolled:4 and ours:sweep:1 are ours with a scheme and chunk of that kind",
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="that a timing takes at least")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of ours, and at most of others")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", choices=("float32", "tf32"), default="float32", help="of everybody, on a GPU")
    parser.add_argument(
        "--allocator", choices=("ours", "both"), default="both", help="who keeps freed memory: ours alone, or peers too"
    )
    parser.add_argument("--profile", action="store_true", help="also say which operations ours spends its time in")
    parser.add_argument("--json", type=Path, help="write all numbers to this file")
    parser.add_argument("--tsv", type=Path, help="write the tables' rows to this file")
    return parser


def main(words: list[str] | None = None) -> None:
    """Measure what was asked for, and print it."""
    options = arguments().parse_args(words)
    for what, given, known in (
        ("workload", options.workloads, tuple(WORKLOADS)),
        ("kind of work", options.work or "", (*TRAINS, *RULES, *TESTS, "")),
        ("contender", options.contenders, ("ours", *PEERS)),
    ):
        for name in given.split(","):
            if name.partition(":")[0] not in known:
                arguments().error(f"no {what} is called {name!r}; there are {', '.join(filter(None, known))}")
    console = Console() if Console().is_terminal else Console(width=200)
    device = platform.processor() or platform.machine()
    about = {
        "torch": torch.__version__,
        "device": device if options.device == "cpu" else torch.cuda.get_device_name(options.device),
        "threads": options.threads,
        "precision": options.precision,
        "rounds": options.rounds,
        "keeps freed memory": "everybody" if options.allocator == "both" else "ours",
    }
    console.print(", ".join(f"{name}: {value}" for name, value in about.items()), "", sep="\n", highlight=False)
    pool, rows = Pool(), []
    try:
        for name in options.workloads.split(","):
            workload = WORKLOADS[name]
            kinds = tuple(kind for kind in workload.kinds if not options.work or kind in options.work.split(","))
            work = dataclasses.replace(workload.work, device=options.device)
            asked = dataclasses.replace(workload, work=work, kinds=kinds)
            found = measure(name, asked, contenders_of(asked, options), options.rounds, options.profile, pool)
            show(console, f"{name}: {work}", COLUMNS[1:], [cells(row, found)[1:] for row in found])
            for row in found:
                if row.profile:
                    show(console, f"{row.kind}, {row.contender.label}: where the time goes", ("operation", "share"),
                         [[operation, f"{100 * share:.1f} %"] for operation, share in row.profile])  # fmt: skip
            rows += found
    finally:
        pool.close()
    show(console, "ours: ratios of the best peer's time to ours", TARGET_COLUMNS, verdicts(rows))
    if options.json:
        values = about | {"rows": [dataclasses.asdict(row) for row in rows]}
        options.json.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    if options.tsv:
        lines = [COLUMNS, *(cells(row, rows) for row in rows)]
        options.tsv.write_text("".join("\t".join(line) + "\n" for line in lines), encoding="utf-8")


if __name__ == "__main__":
    main()
