"""Group-structured tasks: several data sets in one, where each task takes all its classes from one of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from metaprobe.trainers.errors import MetaprobeError, unknown_name
from metaprobe.trainers.tasks.imageset import ImageSet
from metaprobe.trainers.tasks.sources import DataRequest

__all__ = ["mix", "mixture_loader"]

_FOLDER = "multidomain84"  # of the data root, where domains may lie beside each other

Load = Callable[[DataRequest], ImageSet]


def mixture_loader(loaders: Callable[[], dict[str, Load]]) -> Load:
    """Return the loader of `mixture:NAME,NAME…`.

    A name is that of another data set, `class_folder:PATH` or `parquet:PATH` (without a comma), or a folder of class
    folders in the data root (or in its `multidomain84`). Each becomes a domain; the splits of its classes are its own.

    Args:
        loaders: the data sets that may be parts, by name; asked for when a mixture is loaded.
    """

    def load(request: DataRequest) -> ImageSet:
        names = [name.strip() for name in request.argument.split(",")]
        if doubled := [name for name in names if names.count(name) > 1]:
            raise MetaprobeError(f"data set 'mixture:{request.argument}' names {doubled[0]!r} twice; name each once")
        parts = [(_domain(name), _part(name, request, loaders())) for name in names]
        if request.colour is not None:
            parts = [(name, part.in_colour(request.colour)) for name, part in parts]
        return mix(parts)

    return load


def mix(parts: Sequence[tuple[str, ImageSet]]) -> ImageSet:
    """Join image sets, each as a domain of its own; grey ones become RGB where any is RGB.

    Args:
        parts: (name of the domain, its images).

    Raises:
        MetaprobeError: images differ in size, or two domains share a name.
    """
    sizes = {name: part.image_size for name, part in parts}
    if len(sizes) < len(parts):
        raise MetaprobeError(f"the domains of a mixture need names of their own; got {', '.join(n for n, _ in parts)}")
    if len(set(sizes.values())) > 1:
        told = ", ".join(f"{name} {size}×{size}" for name, size in sizes.items())
        raise MetaprobeError(f"the parts of a mixture differ in size: {told}; pass --image-size to bring them to one")
    if len({part.channels for _, part in parts}) > 1:
        parts = [(name, part.in_colour("rgb")) for name, part in parts]
    firsts = np.cumsum([0, *(len(part.class_names) for _, part in parts)])
    return ImageSet(
        "+".join(sizes),
        np.concatenate([part.images for _, part in parts]),
        np.concatenate([part.class_of + first for (_, part), first in zip(parts, firsts, strict=False)]),
        tuple(f"{domain}/{name}" for domain, part in parts for name in part.class_names),
        tuple(f"{domain}/{group}" if group else domain for domain, part in parts for group in part.groups),
        tuple(split for _, part in parts for split in part.splits),
        tuple(domain for domain, part in parts for _ in part.class_names),
    )


def _part(name: str, request: DataRequest, loaders: dict[str, Load]) -> ImageSet:
    kind, colon, argument = name.partition(":")
    if kind in loaders:
        takes_path = kind in ("class_folder", "parquet")
        if takes_path != bool(argument) or (colon and not takes_path):
            raise MetaprobeError(f"part {name!r} of a mixture: expected {kind}{':PATH' * takes_path}")
        return loaders[kind](dataclasses.replace(request, dataset=kind, argument=argument))
    plain = name == Path(name).name  # not /elsewhere, not ../there: a part's name goes into checkpoints and reports
    for folder in [request.root / name, request.root / _FOLDER / name] if request.root and plain else []:
        if folder.is_dir():
            return loaders["class_folder"](
                dataclasses.replace(request, dataset="class_folder", argument=str(folder), download=False)
            )
    error = unknown_name("part of a mixture", name, loaders)
    looked = f"{request.root}" if request.root else "no data root (--data-root, METAPROBE_DATA)"
    raise MetaprobeError(f"{error} Nor is it a folder of class folders in {looked}.")


def _domain(name: str) -> str:
    """Return what a part is called: class_folder:photos/birds is birds."""
    kind, colon, argument = name.partition(":")
    return Path(argument).expanduser().absolute().name if colon else kind
