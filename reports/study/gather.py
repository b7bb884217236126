"""From what the steps left to the one table of a study, and to what its page says of how it was made."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from metaprobe.analyses.measurements import TEST_QUERIES
from metaprobe.analyses.table import Row, Table
from metaprobe.reports.made import Differs, Made, Trained
from metaprobe.reports.study.cache import Measuring
from metaprobe.reports.study.engine import Results
from metaprobe.reports.study.plan import Planned, Run
from metaprobe.reports.study.study import Options, Study
from metaprobe.trainers.adapt import layers_of
from metaprobe.trainers.checkpoint import Checkpoint, load_checkpoint
from metaprobe.trainers.config import TrainConfig, to_mapping
from metaprobe.trainers.errors import UnreadableInput
from metaprobe.trainers.files import sha256_of
from metaprobe.trainers.formats.tensor_names import is_statistic
from metaprobe.trainers.run import CHECKPOINT_NAMES
from metaprobe.trainers.tasks.imageset import SPLITS, ImageSet

__all__ = ["against_paper", "gathered", "made_of", "shown_config"]

_EMBEDDED = ("glyphs", "patterns", "shapes")
# options that change what is computed, or on what, not under which conditions; the data have a line of their own
_OURS = ("preset", "data", "chunk", "device", "val_tasks", "replicates", "permutations", "rounds", "bound_tasks")
_OURS += ("symmetric", "baselines", "image_size", "colour")
# of a training elsewhere: settings that an imported checkpoint was told, and options that it does not know
_KNOWN = ("algorithm", "data", "n_way", "n_shot", "seed", "inner_lr", "inner_steps", "norm", "adapt_norm", "image_size")
_KNOWN += ("colour", "filters", "blocks", "downsample", "norm_affine", "norm_epsilon", "head_input")
_UNKNOWN = ("iterations", "meta_batch", "n_query", "schedule", "like")
_ELSEWHERE = Differs("training", "as in the paper", "elsewhere: its steps, tasks and rates are not known here")


def gathered(runs: Sequence[Run], results: Results) -> Table:
    """Return everything that was measured on runs that have ended, each row with the learner that it is of."""
    places, keys = {run.folder: run for run in runs}, {run.learner.key: run for run in runs}
    rows: list[Row] = []
    for work in _measured(results):
        run = places[work.folder]
        found = (_named(row, run) for row in work.table().rows)
        body = run.learner.head_of
        rows += _of_body(found, run, keys[body]) if body else found
    return Table.of(map(_untrained, rows))


def _measured(results: Results) -> Iterator[Measuring]:
    return (work for work in results.works() if isinstance(work, Measuring))


def _named(row: Row, run: Run) -> Row:
    """Return a row with its learner: the run's, or the untrained network that was tested beside it."""
    if run.imported:  # which has no steps that anyone told: here they order it after what it began with
        last = run.config.iterations
        if row.checkpoint and row.iteration is None:
            row = dataclasses.replace(row, iteration=last)
        if row.other_checkpoint and row.other_iteration is None:
            row = dataclasses.replace(row, other_iteration=last)
    if row.learner is None and row.algorithm in (run.config.algorithm, "random"):
        own = row.algorithm == run.config.algorithm
        return dataclasses.replace(row, learner=run.learner.key if own else "random")
    return row


def _of_body(rows: Iterable[Row], head: Run, body: Run) -> Iterator[Row]:
    """Yield what was measured on a head as rows of its body; of the NIL head the body's own run has the same."""
    source, config = f"{head.config.algorithm} of {head.config.iterations} iterations", body.config
    own = {"learner": body.learner.key, "algorithm": config.algorithm, "iteration": config.iterations}
    for row in rows:
        if row.head != "nil":
            called = "maml" if row.head == "own" else row.head
            yield dataclasses.replace(row, seed=head.seed, head=called, source=source, **own)


def _untrained(row: Row) -> Row:
    """A network that is never trained has taken no steps, whatever its run counts."""
    row = dataclasses.replace(row, iteration=0) if row.algorithm == "random" and row.iteration else row
    return dataclasses.replace(row, other_iteration=0) if row.other_algorithm == "random" else row


def made_of(planned: Planned, results: Results, commands: Sequence[str]) -> Made:
    """Return what made a study: its runs that have ended, the first of which says way, shot, steps and network."""
    runs, images = planned.runs, planned.images
    config, last, measured = runs[0].config, load_checkpoint(runs[0].checkpoint()), [*_measured(results)]
    labels, read = {run.folder: run.label for run in runs}, {one.path for work in measured for one in work.inputs}
    kept = [(run, name) for run in runs for name in CHECKPOINT_NAMES if name == "last" or run.checkpoint(name) in read]
    stores = [(f"{labels[work.folder]}/{work.file.stem}", work) for work in measured if work.captures]
    configs = [(run, to_mapping(shown_config(run)).items()) for run in runs]
    same: dict[str, Any] = {name: getattr(config, name) for name in ("n_way", "n_shot", "n_query", "inner_lr")}
    return Made(
        **same,
        study=planned.study.name,
        data=images.name,
        data_facts=_facts(images, last, measured),
        test_queries=TEST_QUERIES,
        trained_steps=config.inner_steps,
        test_steps=getattr(planned.options, "test_steps", 0),
        differs=against_paper(planned.study, planned.options, any(run.imported for run in runs)),
        layers=layers_of(last.network()),
        learners=tuple(_learner(run) for run in {run.learner.key: run for run in runs}.values()),
        commands=tuple(commands),
        # (the rest of the config of an import are defaults)
        configs=tuple((r.label, k, str(v)) for r, told in configs for k, v in told if not r.imported or k in _KNOWN),
        checkpoints=tuple((f"{run.label}/{name}", _fingerprint(run.checkpoint(name))) for run, name in kept),
        versions=tuple((name, str(last.provenance[name])) for name in ("metaprobe", "python", "torch", "numpy")),
        notes=(*_origins(runs), *_where_the_data_lie(config.data)),
        stores=tuple((told, sha256_of(work.file), _fingerprint(work.inputs[0].path, 12)) for told, work in stores),
        # (a page is read elsewhere, where the folder is no place)
        missing=tuple(
            (n, one.ending, one.reason.replace(f"{planned.out}{os.sep}", "")) for n, one in results.missing()
        ),
    )


