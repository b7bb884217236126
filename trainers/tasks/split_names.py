"""What splits are called by people, in the names of folders, lists and files."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from metaprobe.trainers.errors import UnreadableInput
from metaprobe.trainers.tasks.imageset import SPLITS

__all__ = ["split_in", "split_lists", "split_named"]

_CALLED = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val"}
_CALLED |= {"test": "test", "testing": "test"}
_ALSO = _CALLED | {"trn": "train", "base": "train", "background": "train", "seen": "train", "dev": "val"}
_ALSO |= {"novel": "test", "eval": "test", "evaluation": "test", "unseen": "test"}


def split_named(name: str) -> str | None:
    """Return the split that a name is a name of ("Train", "validation", "meta-test"), or None."""
    return _CALLED.get(re.sub("^meta[-_ ]?", "", name.casefold()))


def split_in(name: str) -> str | None:
    """Return the split that a word in a name may mean ("cub_train", "novel", "images_evaluation"), or None.

    What may mean a split is never taken for one, nor for anything else.
    """
    words = re.split("[^a-z]+", re.sub("^meta", "", name.casefold()))
    found = {_ALSO[word] for word in words if word in _ALSO}
    return found.pop() if len(found) == 1 else None


def split_lists(folder: Path, suffix: str) -> dict[str, Path]:
    """Return the file of each split in a folder that is called after it, such as `valid.txt`, in the order of splits.

    Args:
        folder: where to look.
        suffix: of the files, ".txt".

    Raises:
        UnreadableInput: there are two for one split.
    """
    found: dict[str, Path] = {}
    for path in sorted(_files(folder)):
        if path.suffix.lower() == suffix and (split := split_named(path.stem)) is not None:
            if split in found:
                raise UnreadableInput(f"{found[split]} and {path} are both lists of one split, {split}; keep one.")
            found[split] = path
    return {split: found[split] for split in SPLITS if split in found}


def _files(folder: Path) -> Iterable[Path]:
    return (path for path in folder.iterdir() if path.is_file())
