"""Which folders of a tree are classes, and of which split: by lists, by folders called after splits, else by hash."""

from __future__ import annotations

import difflib
import hashlib
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from metaprobe.trainers.errors import UnreadableInput
from metaprobe.trainers.formats.safetensors_header import read_regular
from metaprobe.trainers.tasks.folder_tree import FolderTree, same_letters
from metaprobe.trainers.tasks.image_lists import classes_of_tables
from metaprobe.trainers.tasks.images import SUFFIXES
from metaprobe.trainers.tasks.imageset import SPLITS
from metaprobe.trainers.tasks.split_names import split_in, split_lists, split_named

__all__ = ["ClassImages", "classes_in", "split_by_hash", "splits_of_lists"]

_LIST_BYTES = 64 << 20  # of a split list
_SHARES = (0.64, 0.16)  # of the classes for training and validation; the rest is for testing
_ELSE = "or write lists, train.txt, val.txt and test.txt with the name of a class a line"


@dataclass(frozen=True)
class ClassImages:
    """A class: its name ("group/class"), its images and its split."""

    name: str
    files: tuple[str, ...]
    split: str

    @property
    def group(self) -> str:
        """What stands before the last "/" of the name."""
        return self.name.rpartition("/")[0]


def classes_in(tree: FolderTree) -> list[ClassImages]:
    """Return the classes of a tree that are in a split; what is in none is counted as left out.

    Lists decide (`train.txt`, a class a line; `train.csv`, an image and its class a line), else folders called after
    splits. Folders around those are looked through. Where there is neither, classes are split by hash, but not where
    anything looks like splits that somebody made: test classes would be trained on.

    Raises:
        UnreadableInput: it holds no class, lists and folders do not fit, or what splits there are is not clear.
    """
    if not any(tree.files):
        raise UnreadableInput(
            f"{tree.root} holds no class: expected {tree.root}/<class>/<image> or {tree.root}/<group>/<class>/<image>, "
            f"with images of {', '.join(sorted(SUFFIXES))}."
        )
    inner = tree
    while True:
        if lists := split_lists(inner.root, ".txt"):
            return _listed(inner, lists)
        if folders := _split_folders(inner):
            return _in_split_folders(inner, folders)
        if tables := split_lists(inner.root, ".csv"):
            return _of_tables(inner, tables)
        if len(inner.tops) != 1 or not (below := inner.inside(inner.tops[0])).tops or below.files.get(""):
            break
        inner = below
    _refuse_hidden_splits(tree)
    _leave_out(tree, [""])
    split_of = split_by_hash([name for name in tree.files if name])
    return [ClassImages(name, own, split_of[name]) for name, own in tree.files.items() if name]


def split_by_hash(names: list[str]) -> dict[str, str]:
    """Split classes 64/16/20 % (rounded) in the order of the SHA-256 of their names: the same on every machine."""
    ordered = sorted(names, key=lambda name: hashlib.sha256(os.fsencode(name)).digest())
    ends = np.round(np.cumsum(_SHARES) * len(ordered)).astype(int)
    return {name: SPLITS[int(np.searchsorted(ends, place, side="right"))] for place, name in enumerate(ordered)}


def _split_folders(tree: FolderTree) -> dict[str, str]:
    """Return the split of each folder in the root that is called after one; none where none is, or a class is.

    Raises:
        UnreadableInput: what is a split here is not clear.
    """
    tops = tree.tops
    called = {top: split for top in tops if (split := split_named(top))}
    flat = [top for top in called if top in tree.files]
    others = [top for top in tops if top not in called]
    if not called or (flat and len(called) == 1):  # one class may be called "train", as one of CIFAR-100 is
        return {}
    if flat:
        raise UnreadableInput(
            f"{tree.root / flat[0]} holds images itself; in a folder of {', '.join(called)} each holds class folders "
            f"({flat[0]}/<class>/<image>). If they are classes, {_ELSE[3:]}."
        )
    if len(set(called.values())) < len(called):
        twice = next(split for split in SPLITS if list(called.values()).count(split) > 1)
        told = " and ".join(top for top, split in called.items() if split == twice)
        raise UnreadableInput(f"{tree.root} holds {told}, which both name one split, {twice}; keep one.")
    like = [top for top in others if split_in(top) and _is_deep(tree, top)]
    if like or (len(called) == 1 and others):
        told = f"{next(iter(called))} beside {(like or others)[0]}"
        raise UnreadableInput(
            f"{tree.root} holds {told}: it is not clear which classes are for training, validation and testing. Call "
            f"the folders of splits train, val and test and leave no other beside them, {_ELSE}."
        )
    return called


def _is_deep(tree: FolderTree, folder: str) -> bool:
    return any(name.startswith(f"{folder}/") for name in tree.files)


