"""Arguments and output that several commands share."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from metaprobe.probe.cli.tables import readable
from metaprobe.probe.show import Grid, as_json, show, write_line
from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.files import refuse_special
from metaprobe.trainers.formats.text import visible
from metaprobe.trainers.otherwise import OtherImages, Otherwise

if TYPE_CHECKING:
    from metaprobe.analyses.table import Table
    from metaprobe.reports.blocks.declared import Figure
    from metaprobe.trainers.config import TrainConfig
    from metaprobe.trainers.tasks import Data, ImageSet

__all__ = [
    "GIVEN",
    "CheckpointPath",
    "CheckpointPaths",
    "Csv",
    "DataRoot",
    "DataSet",
    "Device",
    "FigureFile",
    "Flag",
    "InnerSteps",
    "Json",
    "Network",
    "OtherImagesAsked",
    "OtherwiseAsked",
    "at_least_one",
    "check_outputs",
    "comma_separated",
    "finish",
    "load_data",
    "load_images",
    "option_in",
    "show_table",
    "told",
    "warn_of_few",
]

GIVEN: ContextVar[tuple[str, ...]] = ContextVar("GIVEN", default=())
"""The command line as it was given, for a command that starts itself in other processes."""

# help_behavior_hint: what tyro would write there, "(default: None)", says nothing; the default is told in words
Flag = Annotated[tyro.conf.FlagCreatePairsOff[bool], tyro.conf.arg(help_behavior_hint="")]
CheckpointPath = Annotated[
    tyro.conf.Positional[Path], tyro.conf.arg(metavar="CHECKPOINT", help="A checkpoint, *.safetensors, or a run.")
]
CheckpointPaths = Annotated[
    tyro.conf.Positional[tuple[Path, ...]],
    tyro.conf.arg(
        metavar="CHECKPOINT…", help="Checkpoints, *.safetensors, or runs.", help_behavior_hint="(at least one)"
    ),
]
DataRoot = Annotated[
    Path | None,
    tyro.conf.arg(
        metavar="FOLDER",
        help="Folder of the data sets",
        help_behavior_hint="(default: the environment's METAPROBE_DATA)",
    ),
]
Csv = Annotated[
    Path | None,
    tyro.conf.arg(metavar="FILE.csv", help="Also write the table there, all columns.", help_behavior_hint=""),
]
FigureFile = Annotated[Path | None, tyro.conf.arg(metavar="FILE.{svg,pdf,png}", help_behavior_hint="")]
DataSet = Annotated[
    str | None,
    tyro.conf.arg(
        metavar="SET",
        help="glyphs, patterns, shapes, omniglot, cifar_fs, class_folder:PATH, parquet:PATH, mixture:NAME,NAME…, "
        "sinusoid, tasks:FILE.npz",
        help_behavior_hint="(default: what the checkpoint was trained on)",
    ),
]
Network = Annotated[
    str | None,
    tyro.conf.arg(
        metavar="NETWORK",
        help="conv4, resnet12, torchvision:NAME, timm:NAME, or package.module:factory of your own code, which no file "
        "can name: for a checkpoint of such a network, every command must.",
        help_behavior_hint="(default: what the file says, unless that is code of yours)",
    ),
]
InnerSteps = Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="(default: as in training)")]
Device = Annotated[str, tyro.conf.arg(metavar="DEVICE", help="cpu, cuda, cuda:1 …")]
Json = Annotated[
    tyro.conf.FlagCreatePairsOff[bool],
    tyro.conf.arg(name="json", help="Write JSON instead of a table.", help_behavior_hint=""),
]

OtherImagesAsked = Annotated[OtherImages, tyro.conf.arg(name="")]
OtherwiseAsked = Annotated[Otherwise, tyro.conf.arg(name="")]


def at_least_one(given: Sequence[object], what: str) -> None:
    """Refuse a command that was given nothing to work on.

    Raises:
        MetaprobeError: `given` is empty.
    """
    if not given:
        raise MetaprobeError(f"give at least one {what}; got none")


def check_outputs(outputs: Sequence[Path | None], inputs: Sequence[Path] = (), figure: Path | None = None) -> None:
    """Refuse, before anything is done, files to write that are no files, are read too, or are one file.

    Args:
        outputs: files that are to be written; None for what is not asked for.
        inputs: files that are read.
        figure: one more to write, as what its name's ending says; None for none.

    Raises:
        MetaprobeError: one of them may not be written.
    """
    read, taken = {os.path.realpath(path) for path in inputs}, set[str]()  # `Path.resolve` raises of a link to itself
    for path in (path for path in (*outputs, figure) if path is not None):
        refuse_special(path)
        if (place := os.path.realpath(path)) in read | taken:
            told = "this command reads it" if place in read else "two tables or figures are to be written there"
            raise MetaprobeError(f"{path} would be overwritten: {told}; name another file to write")
        taken.add(place)
    if figure is not None and figure.suffix.lower() not in (".svg", ".pdf", ".png"):
        raise MetaprobeError(
            f"--figure writes SVG, PDF or PNG by the file's ending, .svg, .pdf or .png; got {figure.name}"
        )


def comma_separated(text: str) -> tuple[str, ...]:
    """Return the words of "conv1,conv2"; none for an empty text.

    Raises:
        MetaprobeError: a word comes more than once.
    """
    words = tuple(word.strip() for word in text.split(",") if word.strip())
    if twice := [word for word in dict.fromkeys(words) if words.count(word) > 1]:
        raise MetaprobeError(f"{visible(text)} has {visible(', '.join(twice))} more than once; name each once")
    return words


def load_data(
    config: TrainConfig,
    data: str | None,
    data_root: Path | None,
    download: bool = False,
    images: OtherImages | None = None,
) -> Data:
    """Return the data that `--data` names, else the run's own; images in the run's size and colour or others."""
    from metaprobe.trainers.tasks import load_data_for

    if not (data or config.data):
        raise MetaprobeError("the checkpoint does not say what it was trained on; name a data set with --data")
    size, colour = (None, None) if images is None else (images.image_size, images.colour)
    return load_data_for(config, data, data_root, download, size, colour)


def load_images(
    config: TrainConfig, data: str | None, data_root: Path | None, images: OtherImages | None = None
) -> ImageSet:
    """Return what `load_data` does, of images alone."""
    from metaprobe.trainers.tasks import load_for

    size, colour = (None, None) if images is None else (images.image_size, images.colour)
    return load_for(config, data, data_root, False, size, colour)


def option_in(arguments: Sequence[str], flag: str) -> str | None:
    """Return the value of an option that decides what the others are, before they are parsed; None where it is not.

    Args:
        arguments: the command line.
        flag: as it is given, "--preset".
    """
    found = None
    for word, following in itertools.pairwise([*arguments, ""]):
        if word == flag and following:
            found = following
        elif word.startswith(f"{flag}="):
            found = word.removeprefix(f"{flag}=")
    return found


def told(name: str) -> bool:
    """Return whether the command line names an option, or its opposite, by the name of its argument."""
    flag = name.replace("_", "-")
    words = (word.partition("=")[0].replace("_", "-") for word in GIVEN.get())
    return any(word in (f"--{flag}", f"--no-{flag}") for word in words)


def show_table(table: Table, title: str, json_wanted: bool) -> None:
    """Write a result table: for people on a terminal, as TSV in a pipe, as JSON when asked for."""
    columns = table.used_columns()
    if json_wanted:
        write_line(as_json([{name: getattr(row, name) for name in columns} for row in table.rows]))
        return
    if sys.stdout is not None and sys.stdout.isatty():
        show(readable(table, title))
        return
    rows = tuple(tuple(getattr(row, name) for name in columns) for row in table.rows)
    show((Grid(title, columns, rows),))


def warn_of_few(tasks: int) -> None:
    """Warn where an interval is over so few tasks that it is rough, or of one and there is none."""
    from metaprobe.trainers.intervals import too_few

    if told := "there is no interval over one task" if tasks == 1 else too_few(tasks):
        sys.stderr.write(f"warning: {told}\n")


def finish(
    tables: Sequence[Table],
    title: str,
    csv: Path | None,
    json: bool,
    figure: Path | None = None,
    drawn: Callable[[Table], Figure] | None = None,
) -> int:
    """Write the rows of tables to a file, where one is asked for, show them, and draw them; return the exit status.

    Args:
        tables: the rows.
        title: of the table that is shown.
        csv: the file for rows.
        json: whether they are shown as JSON.
        figure: the file for a figure; None for none.
        drawn: makes the figure of them.

    Raises:
        MetaprobeError: a figure is asked for, and there is no number to draw; rows are shown all the same.
    """
    from metaprobe.analyses.table import Table

    table = sum(tables, Table())
    if csv:
        table.write_csv(csv)
    show_table(table, title, json)
    if figure is not None and drawn is not None:
        from metaprobe.probe.cli.figures.writing import write_figure

        write_figure(drawn(table), figure)
    return 0
