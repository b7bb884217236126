"""Image folders in Parquet, as the Hugging Face Hub keeps them: a row an image and its label (needs `pyarrow`)."""

from __future__ import annotations

import contextlib
import json
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metaprobe.trainers.errors import MetaprobeError, UnreadableInput
from metaprobe.trainers.formats.text import visible
from metaprobe.trainers.tasks.cache import cached_imageset, listing_key
from metaprobe.trainers.tasks.class_layout import ClassImages, split_by_hash, splits_of_lists
from metaprobe.trainers.tasks.decoding import decoded
from metaprobe.trainers.tasks.folder_tree import LeftOut
from metaprobe.trainers.tasks.images import open_image
from metaprobe.trainers.tasks.imageset import SPLITS, ImageSet, is_plain
from metaprobe.trainers.tasks.sources import DataRequest
from metaprobe.trainers.tasks.split_names import split_lists, split_named

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["load_parquet"]

_VERSION = 1  # of the decoded set; part of the cache key
_ROWS = 256  # read at once
_LABELS = ("label", "labels", "class", "fine_label", "category")


@dataclass(frozen=True)
class _Shard:
    """A file: where its images and labels are, and the name of each row's class, None for a row that has none."""

    path: Path
    split: str | None
    image: str
    classes: tuple[str | None, ...]


def load_parquet(request: DataRequest) -> ImageSet:
    """Load `parquet:PATH` or `parquet:PATH#COLUMN`: a file, a folder of them, or files by a glob (`train-*.parquet`).

    Images are the column of structs with `bytes`, or of bytes; labels that which is called `label` …, or COLUMN.
    Splits: lists `train.txt` … in the folder, as in `class_folder`; else what files are called after, where no class is
    in two; else, of files of one split or of none, 64/16/20 % of the classes by hash. Sizes and colours are as in
    `class_folder`.

    Raises:
        MetaprobeError: `pyarrow` is not installed.
        UnreadableInput: files are missing, damaged or hold no images with labels, or a class is in two splits.
    """
    _pyarrow()
    asked, _, column = request.argument.partition("#")
    root, files = _files(Path(asked).expanduser().absolute())
    left_out = LeftOut()
    shards = [_shard(path, column, left_out) for path in files]
    classes = _classes(root, shards)
    if told := left_out.told():
        warnings.warn(f"{visible(asked)}: left out {told}.", stacklevel=2)
    about = [(one.name, one.split, len(one.files)) for one in classes]
    key = listing_key(files, "parquet", _VERSION, request.image_size, column, about)
    return cached_imageset(
        "parquet", key, lambda: decoded("parquet", root, classes, _Opened(shards), request.image_size)
    )


def _pyarrow() -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MetaprobeError("Parquet files need pyarrow: pip install 'metaprobe[parquet]'") from error
    return pyarrow


def _files(path: Path) -> tuple[Path, list[Path]]:
    """Return the folder of Parquet files and the files, in the order of their names."""
    if path.is_file():
        return path.parent, [path]
    root = path if path.is_dir() else path.parent
    found = root.rglob("*.parquet") if path.is_dir() else root.glob(path.name) if root.is_dir() else ()
    files = sorted(one for one in found if one.is_file() and not any(p[:1] == "." for p in one.relative_to(root).parts))
    if not files:
        raise UnreadableInput(
            f"data set 'parquet': looked for Parquet files at {path}; found none. Name a file, a folder of *.parquet, "
            "or files by a glob: --data parquet:PATH"
        )
    return root, files


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[Any]:
    """Open a file, and say of what is wrong with it that it is."""
    arrow = _pyarrow()
    try:
        with arrow.parquet.ParquetFile(path, page_checksum_verification=True) as file:
            yield file
    except MetaprobeError:
        raise
    except (arrow.ArrowException, OSError, ValueError, LookupError, MemoryError) as error:
        raise UnreadableInput(f"{path}: cannot be read as Parquet ({visible(str(error), 120)}).") from error


def _shard(path: Path, column: str, left_out: LeftOut) -> _Shard:
    with _reading(path) as file:
        schema = file.schema_arrow
        image, label = _image_column(schema, path), _label_column(schema, column, path)
        values = file.read(columns=[label]).column(label).to_pylist()
        names = _names(schema, label)
    classes = []
    for value in values:
        name = names[value] if names and isinstance(value, int) and 0 <= value < len(names) else value
        unlabelled = value is None or (isinstance(value, int) and value < 0)  # as of tests whose answers are kept
        if not unlabelled and not (isinstance(name, str | int) and is_plain(str(name)) and str(name)):
            raise UnreadableInput(f"{path}: column {label!r} has {visible(repr(value), 60)}, which can name no class.")
        classes.append(None if unlabelled else str(name))
    if lost := classes.count(None):
        left_out.add("rows without a label", f"in {path.name}", lost)
    split = split_named(path.name.split("-")[0].split(".")[0]) or split_named(path.parent.name)
    return _Shard(path, split, image, tuple(classes))