def _origins(runs: Sequence[Run]) -> Iterator[str]:
    told = [(run, load_checkpoint(run.checkpoint()).provenance) for run in runs]
    for run, its in told:
        if run.imported:
            yield (
                f"{run.label} was imported from {its['imported']} (SHA-256 of its tensors "
                f"{str(its['imported_sha256'])[:12]}…), trained elsewhere, and taken for {run.config.algorithm}; the "
                f"untrained network: {its['began']}."
            )
    if here := next((its for run, its in told if not run.imported), None):
        yield f"Trained on {here['device']}."


def shown_config(run: Run) -> TrainConfig:
    """Return the config of a run as it is shown: its base where the labels of the runs put it."""
    return dataclasses.replace(run.config, base=f"{run.base}/checkpoints/last.safetensors" if run.base else None)


def _facts(images: ImageSet, last: Checkpoint, measured: Iterable[Measuring]) -> tuple[tuple[str, str], ...]:
    amounts = dict[str, dict[str, None]]()
    for work in measured:
        if work.measurement.amount:
            amounts.setdefault(work.measurement.kind.replace("_", " "), {})[f"{work.measurement.amount:,}"] = None
    return (
        ("images", f"{len(images):,} of {images.image_size} × {images.image_size}"),
        ("classes", ", ".join(f"{len(images.classes_of(split)):,} {split}" for split in SPLITS)),
        *((("domains", ", ".join(images.domain_names)),) if images.domains else ()),
        ("network", last.network_config.told),
        ("normalisation", last.config.norm),
        ("test tasks", "; ".join(f"{kind} {' and '.join(each)}" for kind, each in amounts.items())),
        ("data fingerprint", images.fingerprint[:12]),
    )


def _learner(run: Run) -> Trained:
    """Return what the page is told of a learner; a network that is never trained has taken no steps."""
    last = load_checkpoint(run.checkpoint())
    learned = {name: value for name, value in {**last.params, **last.rule}.items() if not is_statistic(name)}
    size = sum(value.numel() for value in learned.values())
    steps = 0 if run.config.algorithm == "random" or run.imported else run.config.iterations
    one = run.learner
    return Trained(one.key, one.label, size, steps, run.config.meta_batch, one.head_of)


def _fingerprint(path: Path, digits: int | None = None) -> str:
    """Return the fingerprint of a checkpoint; of one that was damaged after it was measured, what is wrong with it."""
    try:
        return load_checkpoint(path).fingerprint[:digits]
    except UnreadableInput as error:
        return f"cannot be read any more: {error}"


def _where_the_data_lie(data: str) -> Iterator[str]:
    """Yield what a reader must know to find a data set, given by its specification; nothing of embedded ones."""
    parts = data.removeprefix("mixture:").split(",")
    if any(part.startswith("class_folder:") for part in parts):
        yield "The path after class_folder: is seen from the folder in which the command is given."
    if any(part not in _EMBEDDED and not part.startswith("class_folder:") for part in parts):
        yield "Add --data-root FOLDER, wherever the data lie, or set METAPROBE_DATA; --download fetches missing data."


def against_paper(study: Study, options: Options, imported: bool = False) -> tuple[Differs, ...]:
    """Return what differs from the paper: first what always does, then the options that are others than in its preset.

    Of several presets whose names begin with "paper" it is one of a mixture of data where these are, then of as many
    ways and shots, else of as many ways, else the first. Where a learner was `imported`, trained elsewhere, the options
    say nothing of its training.
    """
    presets = [preset for name, preset in study.presets.items() if name.startswith("paper")]
    if not presets:
        return ()
    mixed = options.data.startswith("mixture:")

    def likeness(one: Options) -> tuple[bool, ...]:
        return one.data.startswith("mixture:") == mixed, one.n_way == options.n_way, one.n_shot == options.n_shot

    paper, ours = max(presets, key=likeness), {*_OURS, *(_UNKNOWN if imported else ())}
    every = ((f.name, getattr(paper, f.name), getattr(options, f.name)) for f in fields(options) if f.name not in ours)
    found = [Differs(name.replace("_", " "), _told(there), _told(here)) for name, there, here in every if there != here]
    if imported:  # of the others nobody knows whether they hold
        return (*(one for one in study.unlike if one.what == "data"), _ELSEWHERE, *found)
    return (*study.unlike, *found)


def _told(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "none"
    if value is None:
        return "as the data ask for"
    if isinstance(value, bool):  # before numbers, as 1 == True
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else f"{value:g}" if isinstance(value, float) else str(value)
