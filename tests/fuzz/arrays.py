"""Files of arrays: activations, tasks, pickles and tables of images, weights to import; formats without a checksum.

A value that was changed in them is a value, so other numbers than the clean ones are no fault of a reader; a traceback,
a hang or memory without measure are.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow
import pyarrow.parquet
import torch
from PIL import Image

from metaprobe.trainers.config import NetworkConfig
from metaprobe.trainers.networks import build_network
from metaprobe.trainers.tasks import load_data, load_imageset
from metaprobe.trainers.tasks.data import task_sampler
from tests.fuzz.outcome import command, json_of
from tests.fuzz.writing import working_in

_GENERATOR = 5


def activations(root: Path, place: Path) -> None:
    a, b = (np.random.default_rng(_GENERATOR + i).normal(size=(12, 3)).astype("f4") for i in range(2))
    np.save(place / "a.npy", a)
    np.savez(place / "b.npz", conv1=a, head=b)
    with h5py.File(place / "c.h5", "w") as file:
        file["layers/conv1"], file["layers/head"] = a, b


def tasks(root: Path, place: Path) -> None:
    generator = np.random.default_rng(_GENERATOR)
    arrays: dict[str, Any] = {"split": np.array(["train", "val", "test", "test"])}
    for part, each in (("support", 1), ("query", 2)):
        arrays[f"{part}_x"] = generator.normal(size=(4, 2 * each, 3)).astype("f4")
        arrays[f"{part}_y"] = np.tile(np.repeat(np.arange(2), each), (4, 1))
    np.savez(place / "tasks.npz", **arrays)


def pickled(root: Path, place: Path) -> None:
    pixels = np.random.default_rng(_GENERATOR).integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)
    content = {"image_data": pixels, "class_dict": {"cat": [0, 1, 2], "dog": [3, 4, 5]}}
    for protocol in (2, 4):
        (place / f"mini-imagenet-cache-{'train' if protocol == 2 else 'test'}.pkl").write_bytes(
            pickle.dumps(content, protocol)
        )


def parquet(root: Path, place: Path) -> None:
    stream = io.BytesIO()
    Image.fromarray(np.full((8, 8, 3), 90, np.uint8)).save(stream, "png")
    for split in ("train", "validation", "test"):
        rows: list[Any] = [{"bytes": stream.getvalue(), "path": f"{row}.png"} for row in range(4)]
        table = pyarrow.table({"image": rows, "label": [f"{split}{row % 2}" for row in range(4)]})
        (place / "set").mkdir(exist_ok=True)
        pyarrow.parquet.write_table(table, place / "set" / f"{split}-00000-of-00001.parquet")


def weights(root: Path, place: Path) -> None:
    network = build_network(NetworkConfig("conv4", 3, 1, 8, 4, "stride", "transductive"), 0)
    torch.save(
        {"state_dict": {f"module.{name}": value for name, value in network.state_dict().items()}}, place / "w.pt"
    )


def _compared(*files: str) -> Callable[[], Any]:
    options = ("--measures", "linear_cka,mean_cca", "--replicates", "0", "--permutations", "0")
    return lambda: {"rows": json_of("similarity", *files, *options)}


def _tasks() -> dict[str, Any]:
    data = load_data("tasks:tasks.npz")
    found = task_sampler(data, "test", data.settings["n_way"], 1, data.settings["n_query"], seed=0).batch([0])
    return {"support": found.support.images.numpy(), "query": found.query.images.numpy()}


def _converted() -> dict[str, Any]:
    command("convert", *sorted(path.name for path in Path().glob("*.pkl")), "--out", "converted")
    return {path.as_posix(): path.read_bytes() for path in sorted(Path("converted").rglob("*.png"))}


def _rows() -> dict[str, Any]:
    with working_in(Path.cwd(), "cache"):
        found = load_imageset("parquet:set")
    return {"images": found.images, "classes": found.class_names}


def _imported() -> dict[str, Any]:
    words = ("--n-way", "3", "--image-size", "8", "--channels", "1", "--inner-lr", "0.1", "--inner-steps", "1")
    return {"told": command("import", "w.pt", *words, "--data", "glyphs", "--out", "imported.safetensors")}


ACTIVATIONS = {"npy": _compared("a.npy", "b.npz"), "npz": _compared("b.npz"), "hdf5": _compared("c.h5")}
ACTIVATIONS |= {"all": _compared("a.npy", "b.npz", "c.h5")}
TASKS, PICKLED, PARQUET, WEIGHTS = ({"read": read} for read in (_tasks, _converted, _rows, _imported))


def any_numbers(reader: str, numbers: Any) -> bool:
    """Return that whatever was read is what the file says."""
    return True
