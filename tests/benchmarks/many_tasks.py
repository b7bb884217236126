"""How much memory, and how long, similarities of a store of many tasks take.

    python -m tests.benchmarks.many_tasks [--tasks 100 1000 10000] [--over task tasks] [--folder /tmp]
        [--replicates 200] [--permutations 40]

For each number of tasks a store is written as a capture writes it: 75 query images, four convolutions of 32 channels
(14², 7², 4² and 2² positions) and a head of 5 classes, one step, the usual sketch; beside the sketch 140 kB a task. The
numbers are made up, those of a few tasks over and over. Then `metaprobe similarity` runs on it, each task by itself and
all together, in a process of its own. A line for each tells that process' peak resident memory, its CPU seconds and
those that passed. The store is removed afterwards. Takes Linux.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from metaprobe.analyses.bootstrap import REPLICATES
from metaprobe.analyses.image_null import PERMUTATIONS
from metaprobe.probe.moments import JointMoments, moments_of
from metaprobe.probe.store.metadata import LayerInfo, StoreMetadata
from metaprobe.probe.store.writing import StoreWriter
from metaprobe.trainers.config import Adaptation
from metaprobe.trainers.files import replacing

WAY, SHOT, QUERIES, MADE_UP = 5, 1, 75, 4
CONVOLUTIONS = {"conv1": (32, 14, 14), "conv2": (32, 7, 7), "conv3": (32, 4, 4), "conv4": (32, 2, 2)}
LAYERS = tuple(LayerInfo(name, shape, 0, "float32") for name, shape in (CONVOLUTIONS | {"head": (WAY,)}).items())
METADATA = StoreMetadata(
    fingerprint="0" * 64,
    checkpoint=None,
    adaptation=Adaptation(tuple(layer.name for layer in LAYERS), 0.1, 1),
    normalisation="transductive",
    data="synthetic",
    data_fingerprint="",
    split="",
    task_seed=None,
    n_tasks=0,
    n_query=QUERIES,
    n_support=WAY * SHOT,
    n_way=WAY,
    steps=(1,),
    sketch_rows=20_000,
    sketch_seed=0,
    layers=LAYERS,
    raw=None,
    provenance={},
)


def main() -> None:
    """Write the stores and print what their similarities take."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, nargs="+", default=[100, 1000, 10_000])
    parser.add_argument("--over", nargs="+", choices=("task", "tasks"), default=["task", "tasks"])
    parser.add_argument("--folder", help="where stores are written")
    parser.add_argument("--replicates", type=int, default=REPLICATES)
    parser.add_argument("--permutations", type=int, default=PERMUTATIONS)
    options = parser.parse_args()
    amount = ["--replicates", str(options.replicates), "--permutations", str(options.permutations)]
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for tasks in options.tasks:
            path = write(Path(folder) / f"{tasks}.h5", tasks)
            size = path.stat().st_size / 1e6
            for over in options.over:
                peak, cpu, passed = taken_by(["similarity", str(path), "--over", over, *amount])
                told = f"{peak / 1e6:,.0f} MB  {cpu:,.0f} s of CPU  {passed:,.0f} s"
                print(f"{tasks:,} tasks ({size:,.0f} MB) --over {over}: {told}", flush=True)
            path.unlink()


def write(path: Path, tasks: int) -> Path:
    """Write a store of so many tasks."""
    metadata = dataclasses.replace(METADATA, n_tasks=tasks)
    made = {layer.name: [made_up(layer, task) for task in range(MADE_UP)] for layer in LAYERS}
    samples = {"query_ids": QUERIES, "query_labels": QUERIES, "support_ids": WAY, "support_labels": WAY}
    arrays = {
        name: np.arange(tasks * count).reshape(tasks, count) for name, count in (samples | {"class_ids": WAY}).items()
    }
    with replacing(path) as temporary, StoreWriter(temporary, metadata) as writer:
        writer.tasks(0, range(tasks), arrays)
        for task in range(tasks):
            for layer in LAYERS:
                rows, moments = made[layer.name][task % MADE_UP]
                writer.sketch_labels(layer.name, task, arrays["query_ids"][task], arrays["query_labels"][task])
                for phase, side in zip(metadata.phases, rows, strict=True):
                    writer.sketch(layer.name, phase, task, side)
                writer.moments(layer.name, task, 0, moments)
    return path


def made_up(layer: LayerInfo, task: int) -> tuple[Sequence[np.ndarray], JointMoments]:
    """Return the rows of a task before and after adaptation, and their moments."""
    generator = np.random.default_rng([LAYERS.index(layer), task])
    shape = (QUERIES * layer.positions, layer.features)
    x, noise = generator.standard_normal((2, *shape), dtype=np.float32)
    rows = (x + 1, x + np.float32(task) + noise)
    return rows, dataclasses.replace(moments_of(*rows), eps=(layer.eps, layer.eps))


def taken_by(words: Sequence[str]) -> tuple[int, float, float]:
    """Return the peak bytes, the CPU seconds and the seconds of a command of metaprobe.

    Raises:
        RuntimeError: it fails.
    """
    began = time.monotonic()
    process = subprocess.Popen([sys.executable, "-m", "metaprobe", *words], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"metaprobe {' '.join(words)}: exit code {process.returncode}")
    return 1024 * usage.ru_maxrss, usage.ru_utime + usage.ru_stime, time.monotonic() - began


if __name__ == "__main__":
    main()
