"""The pickles that few-shot data sets circulate as, converted to class folders."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from metaprobe.trainers.errors import MetaprobeError, UnreadableInput
from metaprobe.trainers.formats.array_pickle import read_array_pickle
from metaprobe.trainers.formats.text import visible
from metaprobe.trainers.tasks.imageset import is_plain
from metaprobe.trainers.tasks.split_names import split_in

__all__ = ["convert"]

Images = UInt8[np.ndarray, "image height width *channel"]


def convert(files: Sequence[Path], out: Path, advance: Callable[[int], None] | None = None) -> dict[str, int]:
    """Write the images of pickles as PNG files in `out/split/class`, or in `out/class`: whole or not at all.

    Read are a dict with `image_data` and `class_dict` (the mini-ImageNet of mini-imagenet-cache-train.pkl) and one with
    `data` and `labels` (CIFAR-FS, FC100). The split is what the name of the file says; of a file alone it may say none.

    Args:
        files: the pickles.
        out: the folder, which must not be there yet, or be empty.
        advance: called with the number of images just written.

    Returns:
        The number of images of each class folder, by its path below `out`.

    Raises:
        UnreadableInput: a file holds anything else, or a class that no folder can be named by.
        MetaprobeError: `out` holds something, or two files are of one split.
    """
    splits = _splits(files)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise MetaprobeError(f"{out} is there and is no empty folder; name another --out")
    out.parent.mkdir(parents=True, exist_ok=True)
    written: dict[str, int] = {}
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as room:
        made = Path(room) / "made"
        for split, path in splits.items():
            for folder, count in _write(path, made / split, advance).items():
                written[f"{split}/{folder}" if split else folder] = count
        os.replace(made, out)
    return written


def _splits(files: Sequence[Path]) -> dict[str, Path]:
    if not files:
        raise MetaprobeError("give at least one pickle to convert; got none")
    found: dict[str, Path] = {}
    for path in files:
        split = split_in(path.name.split(".")[0]) or ""
        if not split and len(files) > 1:
            raise MetaprobeError(f"the name of {path} says no split; call it after train, val or test, as the others")
        if split in found:
            raise MetaprobeError(f"{found[split]} and {path} are both of split {split}; convert one")
        found[split] = path
    return found


def _write(path: Path, folder: Path, advance: Callable[[int], None] | None) -> dict[str, int]:
    from PIL import Image

    images, classes = _content(read_array_pickle(path), str(path))
    for name, places in classes.items():
        if not is_plain(name) or "/" in name or "\\" in name or name[:1] in ("", "."):
            raise UnreadableInput(f"{path}: no folder can be called as its class {visible(repr(name), 80)} is.")
        (folder / name).mkdir(parents=True)
        for place in places:
            picture = images[place]
            Image.fromarray(picture[..., 0] if picture.shape[-1] == 1 else picture).save(
                folder / name / f"{place:06}.png"
            )
        if advance:
            advance(len(places))
    return {name: len(places) for name, places in classes.items()}


def _content(content: Any, path: str) -> tuple[Images, Mapping[str, Sequence[int]]]:
    """Return the images of a data set, and the places of the images of each class."""
    parts = {_text(key): value for key, value in content.items()} if isinstance(content, dict) else {}
    for images, classes, read in (("image_data", "class_dict", _by_class), ("data", "labels", _by_label)):
        if images in parts and classes in parts:
            found = _images(parts[images], path)
            return found, _checked(read(parts[classes], parts), len(found), path)
    holds = ", ".join(map(repr, parts)) if parts else f"a {type(content).__name__}"
    raise UnreadableInput(
        f"{path} holds {visible(holds, 120)}; expected a dict with 'image_data' and 'class_dict', or 'data' and "
        "'labels'."
    )


def _images(images: Any, path: str) -> Images:
    if isinstance(images, np.ndarray) and images.dtype == np.uint8 and images.ndim in (3, 4) and images.size:
        images = images if images.ndim == 4 else images[..., None]
        if images.shape[-1] in (1, 3):
            return images
    told = f"{images.dtype} {images.shape}" if isinstance(images, np.ndarray) else type(images).__name__
    raise UnreadableInput(f"{path}: expected images as uint8 (image, height, width, 1 or 3 channels); got {told}.")


def _by_class(classes: Any, _: Mapping[str, Any]) -> dict[str, list[int]]:
    if not isinstance(classes, dict):
        return {}
    return {_text(name): _whole(places) for name, places in classes.items()}


def _by_label(labels: Any, parts: Mapping[str, Any]) -> dict[str, list[int]]:
    named = parts.get("catname2label")
    names = {int(label): _text(name) for name, label in named.items()} if isinstance(named, dict) else {}
    found: dict[str, list[int]] = {}
    for place, label in enumerate(_whole(labels)):
        found.setdefault(names.get(label, f"{label:03}"), []).append(place)
    return found


def _whole(numbers: Any) -> list[int]:
    """Return whole numbers of a list or an array; none for anything else, which then lacks images."""
    if isinstance(numbers, list):
        numbers = [one.item() if isinstance(one, np.ndarray) and one.ndim == 0 else one for one in numbers]
        return numbers if all(type(one) is int for one in numbers) else []
    fits = isinstance(numbers, np.ndarray) and numbers.ndim == 1 and numbers.dtype.kind in "iu"
    return numbers.tolist() if fits else []


def _checked(classes: dict[str, list[int]], count: int, path: str) -> dict[str, list[int]]:
    places = sorted(place for own in classes.values() for place in own)
    if places != list(range(count)):
        raise UnreadableInput(
            f"{path}: expected a class for each of its {count:,} images; its classes name {len(places):,} of them, or "
            "some twice, or some that are not there."
        )
    return {name: own for name, own in classes.items() if own}


def _text(name: object) -> str:
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)
