"""How fast raw activations reach the disk, against plain sequential writes of the same bytes.

    python -m tests.benchmarks.raw_capture [FOLDER] [--gigabytes 2] [--rounds 5]

Each round writes synthetic activations of one layer (64 × 14 × 14, float32) for many tasks, once through the store's
writer and once with plain writes of each task's block to a file; both end with an fsync. The two alternate, so that a
disk or machine that changes its speed meanwhile does so for both. Prints both rates and the ratio of each round, and
the median ratio, which should be 0.70 or more.
"""

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from metaprobe.probe.store.metadata import LayerInfo, RawOptions, StoreMetadata
from metaprobe.probe.store.writing import StoreWriter
from metaprobe.trainers.config import Adaptation
from metaprobe.trainers.files import replacing

SHAPE, QUERIES, AT_ONCE = (64, 14, 14), 75, 4


def main() -> None:
    """Run the rounds and print what they took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", default=".")
    parser.add_argument("--gigabytes", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    generator = np.random.default_rng(0)
    blocks = [generator.random((AT_ONCE, QUERIES, *SHAPE), dtype=np.float32) for _ in range(4)]
    count = max(1, round(options.gigabytes * 1e9 / blocks[0].nbytes / 2))  # half of them before, half after
    written = 2 * count * blocks[0].nbytes
    ratios = []
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for number in range(options.rounds):
            plain = written / seconds(plain_writes, Path(folder), blocks, count) / 1e9
            store = written / seconds(store_writes, Path(folder), blocks, count) / 1e9
            ratios.append(store / plain)
            print(f"round {number + 1}: plain {plain:.2f} GB/s  store {store:.2f} GB/s  ratio {ratios[-1]:.2f}")
    print(f"median ratio {statistics.median(ratios):.2f} over {options.rounds} rounds of {written / 1e9:.1f} GB")


def seconds(write, folder: Path, blocks: list[np.ndarray], count: int) -> float:
    """Return how long one of the two ways takes; its file is removed afterwards."""
    began = time.monotonic()
    write(folder / "file", blocks, count)
    taken = time.monotonic() - began
    (folder / "file").unlink()
    return taken


def plain_writes(path: Path, blocks: list[np.ndarray], count: int) -> None:
    """Write the blocks one after the other and sync."""
    with open(path, "wb", buffering=0) as file:
        for i in range(2 * count):
            file.write(blocks[i % len(blocks)].data)
        os.fsync(file.fileno())


def store_writes(path: Path, blocks: list[np.ndarray], count: int) -> None:
    """Write the blocks as the activations of two phases, batch by batch, as a capture does."""
    tasks = count * AT_ONCE
    metadata = StoreMetadata(
        fingerprint="0" * 64,
        checkpoint=None,
        adaptation=Adaptation((), 0.1, 1),
        normalisation="transductive",
        data="synthetic",
        data_fingerprint="",
        split="",
        task_seed=None,
        n_tasks=tasks,
        n_query=QUERIES,
        n_support=5,
        n_way=5,
        steps=(1,),
        sketch_rows=1,
        sketch_seed=0,
        layers=(LayerInfo("conv1", SHAPE, 0, "float32"),),
        raw=RawOptions(),
        provenance={},
    )
    with replacing(path) as temporary, StoreWriter(temporary, metadata) as writer:
        writer.tasks(0, range(tasks), {})
        for i in range(count):
            for j, phase in enumerate(metadata.phases):
                writer.activations("conv1", phase, i * AT_ONCE, blocks[(2 * i + j) % len(blocks)])


if __name__ == "__main__":
    main()
