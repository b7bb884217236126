"""What lies below a folder of class folders: which folders hold images, and what is left out, counted."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from metaprobe.trainers.errors import UnreadableInput
from metaprobe.trainers.formats.text import visible
from metaprobe.trainers.tasks.images import SUFFIXES, check_name, scanned

__all__ = ["FolderTree", "LeftOut", "image_tree", "same_letters"]

_MAX_DEPTH = 32
_MAX_FOLDERS = 200_000  # more than any set of classes; links that lead across each other make more
_NOT_DATA = {"__macosx", "@eadir", "#recycle", "$recycle.bin", "system volume information", "lost+found"}
_NAMED = 4  # things of a kind that a warning names


class LeftOut:
    """What a data set was found to lack of what lies in its folder: counted by kind, told in one sentence."""

    def __init__(self) -> None:
        self._kinds: dict[str, Counter[str]] = {}

    def add(self, kind: str, name: str, count: int = 1) -> None:
        """Count a thing: of which kind, in the plural ("links that lead nowhere"), and what tells it from others."""
        self._kinds.setdefault(kind, Counter())[name] += count

    def told(self) -> str:
        """Return what was left out in words: "files that are no images: 12 (10 .txt, 2 .mat)"; "" for nothing."""
        return "; ".join(f"{kind}: {sum(names.values()):,} ({_most(names)})" for kind, names in self._kinds.items())


def _most(names: Counter[str]) -> str:
    told = [f"{count:,} {visible(name, 60)}" for name, count in names.most_common(_NAMED)]
    rest = len(names) - len(told)
    return ", ".join(told) + (f", {rest:,} more" if rest else "")


@dataclass
class FolderTree:
    """The folders below a root that hold images.

    Attributes:
        root: where they are.
        files: folder below the root ("group/class", "" for the root itself) → its images, ordered by name.
        left_out: what else is there.
    """

    root: Path
    files: Mapping[str, tuple[str, ...]]
    left_out: LeftOut = field(default_factory=LeftOut)

    def inside(self, folder: str) -> FolderTree:
        """Return the tree that has a folder directly in the root for its own root."""
        start = f"{folder}/"
        below = {name.removeprefix(start): own for name, own in self.files.items() if name.startswith(start)}
        return FolderTree(self.root / folder, below, self.left_out)

    @property
    def tops(self) -> list[str]:
        """The folders directly in the root that hold images, or that hold folders which do."""
        return list(dict.fromkeys(name.partition("/")[0] for name in self.files if name))


def same_letters(name: str) -> str:
    """Return a name in composed letters (NFC): macOS writes é as e and an accent, others as one letter."""
    return unicodedata.normalize("NFC", name)


def image_tree(root: Path) -> FolderTree:
    """Look for images below a folder, through links, too; what is no image or no data is counted.

    Hidden folders and those that systems leave behind (`__MACOSX`, `@eaDir`) are not entered. A link to a folder above
    it is not followed. Names are in composed letters.

    Raises:
        UnreadableInput: a folder cannot be read, its name is none that any file can hold, or it is too deep; or two
            names differ in how their letters are composed alone.
    """
    return _Walk(root).tree


class _Walk:
    def __init__(self, root: Path) -> None:
        self.files: dict[str, tuple[str, ...]] = {}
        self.tree = FolderTree(root, self.files)
        self.entered = 0
        self._enter(os.fspath(root), "", ())

    def _enter(self, folder: str, name: str, above: tuple[tuple[int, int], ...]) -> None:
        """Keep the images of a folder and of those in it, and count what else there is."""
        self.entered += 1
        if name.count("/") >= _MAX_DEPTH or self.entered > _MAX_FOLDERS:
            most = f"{_MAX_DEPTH} folders deep" if self.entered <= _MAX_FOLDERS else f"{_MAX_FOLDERS:,} folders"
            raise UnreadableInput(f"{folder} is more than {most}; expected <class>/<image> or <group>/<class>/<image>.")
        status = os.stat(folder)
        above = (*above, (status.st_dev, status.st_ino))
        with scanned(folder) as found:
            entries = sorted(found, key=lambda entry: entry.name)
        others: Counter[str] = Counter()
        images = tuple(entry.path for entry in entries if self._is_image(entry, name, others))
        if images:
            self._keep(folder, name, images)
        kept = len(self.files)
        for entry in entries:
            if _is(entry, "dir") and self._is_data(entry, name, above):
                check_name(folder, entry.name)
                own = same_letters(entry.name)
                self._enter(entry.path, f"{name}/{own}" if name else own, above)
        if name and (images or len(self.files) == kept):  # else lists, licences and descriptions lie beside classes
            for suffix, count in others.items():
                self.tree.left_out.add("files that are no images", suffix, count)

    def _keep(self, folder: str, name: str, images: tuple[str, ...]) -> None:
        if name in self.files:
            raise UnreadableInput(
                f"{os.path.dirname(folder)} holds two folders called {os.path.basename(name)!r}, which differ in how "
                "their letters are composed alone; rename one."
            )
        self.files[name] = images

    def _is_image(self, entry: os.DirEntry[str], inside: str, others: Counter[str]) -> bool:
        """Return whether an entry is the file of an image; count what is neither that nor a folder."""
        if _is(entry, "dir"):
            return False
        suffix = os.path.splitext(entry.name)[1].lower()
        if not _is(entry, "file"):
            kind = "links that lead nowhere" if entry.is_symlink() else "things that are neither files nor folders"
            self.tree.left_out.add(kind, entry.name)
        elif entry.name[0] == ".":
            if inside:
                self.tree.left_out.add("hidden files", f"*{suffix}" if suffix in SUFFIXES else entry.name)
        elif suffix in SUFFIXES:
            return True
        else:
            others[suffix or "without a suffix"] += 1
        return False

    def _is_data(self, entry: os.DirEntry[str], inside: str, above: tuple[tuple[int, int], ...]) -> bool:
        """Return whether a folder is to be entered; count what is in it where it is not."""
        if entry.name[0] == "." or entry.name.lower() in _NOT_DATA:
            held = sum(len(names) for _, _, names in os.walk(entry.path))
            if held:
                self.tree.left_out.add("files in folders that are no data", f"in {entry.name}", held)
            return False
        status = os.stat(entry.path)
        if (status.st_dev, status.st_ino) in above:
            told = f"{inside}/{entry.name}" if inside else entry.name
            self.tree.left_out.add("links to a folder that they are in", told)
            return False
        return True


def _is(entry: os.DirEntry[str], kind: str) -> bool:
    """Return whether an entry, or what it links to, is a "file" or a "dir"; of a link to itself neither."""
    try:
        return entry.is_file() if kind == "file" else entry.is_dir()
    except OSError:
        if entry.is_symlink():
            return False
        raise
