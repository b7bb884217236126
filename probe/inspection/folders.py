"""Folders where a file of tensors is meant: a training run, or weights in several files with their index. No torch."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from metaprobe.probe.inspection.tensor_files import INDEX, TensorFile, TensorInfo, open_tensors
from metaprobe.trainers.errors import UnreadableInput
from metaprobe.trainers.formats.safetensors_header import read_regular
from metaprobe.trainers.formats.strict_json import parse_json
from metaprobe.trainers.formats.text import visible
from metaprobe.trainers.run import RunFolder

__all__ = ["checkpoint_in", "open_folder"]

_MOST_INDEX = 16 << 20
_ALONE = ("model.safetensors", "pytorch_model.bin", "diffusion_pytorch_model.safetensors")


def checkpoint_in(folder: Path) -> Path | None:
    """Return the last checkpoint of a run's folder; None where a folder is none, or has none yet."""
    last = RunFolder(folder).checkpoint("last")
    return last if RunFolder(folder).config_file.is_file() and last.is_file() else None


@contextlib.contextmanager
def open_folder(path: Path, key: str | None) -> Iterator[TensorFile]:
    """Open what a folder, or an index of several files, holds as one file of tensors; see `open_tensors`.

    Raises:
        UnreadableInput: there is no run, no index and no single file of weights in it, or what there is is damaged.
    """
    if path.is_dir() and (last := checkpoint_in(path)):
        with open_tensors(last, key) as file:
            yield file
        return
    indices = sorted(path.glob(f"*{INDEX}")) if path.is_dir() else [path]
    if len(indices) == 1:
        with contextlib.ExitStack() as stack:
            yield _joined(indices[0], key, stack)
        return
    alone = [path / name for name in _ALONE if (path / name).is_file()]
    if len(alone) != 1:
        found = (
            f"{len(indices)} indices of weights"
            if indices
            else "neither a run's last checkpoint nor an index of weights"
        )
        raise UnreadableInput(f"{visible(str(path))}: expected a file, got a folder with {found}; name a file in it")
    with open_tensors(alone[0], key) as file:
        yield file


def _joined(index: Path, key: str | None, stack: contextlib.ExitStack) -> TensorFile:
    places = _weight_map(index)
    # opened one after the other; names are as in the index, whatever stands before all of those of one file
    files = sorted(set(places.values()))
    parts = {name: stack.enter_context(open_tensors(index.parent / name, key, wrapped=True)) for name in files}
    owners: dict[str, tuple[TensorFile, TensorInfo]] = {}
    for name, place in places.items():
        found = {tensor.name: tensor for tensor in parts[place].tensors}
        if name not in found:
            raise UnreadableInput(f"{visible(str(index))}: {visible(name, 80)} is not in {visible(place, 80)}")
        owners[name] = parts[place], found[name]
    return TensorFile(
        path=index if index.parent == Path() else index.parent,
        kind=f"{len(parts)} files of {next(iter(parts.values())).kind}",
        size=sum(part.size for part in parts.values()),
        tensors=tuple(owners[name][1] for name in sorted(owners)),
        checkpoint=None,
        metadata=tuple(("file", f"{name}, {part.size:,} bytes") for name, part in parts.items()),
        pieces=lambda tensor: owners[tensor.name][0].pieces(owners[tensor.name][1]),
    )


def _weight_map(index: Path) -> dict[str, str]:
    try:
        content = parse_json(read_regular(index, _MOST_INDEX).decode("utf-8"))
        places = content["weight_map"]
        if not isinstance(places, dict) or not places:
            raise ValueError("its weight_map is empty")
        for place in places.values():
            if not isinstance(place, str) or Path(place).name != place or place.endswith(INDEX) or place in (".", ".."):
                raise ValueError(f"{place!r} is no file beside it")
    except (ValueError, KeyError, TypeError) as error:
        told = "it has no weight_map" if isinstance(error, KeyError | TypeError) else str(error)
        raise UnreadableInput(
            f"{visible(str(index))}: no index of weights in several files: {visible(told, 120)}"
        ) from None
    return places
