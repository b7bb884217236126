"""Where a data set may come from: the request of a user, the data root, and the errors for what is not there."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metaprobe.trainers.config import Colour
from metaprobe.trainers.errors import MetaprobeError, UnreadableInput

__all__ = ["DATA_ROOT_VARIABLE", "DataRequest", "Dataset"]

DATA_ROOT_VARIABLE = "METAPROBE_DATA"


@dataclass(frozen=True)
class DataRequest:
    """What a user asks a loader for.

    Attributes:
        dataset: the data set's name.
        argument: what stood after the colon of `name:argument`, or "".
        root: the folder that holds the data sets, or None where none was named.
        image_size: height = width to resize to, in pixels; None for the set's own.
        download: whether the loader may fetch what is missing.
        colour: what the images will be turned into; loaders need not look, but one that joins sets saves room by it.
    """

    dataset: str
    argument: str = ""
    root: Path | None = None
    image_size: int | None = None
    download: bool = False
    colour: Colour | None = None

    def root_for_download(self) -> Path:
        """Return the data root, which a download needs to have somewhere to write.

        Raises:
            MetaprobeError: where no data root was named.
        """
        if self.root is None:
            raise MetaprobeError(
                f"cannot download {self.dataset!r}: no data root. Pass --data-root FOLDER or set {DATA_ROOT_VARIABLE}."
            )
        return self.root

    def missing(self, what: str, places: Sequence[Path]) -> UnreadableInput:
        """Build the error for data that are not there: what was looked for, where, and the command that gets it."""
        get = f"metaprobe train maml --data {self.dataset} --data-root {self.root or 'FOLDER'} --download"
        if self.root is None:
            return UnreadableInput(
                f"data set {self.dataset!r}: no data root, so nowhere to look for {what}. "
                f"Pass --data-root FOLDER or set {DATA_ROOT_VARIABLE}; to fetch it: {get}"
            )
        tried = ", ".join(str(place) for place in places)
        return UnreadableInput(
            f"data set {self.dataset!r}: looked for {what} in {tried}; not found. Fetch it with: {get}"
        )


@dataclass(frozen=True)
class Dataset:
    """An entry of the registry of data sets.

    Attributes:
        name: how the set is named in `--data`.
        load: makes the ImageSet.
        summary: one line for `metaprobe list datasets`.
        source: who made the data, to be cited.
        licence: under which terms the data may be used.
        images: whether it is an ImageSet; if not, a `trainers.tasks.data.TaskSet`.
        folders: of the data root, any of which has it; none for a set that needs no data root.
        argument: what comes after its name, as in class_folder:PATH; "" for a set that takes nothing.
    """

    name: str
    load: Callable[[DataRequest], Any]
    summary: str
    source: str
    licence: str
    images: bool = True
    folders: tuple[str, ...] = ()
    argument: str = ""


def data_root_or_default(given: Path | str | None) -> Path | None:
    """Return the data root that was given, else that of `METAPROBE_DATA`, else None."""
    chosen = given or os.environ.get(DATA_ROOT_VARIABLE)
    return Path(chosen).expanduser().absolute() if chosen else None  # absolute, since paths are part of cache keys