def _refuse_hidden_splits(tree: FolderTree) -> None:
    """Refuse to split by hash what holds, at any depth, folders beside each other that may be splits."""
    children: dict[str, dict[str, bool]] = {}  # of each folder → whether it holds further ones
    for name in tree.files:
        parts = name.split("/") if name else []
        for depth, part in enumerate(parts):
            inside = children.setdefault("/".join(parts[:depth]), {})
            inside[part] = inside.get(part, False) or depth + 1 < len(parts)
    for folder, inside in children.items():
        like = {part: split_named(part) or (split_in(part) if deep else None) for part, deep in inside.items()}
        found = {split: part for part, split in like.items() if split}
        if len(found) > 1:
            told = " and ".join(found.values())
            where = tree.root / folder
            way = f"Name it alone, class_folder:{where}" if folder else "Call folders of splits train, val and test"
            raise UnreadableInput(
                f"{where} holds {told}, which look like splits, and by their hash its classes would be mixed over "
                f"training and testing. {way}, {_ELSE} to {tree.root}."
            )


def _in_split_folders(tree: FolderTree, split_of: dict[str, str]) -> list[ClassImages]:
    _leave_out(tree, [name for name in tree.files if name.partition("/")[0] not in split_of])
    classes, owner = [], dict[str, str]()
    for full, files in tree.files.items():
        top, _, name = full.partition("/")
        if top not in split_of:
            continue
        if owner.setdefault(name, top) != top:
            raise UnreadableInput(
                f"class {name!r} is in {tree.root / owner[name]} and in {tree.root / top}: splits are of classes, so "
                f"that a test meets new ones. Put each class into one of them, or name one of the folders alone, "
                f"class_folder:{tree.root / top}, whose classes are then split."
            )
        classes.append(ClassImages(name, files, split_of[top]))
    return classes


def _leave_out(tree: FolderTree, names: Iterable[str]) -> None:
    for name in names:
        if count := len(tree.files.get(name, ())):
            tree.left_out.add("images that are in no class", f"in {name or tree.root.name}", count)


def _listed(tree: FolderTree, lists: dict[str, Path]) -> list[ClassImages]:
    split_of = splits_of_lists(lists, [name for name in tree.files if name], tree.root)
    unlisted = {name: own for name, own in tree.files.items() if name not in split_of}
    for name, own in unlisted.items():
        kind = "images of classes in no list" if name else "images that are in no class"
        tree.left_out.add(kind, f"in {name or tree.root.name}", len(own))
    return [ClassImages(name, own, split_of[name]) for name, own in tree.files.items() if name in split_of]


def splits_of_lists(lists: dict[str, Path], names: Iterable[str], root: Path) -> dict[str, str]:
    """Return the split of each class that lists name, one a line, in UTF-8; slashes around a name do not count.

    Raises:
        UnreadableInput: a list names a class that is not there or is in another, or none does; or it is not UTF-8.
    """
    known = frozenset(names)
    split_of: dict[str, str] = {}
    for split, path in lists.items():
        try:
            lines = read_regular(path, _LIST_BYTES).decode("utf-8-sig").splitlines()
        except UnicodeDecodeError as error:
            raise UnreadableInput(f"split list {path} is not UTF-8 text ({error}).") from error
        for line in filter(None, map(str.strip, lines)):
            name = _known_as(line, known)
            if name is None:
                raise UnreadableInput(f"split list {path} names {line!r}, but {_why_not(line, known, root)}")
            if split_of.setdefault(name, split) != split:
                raise UnreadableInput(
                    f"split list {path} names {line!r}, which is in {lists[split_of[name]].name}, too."
                )
    if not split_of:
        raise UnreadableInput(f"the split lists in {root} name no class; expected one class name a line.")
    return split_of


def _known_as(line: str, known: frozenset[str]) -> str | None:
    """Return the class that a line names: as it is written, as c0/ or ./c0, or with Windows' slashes."""
    ways = (line, line.removeprefix("./").rstrip("/"), line.replace("\\", "/").rstrip("/"))
    return next((way for way in map(same_letters, ways) if way in known), None)


def _why_not(line: str, known: frozenset[str], root: Path) -> str:
    if os.path.splitext(re.split(r"[,\s]", line)[0])[1].lower() in SUFFIXES:
        return "a list has the name of a class a line; images are listed in train.csv, under filename,label."
    close = difflib.get_close_matches(line, known, n=1)
    return f"{root / line} holds no image." + (f" Did you mean {close[0]!r}?" if close else "")


def _of_tables(tree: FolderTree, tables: dict[str, Path]) -> list[ClassImages]:
    found = classes_of_tables(tables, tree.files)
    taken = {file for one in found for file in one[1]}
    for name, own in tree.files.items():
        if count := sum(file not in taken for file in own):
            tree.left_out.add("images in no table", f"in {name or tree.root.name}", count)
    return [ClassImages(*one) for one in found]
