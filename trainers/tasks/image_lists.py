"""`train.csv`, `val.csv` and `test.csv` with an image and its class a line, as Ravi & Larochelle's of mini-ImageNet."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from metaprobe.trainers.errors import UnreadableInput
from metaprobe.trainers.formats.safetensors_header import read_regular
from metaprobe.trainers.formats.text import visible
from metaprobe.trainers.tasks.folder_tree import same_letters
from metaprobe.trainers.tasks.imageset import is_plain

__all__ = ["classes_of_tables"]

_TABLE_BYTES = 256 << 20
_IMAGE = ("filename", "file_name", "file", "filepath", "path", "image", "image_name", "image_path", "img")
_CLASS = ("label", "class", "class_name", "class_label", "category")


def classes_of_tables(
    tables: Mapping[str, Path], files: Mapping[str, tuple[str, ...]]
) -> list[tuple[str, tuple[str, ...], str]]:
    """Return the name, images and split of each class that tables name, in the order of names.

    Args:
        tables: split → CSV file with a line of names, among them one for the image and one for its class.
        files: folder → its images. A table names an image by its path, by its path in `images`, or by its name where
            no other image has that.

    Raises:
        UnreadableInput: a table has no such columns, names an image that is not there, that is of another class, too,
            or a class that is in another split.
    """
    places = _places(files)
    class_of: dict[str, str] = {}  # image → class
    split_of: dict[str, str] = {}
    for split, path in tables.items():
        for line, (image, name) in enumerate(_rows(path), 2):
            where = f"{path}, line {line}"
            found = places.get(image.replace("\\", "/").removeprefix("./"))
            if found is None:
                raise UnreadableInput(f"{where} names {visible(image, 80)!r}, which no image beside it is called.")
            if not name or not is_plain(name):
                raise UnreadableInput(f"{where} gives {visible(image, 80)!r} no class whose name any file can hold.")
            if split_of.setdefault(name, split) != split:
                other = tables[split_of[name]].name
                raise UnreadableInput(
                    f"{where} is of class {name!r}, which {other} has too: splits are of classes, so that a test meets "
                    "new ones."
                )
            if class_of.setdefault(found, name) != name:
                raise UnreadableInput(f"{where} says that {visible(image, 80)!r} is {name!r}, and {class_of[found]!r}.")
    members: dict[str, list[str]] = {}
    for image, name in class_of.items():
        members.setdefault(name, []).append(image)
    if not members:
        raise UnreadableInput(f"{', '.join(map(str, tables.values()))}: no line of them names an image.")
    return [(name, tuple(sorted(members[name])), split_of[name]) for name in sorted(members)]


def _places(files: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """Return every image by all that a table may call it."""
    found: dict[str, str] = {}
    names: dict[str, list[str]] = {}
    for folder, images in files.items():
        for path in images:
            name = same_letters(path.rpartition("/")[2])
            names.setdefault(name, []).append(path)
            found[f"{folder}/{name}" if folder else name] = path
    alone = {name: paths[0] for name, paths in names.items() if len(paths) == 1}
    in_images = {name.removeprefix("images/"): path for name, path in found.items() if name.startswith("images/")}
    return alone | in_images | found


def _rows(path: Path) -> Sequence[tuple[str, str]]:
    try:
        text = read_regular(path, _TABLE_BYTES).decode("utf-8-sig")
        header, *rows = [row for row in csv.reader(io.StringIO(text, newline="")) if row] or [[]]
    except (UnicodeDecodeError, csv.Error) as error:
        raise UnreadableInput(f"{path} is no CSV file in UTF-8 ({error}).") from error
    names = [name.strip().lower() for name in header]
    image, label = (next((names.index(one) for one in known if one in names), None) for known in (_IMAGE, _CLASS))
    if image is None or label is None:
        raise UnreadableInput(
            f"{path} begins with {visible(','.join(header), 80)!r}; expected the names of its columns, filename,label."
        )
    if short := next((place for place, row in enumerate(rows, 2) if len(row) <= max(image, label)), None):
        raise UnreadableInput(f"{path}, line {short} has fewer columns than the first.")
    return [(same_letters(row[image].strip()), same_letters(row[label].strip())) for row in rows]
