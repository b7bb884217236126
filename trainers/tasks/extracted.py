"""Archives extracted into the cache, and extracted again where files of theirs were lost or changed since."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import warnings
from pathlib import Path

from metaprobe.trainers.files import cache_folder, write_text
from metaprobe.trainers.tasks.archives import extract
from metaprobe.trainers.tasks.cache import listing_key

__all__ = ["extracted"]

_LISTING = ".metaprobe-listing"  # beside the content; hidden, so that no loader takes it for data


def extracted(archive: Path) -> Path:
    """Return the folder that holds what is in an archive.

    Caches are cleaned by age, file by file, and data sets read whatever is there: a folder whose files are not those
    that were extracted is made again, with a warning.

    Raises:
        UnreadableInput: the archive is damaged or hostile.
        MetaprobeError: it cannot be extracted into the cache.
    """
    target = cache_folder() / "extracted" / listing_key([os.path.realpath(archive)])[:32]
    if target.is_dir():
        if _is_whole(target):
            return target
        warnings.warn(f"{target} no longer holds just what is in {archive}; extracting it again.", stacklevel=2)
        shutil.rmtree(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as room:
        made = Path(room) / "content"
        extract(archive, made)
        write_text(made / _LISTING, _listing(made))
        try:
            os.rename(made, target)
        except OSError:
            if not target.is_dir():  # else another process was faster
                raise
    return target


def _is_whole(folder: Path) -> bool:
    note = folder / _LISTING
    return note.is_file() and note.stat().st_size == 64 and note.read_bytes().decode("latin-1") == _listing(folder)


def _listing(folder: Path) -> str:
    """Return a digest of the names, sizes and times of all files below a folder."""
    lines = []
    for inside, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(inside, name)
            status = os.lstat(path)
            told = f"\0{status.st_size}\0{status.st_mtime_ns}\n"
            if name != _LISTING:
                lines.append(os.fsencode(os.path.relpath(path, folder) + told))
    return hashlib.sha256(b"".join(sorted(lines))).hexdigest()
