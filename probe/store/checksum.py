"""HDF5's Fletcher checksum, at several times the speed of the library's own loop."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8

__all__ = ["fletcher32"]

_GROUPS, _ROWS, _WORDS = 8, 32, 256  # a block of 65,536 words; its float32 copy stays in the cache
_BLOCK = _GROUPS * _ROWS * _WORDS
_MODULUS = 65535
_ONES = np.ones(_WORDS, dtype=np.float32)


def fletcher32(data: UInt8[np.ndarray, " byte"]) -> int:
    """Return the checksum that HDF5's fletcher32 filter stores after a chunk, low 16 bits first.

    With w_i the L big-endian 16-bit words: Σ w_i and Σ (L − i) w_i, both modulo 65535 (Fletcher 1982; `H5checksum.c`).
    A swap of bytes multiplies a word by 256 modulo 65535, so words are read as they lie and the sums turned afterwards.
    Row and column sums of blocks of words give both sums; each is below 2²⁴, so float32 holds it exactly and the
    products run in BLAS, in pieces too small for it to start threads.

    Args:
        data: an even number of bytes, contiguous.
    """
    words = data.view("<u2")
    length = len(words)
    blocks = -(-length // _BLOCK)
    rows = np.empty((blocks, _GROUPS, _ROWS), dtype=np.float32)
    columns = np.empty((blocks, _GROUPS, _WORDS), dtype=np.float32)
    block = np.zeros((_GROUPS, _ROWS, _WORDS), dtype=np.float32)
    flat = block.reshape(-1)
    for i in range(blocks):
        part = words[i * _BLOCK : (i + 1) * _BLOCK]
        flat[: len(part)] = part
        flat[len(part) :] = 0
        np.matmul(block, _ONES, out=rows[i])
        np.matmul(_ONES[:_ROWS], block, out=columns[i])
    sums = rows.reshape(-1).astype(np.uint64)
    total = int(sums.sum())
    places = _WORDS * int(sums @ np.arange(len(sums), dtype=np.uint64))
    places += int(columns.sum(axis=(0, 1), dtype=np.float64).astype(np.uint64) @ np.arange(_WORDS, dtype=np.uint64))
    return _folded(256 * (length * total - places)) << 16 | _folded(256 * total)


def _folded(value: int) -> int:
    """Return a sum as the library's end-around carry leaves it: 65535 in place of 0, unless all words were 0."""
    return (value % _MODULUS or _MODULUS) if value else 0
