"""The clean files of every subject, as the project and the libraries beside it write them."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import shutil
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from PIL import Image
from safetensors.numpy import save

from metaprobe.trainers.run import RunFolder
from metaprobe.trainers.tasks import load_imageset
from tests.conftest import make_imageset
from tests.fuzz.outcome import command
from tests.tiny_study import THIRD, TINY

TRAIN = (
    *("--data", "class_folder:pictures", "--n-way", "2", "--n-query", "2", "--iterations", "4"),
    *("--meta-batch", "2", "--inner-steps", "1", "--filters", "4", "--val-tasks", "2", "--val-every", "2"),
    *("--chunk", "4", "--gradient", "unrolled"),
)
LAST = "checkpoints/last.safetensors"
STUDY = ("study", "third", *TINY["third"].split(), "--out", "third")


@contextlib.contextmanager
def working_in(place: Path, cache: Path | str) -> Iterator[None]:
    """Work in a folder, with a cache folder for images, and with the third study in the registry."""
    before = Path.cwd()
    studies = mock.patch.dict("metaprobe.reports.registry.STUDIES", {"third": THIRD})
    with studies, mock.patch.dict(os.environ, {"METAPROBE_CACHE": str(Path(cache).absolute())}):
        os.chdir(place)
        try:
            yield
        finally:
            os.chdir(before)


def pictures(folder: Path) -> None:
    """Write nine classes of small images, with their splits."""
    images = make_imageset(n_classes=9, per_class=18, size=8)
    for class_id, name in enumerate(images.class_names):
        (folder / name).mkdir(parents=True)
        with open(folder / f"{images.splits[class_id]}.txt", "a", encoding="utf-8") as names:
            names.write(name + "\n")
        for number, image in enumerate(images.images_of(class_id)):
            Image.fromarray(images.images[image, 0]).save(folder / name / f"{number}.png")


def shared(root: Path) -> None:
    """Write what several subjects begin with: pictures and two runs in the folder `root`."""
    pictures(root / "pictures")
    with working_in(root, root / "cache"):
        command("train", "maml", *TRAIN, "--out", "maml")
        more = ("--base", f"maml/{LAST}", "--clusters", "2", "--cluster-tasks", "8")
        command("train", "tsa_maml", *TRAIN, *more, "--out", "tsa")


def checkpoint(root: Path, place: Path) -> None:
    for name in ("mine", "clean"):
        shutil.copy(root / "maml" / LAST, place / f"{name}.safetensors")


def clusters(root: Path, place: Path) -> None:
    for name in ("mine", "clean"):
        shutil.copy(root / "tsa" / LAST, place / f"{name}.safetensors")


def ruled(root: Path, place: Path) -> None:
    with working_in(root, root / "cache"):
        if not Path("ruled").exists():
            command("train", "maml", *TRAIN, "--update-rule", "meta_kfo", "--linnet", "3", "--out", "ruled")
    for name in ("mine", "clean"):
        shutil.copy(root / "ruled" / LAST, place / f"{name}.safetensors")


def _store(root: Path, place: Path, *options: str) -> None:
    asked = ("--tasks", "2", "--n-query", "2", "--layers", "conv1,head", *options)
    with working_in(root, root / "cache"):
        command("capture", f"maml/{LAST}", "--out", str(place / "store.h5"), *asked)


def store(root: Path, place: Path) -> None:
    _store(root, place, "--steps", "all")


def raw(root: Path, place: Path) -> None:
    _store(root, place, "--raw")


def zstd(root: Path, place: Path) -> None:
    _store(root, place, "--raw", "--zstd")


def _tensors() -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    tensors = {"conv.weight": generator.normal(size=(4, 1, 3, 3)), "conv.bias": np.zeros(4), "steps": np.arange(5)}
    return {name: value.astype("f4") if value.dtype == np.float64 else value for name, value in tensors.items()}


def state_dict(root: Path, place: Path) -> None:
    tensors = {name: torch.from_numpy(value) for name, value in _tensors().items()}
    torch.save({"state_dict": tensors, "epoch": 3, "optimiser": {"lr": 0.1}}, place / "foreign.pt")


def safetensors(root: Path, place: Path) -> None:
    (place / "foreign.safetensors").write_bytes(save(_tensors(), {"format": "pt", "author": "someone"}))


def _pictures() -> Iterator[tuple[str, bytes]]:
    """Yield small images by their names below a set: six classes of three."""
    images = make_imageset(n_classes=6, per_class=3, size=8, seed=3)
    for class_id, name in enumerate(images.class_names):
        for number, image in enumerate(images.images_of(class_id)):
            stream = io.BytesIO()
            Image.fromarray(images.images[image, 0]).save(stream, "PNG")
            yield f"{name}/{number}.png", stream.getvalue()
    for split, names in (
        ("train", "class00\nclass01\n"),
        ("val", "class02\nclass03\n"),
        ("test", "class04\nclass05\n"),
    ):
        yield f"{split}.txt", names.encode()


def zipped(root: Path, place: Path) -> None:
    with zipfile.ZipFile(place / "set.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in _pictures():
            archive.writestr(zipfile.ZipInfo(name), content)


def _tar() -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, content in _pictures():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def tarred(root: Path, place: Path) -> None:
    (place / "set.tar").write_bytes(_tar())


def packed(root: Path, place: Path) -> None:
    (place / "set.tar.gz").write_bytes(gzip.compress(_tar(), mtime=0))


def images(root: Path, place: Path) -> None:
    """Write class folders with PNGs, and one image of every other format."""
    for name, content in _pictures():
        path = place / "set" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    for suffix, class_name in ((".bmp", "class00"), (".jpg", "class02"), (".webp", "class04")):
        path = place / "set" / class_name / "0.png"
        with Image.open(path) as image:
            image.save(path.with_suffix(suffix))
        path.unlink()


class _Killed(Exception):
    """Ends a run where a kill would have ended it."""


def halfway(root: Path, place: Path) -> None:
    """Write a run that was killed in its third iteration of four, saved after the second."""
    (place / "pictures").symlink_to(root / "pictures")
    append = RunFolder.append_metrics

    def killed(self: RunFolder, record: dict) -> None:
        if record["iteration"] == 4:
            raise _Killed
        append(self, record)

    patched = mock.patch.object(RunFolder, "append_metrics", killed)
    with working_in(place, root / "cache"), patched, contextlib.suppress(_Killed):
        command("train", "maml", *TRAIN, "--out", "run")


def cache(root: Path, place: Path) -> None:
    (place / "pictures").symlink_to(root / "pictures")
    with working_in(place, place / "cache"):
        load_imageset(f"class_folder:{root / 'pictures'}")


def measured(root: Path, place: Path) -> None:
    (place / "pictures").symlink_to(root / "pictures")
    with working_in(place, root / "cache"):
        command(*STUDY)
