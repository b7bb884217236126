"""The C library's memory allocator, told to keep what is freed."""

from __future__ import annotations

import ctypes
import platform
import threading

__all__ = ["give_back_freed_memory", "keep_freed_memory", "reserve_for_thread"]

# Names and values of <malloc.h>.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
_SETTINGS = {_MMAP_MAX: 0, _TRIM_THRESHOLD: 2**31 - 1, _TOP_PAD: 2**28}

_HUGE_PAGE, _ADVICE = 2**21, 14  # MADV_HUGEPAGE of <sys/mman.h>
_RESERVED = 2**30  # addresses for the heap to grow into, in huge pages; memory is taken as they are written to
_OF_A_THREAD = (2**26 - 2**16,) * 4  # the same for a thread, whose arena grows by heaps of 64 MiB on 64-bit systems
_MOST_THREADS = 64  # that are given such; later ones take over the arenas of those that have ended, or do without

# Of this process, as the allocator's settings are: whether it keeps what is freed, and threads to be given such yet.
_keeps = threading.Event()
_threads_left = threading.Semaphore(_MOST_THREADS)


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
    if kept := all([library.mallopt(option, value) == 1 for option, value in _SETTINGS.items()]):
        _keeps.set()
        _ask_for_huge_pages((_RESERVED,))
    return kept


def reserve_for_thread() -> None:
    """Ask for huge pages for what the calling thread will take, where freed memory is kept.

    Each thread has an arena of its own, as two that share one wait for each other: on two cores that took 4 to 20 % of
    an iteration. An arena has no huge pages by itself; beyond the first 256 MiB it does without.
    """
    if _keeps.is_set() and _threads_left.acquire(blocking=False):
        _ask_for_huge_pages(_OF_A_THREAD)


def _ask_for_huge_pages(sizes: tuple[int, ...]) -> None:
    """Let the heap grow once by some blocks, and ask for huge pages there; what is refused is as it was before."""
    library = ctypes.CDLL(None)
    library.malloc.restype, library.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    library.free.argtypes = [ctypes.c_void_p]
    library.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    blocks = [(start, size) for size in sizes if (start := library.malloc(size)) is not None]
    for start, size in blocks:  # and what else lies in their first and last huge page
        first, last = start // _HUGE_PAGE, -(-(start + size) // _HUGE_PAGE)
        library.madvise(first * _HUGE_PAGE, (last - first) * _HUGE_PAGE, _ADVICE)
    for start, _ in blocks:
        library.free(start)  # with the settings above it stays part of the heap


def give_back_freed_memory() -> None:
    """Give the system what is free, of a process that keeps freed memory and goes on to other work; see malloc_trim(3).

    The heap shrinks by that, and what it grows by again is asked for in huge pages anew.
    """
    if _keeps.is_set():
        ctypes.CDLL(None).malloc_trim(0)
        _ask_for_huge_pages((_RESERVED,))


def _kept_here() -> bool:
    """Tell whether this is Linux with glibc."""
    return platform.system() == "Linux" and platform.libc_ver()[0] == "glibc"
