"""Mutants: which file is changed how, decided by a seed, applied, and made smaller."""

from __future__ import annotations

import random
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

Mutator = Callable[[Path, random.Random, int], str]
"""Changes the file at a path; how is drawn from the generator, how much is at most the size. Returns what it did."""

_MOST = 64 << 20  # bytes of a file that is mutated again
_SIZED = ("bytes.", "hdf5.values")  # mutators for which the size means something
SIZES = (1, 1, 2, 8, 64, 512, 4096)


class Inapplicable(Exception):
    """A mutator can do nothing with this file."""


@dataclass(frozen=True)
class Mutation:
    """One change: of which file, by which mutator (family.name), with which seed and size."""

    file: str
    mutator: str
    seed: int
    size: int

    def __str__(self) -> str:
        return f"{self.mutator} {self.file} (seed {self.seed}, size {self.size})"


Targets = tuple[tuple[str, tuple[str, ...]], ...]
"""Globs below a subject's folder, and the families of mutators that fit the files which match."""


def drawn(
    seed: int, subject: str, folder: Path, targets: Targets, families: Mapping[str, Mapping[str, Mutator]]
) -> tuple[Mutation, ...]:
    """Return the mutations of a mutant: mostly one, at times two or three."""
    rng = random.Random(f"{subject}:{seed}")
    found = [(sorted(p.relative_to(folder).as_posix() for p in folder.glob(glob)), kinds) for glob, kinds in targets]
    mutations = []
    for _ in range(rng.choices((1, 2, 3), (8, 1, 1))[0]):
        files, kinds = rng.choice(found)
        family = rng.choice(kinds)
        name = rng.choice(sorted(families[family]))
        mutations.append(Mutation(rng.choice(files), f"{family}.{name}", rng.getrandbits(32), rng.choice(SIZES)))
    # The library of HDF5 opens what it edits, so it comes before what it could not open.
    return tuple(sorted(mutations, key=lambda one: not one.mutator.startswith("hdf5")))


_LEFT_ALONE = (Inapplicable, FileNotFoundError, IsADirectoryError, NotADirectoryError)


def apply(
    mutations: tuple[Mutation, ...], clean: Path, place: Path, families: Mapping[str, Mapping[str, Mutator]]
) -> list[str]:
    """Make a mutant: a copy of the clean folder with the mutations done to it; return what each did."""
    remove(place)
    shutil.copytree(clean, place, symlinks=True)
    done, touched = [], set[str]()
    for one in mutations:
        family, _, name = one.mutator.partition(".")
        try:
            _check(place / one.file)
            done.append(f"{one.file}: {families[family][name](place / one.file, random.Random(one.seed), one.size)}")
        except Exception as error:  # a mutator reads what it changes, and may find anything after another one
            if one.file not in touched and not isinstance(error, _LEFT_ALONE):
                raise
            done.append(f"{one.file}: nothing, for what was done to it before")
        touched.add(one.file)
    return done


def _check(path: Path) -> None:
    """Refuse to mutate what an earlier mutation made into something that cannot be read in a moment."""
    status = path.lstat()
    if not stat.S_ISREG(status.st_mode) or status.st_size > _MOST:
        raise Inapplicable


def remove(place: Path) -> None:
    """Remove a folder, whatever a mutant made of it."""
    if place.is_symlink() or place.is_file():
        place.unlink()
    elif place.exists():
        shutil.rmtree(place)


def smaller(mutations: tuple[Mutation, ...]) -> Iterator[tuple[Mutation, ...]]:
    """Yield mutants with less done to them, the smallest first."""
    if len(mutations) > 1:
        for place in range(len(mutations)):
            yield (mutations[place],)
        for place in range(len(mutations)):
            yield mutations[:place] + mutations[place + 1 :]
    for place, one in enumerate(mutations):
        if not one.mutator.startswith(_SIZED):
            continue
        for size in (size for size in dict.fromkeys(SIZES) if size < one.size):
            yield (*mutations[:place], replace(one, size=size), *mutations[place + 1 :])


def minimised(
    mutations: tuple[Mutation, ...], still: Callable[[tuple[Mutation, ...]], bool], tries: int = 20
) -> tuple[Mutation, ...]:
    """Return fewer or smaller mutations of which `still` holds, in at most so many tries."""
    seen = set()
    while True:
        for candidate in smaller(mutations):
            if candidate in seen:
                continue
            seen.add(candidate)
            if len(seen) > tries:
                return mutations
            if still(candidate):
                mutations = candidate
                break
        else:
            return mutations
