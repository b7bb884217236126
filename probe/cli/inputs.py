"""What a command is given, taken for what is meant: a checkpoint, or the run, or the store that it belongs to."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from metaprobe.trainers.errors import MetaprobeError, UnreadableInput
from metaprobe.trainers.formats.safetensors_header import open_regular
from metaprobe.trainers.formats.text import visible
from metaprobe.trainers.user_code import USER_CODE, is_code

if TYPE_CHECKING:
    from metaprobe.trainers.checkpoint import Checkpoint

__all__ = ["as_checkpoint", "as_store", "as_stores", "is_store", "opened"]


def opened(path: Path, network: str | None = None) -> tuple[Path, Checkpoint]:
    """Return the file of a checkpoint and what it holds; of a run's folder the last, which is told.

    Args:
        path: a checkpoint or a run's folder.
        network: what `--network` says, which alone lets code of the user's be run.

    Raises:
        UnreadableInput: it is neither, or damaged.
        MetaprobeError: the checkpoint is of another network than `network`.
    """
    from metaprobe.trainers.checkpoint import load_checkpoint

    path = as_checkpoint(path)
    checkpoint = load_checkpoint(path)
    own = checkpoint.network_config.name
    if network is not None and network != own and not (is_code(network) and is_code(own)):
        raise MetaprobeError(
            f"{path} is of network {visible(own, 80)}, --network says {visible(network, 80)}; leave it out"
        )
    USER_CODE.set(network if network is not None and is_code(network) else None)
    return path, checkpoint


def as_checkpoint(path: Path) -> Path:
    """Return the file of the checkpoint that is meant: itself, or a run's last one, which is told.

    Raises:
        UnreadableInput: it is neither.
    """
    from metaprobe.probe.inspection.folders import checkpoint_in

    if path.is_dir():
        last = checkpoint_in(path)
        if last is None:
            raise UnreadableInput(
                f"{path}: expected a checkpoint or a run, got a folder without checkpoints/last.safetensors"
            )
        _tell(f"{path} is a run; its last checkpoint is taken, {last.relative_to(path)}")
        return last
    if is_store(path):
        raise UnreadableInput(f"{path}: expected a checkpoint, got an activation store; name what it was captured from")
    return path


def as_stores(paths: Sequence[Path]) -> tuple[Path, ...]:
    """Return the activation stores that are meant by some paths; see `as_store`."""
    return tuple(map(as_store, paths))


def as_store(path: Path) -> Path:
    """Return the activation store that is meant: itself, or that of a run's last checkpoint, which is told.

    Raises:
        UnreadableInput: there is none.
    """
    from metaprobe.probe.inspection.folders import checkpoint_in

    if path.is_dir():
        store = path / "captures" / "last.h5"
        if store.is_file():
            _tell(f"{path} is a run; the store of its last checkpoint is taken, {store.relative_to(path)}")
            return store
        last = checkpoint_in(path)
        named = f" (`metaprobe capture {last} --out STORE.h5` makes one)" if last else ""
        raise UnreadableInput(f"{path}: expected an activation store, got a folder without captures/last.h5{named}")
    with open_regular(path) as file:
        is_safetensors = file.read(9)[8:] == b"{"
    if is_safetensors:
        made = f"`metaprobe capture {path} --out STORE.h5` makes one of it"
        raise UnreadableInput(f"{path}: expected an activation store, got a file of tensors; {made}")
    return path


def is_store(path: Path) -> bool:
    """Tell whether a file is HDF5, as activation stores are."""
    if not path.is_file():
        return False
    with open_regular(path) as file:
        return file.read(8) == b"\x89HDF\r\n\x1a\n"


def _tell(what: str) -> None:
    sys.stderr.write(f"{visible(what)}\n")
