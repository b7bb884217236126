"""Checksums of a store's values, by the parts in which they are read. No torch."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable

import numpy as np
from jaxtyping import UInt32

from metaprobe.probe.store.schema import DatasetSpec

__all__ = ["Checksums", "DamagedValuesError", "digest_of"]


class DamagedValuesError(ValueError):
    """Values are not those that were written."""


class Checksums:
    """A CRC-32 of every part of every dataset, in one array: what a store keeps in `checks/crc32`.

    A part is what is read at once: a whole dataset, or one entry along its first axes (`DatasetSpec.parts`). The CRC is
    of the values as little-endian bytes, so it holds whatever HDF5 did with them; a lost chunk, which reads as zeros,
    is noticed, as is any change of up to 32 bits in a row.

    Args:
        specs: the datasets of the store, as `schema` gives them.
        values: of a store that is read; without them, those of one that is to be written.
    """

    def __init__(self, specs: Iterable[DatasetSpec], values: UInt32[np.ndarray, " part"] | None = None) -> None:
        self._specs = {spec.path: spec for spec in specs if spec.is_checked}
        sizes = [spec.n_parts for spec in self._specs.values()]
        self._places = dict(zip(self._specs, np.cumsum([0, *sizes]).tolist(), strict=False))
        self.values = np.zeros(sum(sizes), dtype=np.uint32) if values is None else values

    def add(self, path: str, values: np.ndarray, part: tuple[int, ...] = ()) -> np.ndarray:
        """Take note of values that are written, and return them as they are stored.

        Those of a dataset of one part may come in pieces, in their order.
        """
        stored = np.asarray(values, dtype=self._specs[path].dtype, order="C")
        place = self._place(path, part)
        before = 0 if self._specs[path].parts else int(self.values[place])
        self.values[place] = _crc32(stored, before)
        return stored

    def verify(self, path: str, values: np.ndarray, part: tuple[int, ...] = ()) -> None:
        """Check values that were read.

        Raises:
            DamagedValuesError: they are not those that were written.
        """
        if path in self._specs and _crc32(values) != self.values[self._place(path, part)]:
            raise DamagedValuesError(f"{path}{list(part) or ''}: the values are not those that were written (CRC-32)")

    def _place(self, path: str, part: tuple[int, ...]) -> int:
        sizes = self._specs[path].shape[: self._specs[path].parts]
        return self._places[path] + (int(np.ravel_multi_index(part, sizes)) if sizes else 0)


def digest_of(metadata: bytes, crc32: UInt32[np.ndarray, " part"]) -> str:
    """Return the SHA-256 of what a store says about itself and of its checksums, as 64 hexadecimal digits."""
    return hashlib.sha256(metadata + np.asarray(crc32, dtype="<u4").tobytes()).hexdigest()


def _crc32(values: np.ndarray, before: int = 0) -> int:
    return zlib.crc32(np.ascontiguousarray(values).reshape(-1).view(np.uint8).data, before)
