"""What is found where metaprobe runs, and what of it is wrong, with what to do about that."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import joblib
import psutil

from metaprobe.probe.doctor.importing import tried
from metaprobe.probe.doctor.packages import EXTRAS, Package, declared, own_version
from metaprobe.trainers.files import cache_folder
from metaprobe.trainers.tasks import DATA_ROOT_VARIABLE, DATASETS
from metaprobe.trainers.tasks.sources import data_root_or_default

__all__ = ["DataFound", "Diagnosis", "Extra", "Fact", "Problem", "diagnose"]

_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "CUDA_VISIBLE_DEVICES", DATA_ROOT_VARIABLE)
_LITTLE = 2 << 30  # bytes of memory: a study of small images takes one or two GB a process
_DRIVER = Path("/proc/driver/nvidia/version")


@dataclass(frozen=True)
class Extra:
    """An extra: what it is for, and which of its packages are not installed."""

    name: str
    purpose: str
    missing: tuple[str, ...]


@dataclass(frozen=True)
class Fact:
    """Something about the machine or the process, as words."""

    what: str
    value: str


@dataclass(frozen=True)
class DataFound:
    """A data set, or a folder of the data root that may be one, and where it is; "" where it is not there."""

    name: str
    kind: str
    where: str


@dataclass(frozen=True)
class Problem:
    """Something that is wrong, and what to do about it."""

    wrong: str
    remedy: str


@dataclass(frozen=True)
class Diagnosis:
    """All that was found."""

    version: str
    python: str
    packages: tuple[Package, ...]
    extras: tuple[Extra, ...]
    machine: tuple[Fact, ...]
    data: tuple[DataFound, ...]
    problems: tuple[Problem, ...]


def diagnose(data_root: Path | None = None, jobs: int = 1) -> Diagnosis:
    """Look around. Libraries are imported in another process, so that one that is broken is told and nothing else.

    Args:
        data_root: the folder of the data sets; None takes `METAPROBE_DATA`.
        jobs: how many processes are to run side by side with the threads of this environment.
    """
    packages = declared()
    errors, told = tried(tuple(package.module for package in packages if package.module))
    packages = tuple(replace(package, error=errors.get(package.module, "")) for package in packages)
    names = dict.fromkeys(package.extra for package in packages if package.extra)
    extras = tuple(Extra(name, EXTRAS.get(name, ""), _missing(packages, name)) for name in names)
    root = data_root_or_default(data_root)
    problems = (*_of_packages(packages, told), *_of_machine(told, jobs), *_of_folders(root))
    version, python = own_version(), platform.python_version()
    return Diagnosis(version, python, packages, extras, tuple(_facts(told)), tuple(_data(root)), problems)


def _missing(packages: tuple[Package, ...], extra: str) -> tuple[str, ...]:
    return tuple(one.name for one in packages if one.extra == extra and one.installed is None)


def _facts(told: dict[str, Any]) -> Iterator[Fact]:
    memory = psutil.virtual_memory()
    yield Fact("system", platform.platform())
    yield Fact("cores", f"{joblib.cpu_count()} for this process, {os.cpu_count()} in all")
    yield Fact("load, mean of a minute", f"{psutil.getloadavg()[0]:.1f}")
    yield Fact("memory", f"{memory.available / 1e9:.1f} GB free of {memory.total / 1e9:.1f} GB")
    yield Fact("threads of torch", str(told["torch"].get("threads", "unknown")))
    for one in told["blas"]:
        library = " ".join(filter(None, (one["internal_api"], one["version"])))
        yield Fact(f"threads of {library} ({one['user_api']})", str(one["num_threads"]))
    for name in _VARIABLES:
        yield Fact(name, os.environ.get(name, "not set"))
    yield Fact("CUDA of torch", told["torch"].get("cuda") or "none")
    for one in told["devices"]:
        yield Fact(f"device {one['name']}", f"{one['what']}, {one['bytes'] / 1e9:.1f} GB")
    yield Fact("cache", str(cache_folder()))


def _data(root: Path | None) -> Iterator[DataFound]:
    """Yield the data sets, by whether their folders are there, then other folders; nothing is opened or extracted."""
    taken = set[str]()
    for name, entry in DATASETS.items():
        if entry.folders:
            taken.update(entry.folders)
            there = [root / folder for folder in entry.folders if root is not None and _filled(root / folder)]
            yield DataFound(name, "data set", str(there[0]) if there else "")
    for folder in sorted(root.iterdir()) if root is not None and root.is_dir() else ():
        if folder.name not in taken and not folder.name.startswith(".") and _filled(folder):
            yield DataFound(folder.name, "folder: class_folder:PATH or mixture:NAME,…, if it has images", str(folder))


def _filled(folder: Path) -> bool:
    return folder.is_dir() and os.access(folder, os.R_OK | os.X_OK) and any(folder.iterdir())


def _of_packages(packages: tuple[Package, ...], told: dict[str, Any]) -> Iterator[Problem]:
    if not packages:
        yield Problem("metaprobe's own metadata are not installed, so what it needs is unknown", "pip install -e .")
    for one in packages:
        asked, of = f"pip install '{one.name}{one.wanted}'", f", of extra {one.extra}" if one.extra else ""
        if one.installed is None and not one.extra:
            yield Problem(f"{one.name} is not installed", asked)
        elif one.installed is not None and not one.fits:
            yield Problem(f"{one.name} {one.installed} is not {one.wanted}{of}", asked)
        elif one.error:
            again = f"pip install --force-reinstall '{one.name}{one.wanted}'"
            if one.name == "torchvision":  # what goes wrong most often
                again = "install the torchvision that belongs to this torch: both in one pip install, from one index"
            yield Problem(f"{one.name} {one.installed}{of} does not import: {one.error}", again)
    if "error" in told and not any(one.error for one in packages):
        yield Problem(
            f"threads and devices could not be looked at: {told['error']}", "install torch and threadpoolctl anew"
        )


def _of_machine(told: dict[str, Any], jobs: int) -> Iterator[Problem]:
    cores, memory = joblib.cpu_count(), psutil.virtual_memory()
    threads = max([told["torch"].get("threads", 1), *(one["num_threads"] or 1 for one in told["blas"])])
    if threads * jobs > cores:
        side = f"{jobs} processes × {threads} threads" if jobs > 1 else f"{threads} threads"
        each = max(1, cores // jobs)
        fewer = f" and at most {cores} processes" if jobs > cores else ""
        set_to = " ".join(f"{name}={each}" for name in _VARIABLES[:3])
        yield Problem(
            f"{side} on {cores} cores: they wait for one another",
            f"export {set_to}{fewer}; `metaprobe study --jobs N` takes one thread a process by itself",
        )
    if memory.available < _LITTLE * jobs:
        yield Problem(
            f"{memory.available / 1e9:.1f} GB of memory are free, for {jobs} process{'es' * (jobs > 1)}",
            "fewer --jobs, --chunk 1 or --gradient sweep take less",
        )
    if _DRIVER.exists() and not told["devices"]:
        yield Problem(
            "there is an NVIDIA driver, and torch sees no CUDA device",
            "install a build of torch for CUDA (pytorch.org says which), or look at CUDA_VISIBLE_DEVICES",
        )


def _of_folders(root: Path | None) -> Iterator[Problem]:
    if root is not None and not root.is_dir():
        yield Problem(f"the data root {root} is no folder", f"set {DATA_ROOT_VARIABLE}, or --data-root, to one that is")
    cache = cache_folder()
    nearest = next((folder for folder in (cache, *cache.parents) if folder.exists()), cache)
    if not (nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)):
        yield Problem(f"the cache {cache} cannot be written to", "set METAPROBE_CACHE to a folder that can")
