"""The distributions that metaprobe declares, needed and of its extras, and which of them are here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, metadata, packages_distributions, version

from packaging.requirements import Requirement

__all__ = ["EXTRAS", "Package", "declared", "own_version"]

EXTRAS = {
    "bench": "timings beside higher and torchopt (python -m pytest tests/benchmarks)",
    "dask": "study --scheduler local:N, tcp://HOST:PORT",
    "dev": "tests, linters, types: make test",
    "docs": "make docs",
    "hub": "push, pull: the Hugging Face Hub",
    "parquet": "--data parquet:PATH",
    "slurm": "study --scheduler slurm",
    "tensorboard": "train --tensorboard",
    "timm": "--network timm:NAME",
    "zstd": "capture --raw with zstd",
}
"""What each extra is for."""

_WORKSHOP = frozenset({"bench", "dev", "docs"})  # whose packages no command imports


@dataclass(frozen=True)
class Package:
    """A distribution that metaprobe declares.

    Attributes:
        name: of the distribution.
        wanted: which versions, as declared; "" for any.
        extra: of which it is; "" for one that is always needed.
        installed: its version here; None where it is not.
        fits: whether that version is wanted.
        module: what is imported of it; "" for one that is only a tool of the workshop.
        error: why importing that fails; "" where it does not.
    """

    name: str
    wanted: str
    extra: str
    installed: str | None
    fits: bool
    module: str = ""
    error: str = ""

    @property
    def state(self) -> str:
        """A word or two: "fine", "not installed", "too old or new", "does not import"."""
        if self.installed is None:
            return "not installed"
        return "does not import" if self.error else "fine" if self.fits else "too old or new"


def own_version() -> str:
    """Return metaprobe's version; "unknown" where it runs from a folder that was never installed."""
    try:
        return version("metaprobe")
    except PackageNotFoundError:
        return "unknown"


def declared() -> tuple[Package, ...]:
    """Return what metaprobe's metadata declare, the needed first; nothing where it was never installed.

    A package that several extras have stands with the first of them, one that is needed with no extra.
    """
    found: dict[str, Package] = {}
    for package in _all():
        found.setdefault(package.name, package)
    return tuple(found.values())


def _all() -> Iterator[Package]:
    try:
        about = metadata("metaprobe")
    except PackageNotFoundError:
        return
    wanted = [Requirement(text) for text in about.get_all("Requires-Dist") or ()]
    homes: dict[str, list[str]] = {}
    for module, owners in packages_distributions().items():
        for owner in owners:
            homes.setdefault(_plain(owner), []).append(module)
    extras = sorted(about.get_all("Provides-Extra") or (), key=lambda name: (name in _WORKSHOP, name))
    for extra in ("", *extras):
        for one in wanted:
            needed = one.marker is None or one.marker.evaluate({"extra": ""})
            mine = not needed and one.marker is not None and one.marker.evaluate({"extra": extra}) if extra else needed
            if mine and _plain(one.name) != "metaprobe":
                module = "" if extra in _WORKSHOP else _module(one.name, homes.get(_plain(one.name), []))
                yield _found(one, extra, module)


def _found(wanted: Requirement, extra: str, module: str) -> Package:
    which = str(wanted.specifier)
    try:
        here = version(wanted.name)
    except PackageNotFoundError:
        return Package(wanted.name, which, extra, None, False)
    return Package(wanted.name, which, extra, here, wanted.specifier.contains(here, prereleases=True), module)


def _module(name: str, modules: list[str]) -> str:
    """Return what is imported of a distribution: the module of its name, else the first that is public."""
    named = next((module for module in modules if _plain(module) == _plain(name)), "")
    return named or min((module for module in modules if not module.startswith("_")), default=name)


def _plain(name: str) -> str:
    return name.lower().replace("-", "_").replace(".", "_")
