"""Decoded image sets kept on disk, so that the second load takes less than a second.

A cached set is one safetensors file (nothing is ever unpickled) whose metadata hold the names and the set's
fingerprint; a file whose content does not have that fingerprint is damaged, and is made again.
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from trainers.errors import MetaprobeError
from trainers.files import cache_folder, replacing
from trainers.tasks.imageset import ImageSet

__all__ = ["cached_imageset", "listing_key"]

_FORMAT = 1


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

    A cached file that is damaged is made again with a warning, and so is one that cannot be written: the set itself
    is right in both cases.

    Args:
        name: what the set is called; begins the file name.
        key: changes with everything that decides the content.
        make: makes the set.
    """
    path = cache_folder() / "imagesets" / f"{name}-{key[:32]}.safetensors"
    if path.exists():
        try:
            return _read(path)
        except _DamagedCacheError as error:
            warnings.warn(f"cached image set {path} is damaged ({error}); making it again.", stacklevel=2)
    made = make()
    try:
        _write(path, made)
    except OSError as error:
        warnings.warn(f"image set {name!r} could not be cached in {path} ({error}).", stacklevel=2)
    return made


class _DamagedCacheError(Exception):
    """A cached file that does not hold what was written."""


def _write(path: Path, made: ImageSet) -> None:
    from safetensors.numpy import save_file

    about = {
        "format": _FORMAT,
        "name": made.name,
        "fingerprint": made.fingerprint,
        "class_names": made.class_names,
        "groups": made.groups,
        "splits": made.splits,
        "domains": made.domains,
    }
    with replacing(path) as temporary:
        arrays = {"images": made.images, "class_of": made.class_of}
        save_file(arrays, temporary, metadata={"metaprobe": json.dumps(about, sort_keys=True)})


def _read(path: Path) -> ImageSet:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            about = json.loads((file.metadata() or {})["metaprobe"])
            if about["format"] != _FORMAT:
                raise _DamagedCacheError(f"format {about['format']}, expected {_FORMAT}")
            read = ImageSet(
                about["name"],
                np.ascontiguousarray(file.get_tensor("images")),
                file.get_tensor("class_of"),
                tuple(about["class_names"]),
                tuple(about["groups"]),
                tuple(about["splits"]),
                tuple(about.get("domains", ())),
            )
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, MetaprobeError) as error:
        raise _DamagedCacheError(f"{type(error).__name__}: {error}") from error
    if read.fingerprint != about["fingerprint"]:
        raise _DamagedCacheError("its content does not have its fingerprint")
    return read