def _image_column(schema: Any, path: Path) -> str:
    types = _pyarrow().types
    found = [
        field.name
        for field in schema
        if types.is_binary(field.type)
        or types.is_large_binary(field.type)
        or (types.is_struct(field.type) and field.type.get_field_index("bytes") >= 0)
    ]
    if len(found) != 1:
        told = ", ".join(found) or "none"
        raise UnreadableInput(f"{path}: expected one column of images (bytes, or structs with bytes); found {told}.")
    return found[0]


def _label_column(schema: Any, column: str, path: Path) -> str:
    names = list(schema.names)
    found = [name for name in names if name == column] if column else [name for name in _LABELS if name in names]
    if not found:
        wanted = repr(column) if column else ", ".join(_LABELS)
        raise UnreadableInput(
            f"{path}: no column {wanted}; it has {visible(', '.join(names), 200)}. Name that of the labels: "
            "--data parquet:PATH#COLUMN"
        )
    return found[0]


def _names(schema: Any, label: str) -> list[str]:
    """Return the names of labels 0, 1, … as the Hub's data sets keep them beside the schema; none where they do not."""
    text = (schema.metadata or {}).get(b"huggingface", b"{}")
    try:
        names = json.loads(text)["info"]["features"][label]["names"]
    except (ValueError, LookupError, TypeError):  # of another writer: labels are then called by their numbers
        return []
    return names if isinstance(names, list) and all(isinstance(name, str) for name in names) else []


def _classes(root: Path, shards: Sequence[_Shard]) -> list[ClassImages]:
    members: dict[str, list[str]] = {}
    found_in: dict[str, dict[str | None, Path]] = {}
    for shard in shards:
        for row, name in enumerate(shard.classes):
            if name is not None:
                members.setdefault(name, []).append(_called(shard.path, row))
                found_in.setdefault(name, {}).setdefault(shard.split, shard.path)
    if not members:
        raise UnreadableInput(f"{root}: no row of its Parquet files has a label.")
    split_of = _splits(root, found_in, {shard.split for shard in shards})
    return [ClassImages(name, tuple(members[name]), split_of[name]) for name in sorted(members) if name in split_of]


def _splits(root: Path, found_in: dict[str, dict[str | None, Path]], splits: set[str | None]) -> dict[str, str]:
    if lists := split_lists(root, ".txt"):
        return splits_of_lists(lists, found_in, root)
    if len(splits) == 1:
        return split_by_hash(list(found_in))
    for name, files in found_in.items():
        if len(files) > 1 or None in files:
            told = " and in ".join(str(path) for path in files.values())
            raise UnreadableInput(
                f"class {name!r} is in {told}: splits are of classes, so that a test meets new ones. Name the files of "
                f"one split, such as parquet:{root}/train-*.parquet, whose classes are then split, or write lists, "
                f"{', '.join(f'{split}.txt' for split in SPLITS)}, to {root}."
            )
    return {name: str(next(iter(files))) for name, files in found_in.items()}


def _called(path: Path, row: int) -> str:
    return f"{path}, row {row}"


class _Opened:
    """The images of rows, decoded a few hundred rows at a time."""

    def __init__(self, shards: Sequence[_Shard]) -> None:
        self._shards = shards

    def __call__(self, wanted: Sequence[str]) -> Iterator[tuple[str, Image.Image]]:
        asked = frozenset(wanted)
        for shard in self._shards:
            with _reading(shard.path) as file:
                row = 0
                for batch in file.iter_batches(batch_size=_ROWS, columns=[shard.image]):
                    for value in batch.column(0).to_pylist():
                        if (name := _called(shard.path, row)) in asked:
                            yield name, open_image(name, "RGB", _bytes(value, name))
                        row += 1


def _bytes(value: object, name: str) -> bytes:
    content = value.get("bytes") if isinstance(value, dict) else value
    if not isinstance(content, bytes):
        raise UnreadableInput(f"{name} holds no image but at most the name of one elsewhere; save the images with it.")
    return content
