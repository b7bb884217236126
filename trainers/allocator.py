"""The C library's memory allocator, told to keep what is freed."""

from __future__ import annotations

import ctypes
import platform

__all__ = ["give_back_freed_memory", "keep_freed_memory"]

# Names and values of <malloc.h>.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX, _ARENA_MAX = -1, -2, -4, -8
_SETTINGS = {_MMAP_MAX: 0, _TRIM_THRESHOLD: 2**31 - 1, _TOP_PAD: 2**28, _ARENA_MAX: 1}

_HUGE_PAGE, _ADVICE = 2**21, 14  # MADV_HUGEPAGE of <sys/mman.h>
_RESERVED = 2**30  # addresses for the heap to grow into, in huge pages; memory is taken as they are written to


def keep_freed_memory() -> bool:
    """Tell glibc to keep freed memory in the process instead of giving it back and fetching it again, zeroed.

    Training frees and takes the same large blocks in every inner step; with glibc's own settings fetching them anew was
    measured to take up to a third of the time. The process then stays as large as it ever was. See mallopt(3).

    The first GiB is asked for in huge pages, where the system has any (madvise(2)): a tenth of the time went into
    finding the pages of maps that are read from end to end.

    Returns:
        Whether it was done; elsewhere than on Linux with glibc, nothing is.
    """
    if not _kept_here():
        return False
    library = ctypes.CDLL(None)
    kept = all([library.mallopt(option, value) == 1 for option, value in _SETTINGS.items()])
    if kept:
        _ask_for_huge_pages(library)
    return kept


def _ask_for_huge_pages(library: ctypes.CDLL) -> None:
    """Let the heap grow once, and ask for huge pages where it did; what the system refuses is as it was before."""
    library.malloc.restype, library.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    library.free.argtypes, library.madvise.argtypes = (
        [ctypes.c_void_p],
        [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int],
    )
    start = library.malloc(_RESERVED)
    if start is None:
        return
    library.free(start)  # with the settings above it stays part of the heap
    first = -(-start // _HUGE_PAGE) * _HUGE_PAGE
    library.madvise(first, (start + _RESERVED - first) // _HUGE_PAGE * _HUGE_PAGE, _ADVICE)


def give_back_freed_memory() -> None:
    """Give the system what is free, of a process that goes on to other work; see malloc_trim(3).

    Where `keep_freed_memory` keeps nothing, nothing is done.
    """
    if _kept_here():
        ctypes.CDLL(None).malloc_trim(0)


def _kept_here() -> bool:
    """Tell whether this is Linux with glibc."""
    return platform.system() == "Linux" and platform.libc_ver()[0] == "glibc"
