"""Decoded image sets kept on disk, so that the second load takes less than a second.

A cached set is one safetensors file (nothing is ever unpickled) whose metadata hold the names, the key that it was made
for and the set's fingerprint. It is read like a file from a stranger: whatever does not fit is damage, and it is made
again.
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import BinaryIO

import numpy as np

from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.files import cache_folder, replacing
from metaprobe.trainers.formats.safetensors_header import TensorEntry, open_regular, read_header
from metaprobe.trainers.formats.strict_json import parse_json
from metaprobe.trainers.formats.text import visible
from metaprobe.trainers.tasks.imageset import ImageSet

__all__ = ["cached_imageset", "listing_key"]

_FORMAT = 2  # 1 did not say for which key it was made
_ABOUT = {"format", "key", "name", "fingerprint", "class_names", "groups", "splits", "domains"}
_ARRAYS = {"images": "U8", "class_of": "I64"}


def listing_key(files: Iterable[Path | str], *choices: object) -> str:
    """Return a key that changes when a file comes, goes, grows or is written, or when a choice differs.

    Args:
        files: the files, in the order in which they are read.
        choices: whatever else decides the decoded content (size, version of the decoder …); put through `repr`.

    Returns:
        A SHA-256, as 64 hexadecimal digits.
    """
    digest = hashlib.sha256(repr(choices).encode())
    for path in files:
        status = os.stat(path)
        digest.update(os.fsencode(path) + f"\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def cached_imageset(name: str, key: str, make: Callable[[], ImageSet]) -> ImageSet:
    """Return the set cached under a key; make it and keep it where the cache has none.

    A cached file that is damaged, or of an older version, is made again with a warning; of one that cannot be written
    a warning is all: the set itself is right in both cases.

    Args:
        name: what the set is called; begins the file name.
        key: changes with everything that decides the content.
        make: makes the set.
    """
    path = cache_folder() / "imagesets" / f"{name}-{key[:32]}.safetensors"
    if os.path.lexists(path):
        try:
            return _read(path, key)
        except _DamagedCacheError as error:
            warnings.warn(f"cached image set {path} is damaged or old ({error}); making it again.", stacklevel=2)
    made = make()
    try:
        _write(path, made, key)
    except OSError as error:
        warnings.warn(f"image set {name!r} could not be cached in {path} ({error}).", stacklevel=2)
    return made


class _DamagedCacheError(Exception):
    """A cached file that does not hold what was written."""


def _write(path: Path, made: ImageSet, key: str) -> None:
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    about = {
        "format": _FORMAT,
        "key": key,
        "name": made.name,
        "fingerprint": made.fingerprint,
        "class_names": made.class_names,
        "groups": made.groups,
        "splits": made.splits,
        "domains": made.domains,
    }
    if os.path.lexists(path) and (path.is_symlink() or not path.is_file()):
        path.unlink()  # ours alone lies here; of a folder that is an error
    with replacing(path) as temporary:
        arrays = {"images": made.images, "class_of": made.class_of}
        try:
            save_file(arrays, temporary, metadata={"metaprobe": json.dumps(about, sort_keys=True)})
        except SafetensorError as error:  # what it makes of a full disk
            raise OSError(str(error)) from error


def _read(path: Path, key: str) -> ImageSet:
    try:
        with open_regular(path) as file:
            header = read_header(file, path)
            about = parse_json(dict(header.metadata).get("metaprobe", "{}"), depth=2)
            if not isinstance(about, dict) or about.get("format") != _FORMAT or set(about) != _ABOUT:
                raise _DamagedCacheError(f"it is of another format than {_FORMAT}")
            if about["key"] != key:
                raise _DamagedCacheError("it was made from other files or with other choices")
            if {entry.name: entry.dtype for entry in header.tensors} != _ARRAYS:
                raise _DamagedCacheError(f"it does not hold just {' and '.join(_ARRAYS)}")
            arrays = {entry.name: _array(file, entry) for entry in header.tensors}
        names = (tuple(about[part]) for part in ("class_names", "groups", "splits", "domains"))
        read = ImageSet(about["name"], arrays["images"], arrays["class_of"], *names)
    except (MetaprobeError, OSError, ValueError, TypeError, MemoryError) as error:
        raise _DamagedCacheError(str(error).removeprefix(f"{visible(str(path))}: ")) from error
    if read.fingerprint != about["fingerprint"]:
        raise _DamagedCacheError("its content does not have its fingerprint")
    return read


def _array(file: BinaryIO, entry: TensorEntry) -> np.ndarray:
    """Read an array whose size the header has shown to fit in the file."""
    array = np.empty(entry.shape, np.dtype("<i8" if entry.dtype == "I64" else "u1"))
    file.seek(entry.offset)
    if file.readinto(array.reshape(-1).view(np.uint8).data) != entry.nbytes:  # type: ignore[attr-defined]
        raise ValueError(f"it ends inside {entry.name}")
    return array
