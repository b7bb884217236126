"""`metaprobe train` and `metaprobe evaluate`."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from metaprobe.probe.cli.arguments import (
    GIVEN,
    CheckpointPaths,
    DataRoot,
    DataSet,
    Device,
    Flag,
    Json,
    Network,
    OtherwiseAsked,
    at_least_one,
    comma_separated,
    load_data,
    show_table,
    told,
    warn_of_few,
)
from metaprobe.probe.cli.config_file import ConfigFile
from metaprobe.probe.cli.inputs import as_checkpoint, opened
from metaprobe.probe.show import write_line
from metaprobe.trainers.algorithms import TestHead
from metaprobe.trainers.config import TestNorm, TrainConfig
from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.formats.text import visible
from metaprobe.trainers.from_base import completed_from_base
from metaprobe.trainers.otherwise import AS_TRAINED

if TYPE_CHECKING:
    from metaprobe.trainers.intervals import Mean
    from metaprobe.trainers.task_kinds import TaskKind

__all__ = ["COMMANDS", "train_with"]


def train(
    config: Annotated[TrainConfig, tyro.conf.arg(name="")],
    config_file: Annotated[
        Path | None, tyro.conf.arg(name="config", metavar="FILE.toml", help_behavior_hint="(default: none)")
    ] = None,
    out: Annotated[
        Path | None,
        tyro.conf.arg(metavar="RUN", help_behavior_hint="(default: runs/ALGORITHM-DATA-5w1s-seed0)"),
    ] = None,
    data_root: DataRoot = None,
    download: Flag = False,
    workers: int = 1,
    tensorboard: Flag = False,
) -> int:
    """Meta-train a learner; on the folder of an earlier run, resume it.

    Args:
        config: the run.
        config_file: Take options from there, or from a run, whose config.toml it is; those that are given win.
        out: The run's folder.
        data_root: Folder of the data sets.
        download: Fetch the data when they are missing.
        workers: Processes that share each meta-batch, a GPU each on --device cuda; on several machines, use torchrun.
        tensorboard: Write metrics for TensorBoard, too, into RUN/tensorboard (needs its package).
    """
    from metaprobe.trainers.algorithms import algorithm_named
    from metaprobe.trainers.conventions import completed
    from metaprobe.trainers.events import check_tensorboard
    from metaprobe.trainers.run import RunFolder
    from metaprobe.trainers.tasks.data import fitted, queries_of
    from metaprobe.trainers.torchrun import launched, place_here

    algorithm_named(config.algorithm)  # a misspelt name is told before data are read
    if tensorboard:
        check_tensorboard()
    file = None if config_file is None else ConfigFile.read(config_file)
    if file is not None and not launched():
        file.tell(config, told)

    def named(name: str) -> bool:
        return told(name) or (file is not None and file.says(name, config.algorithm))

    if config.base is not None:
        config = replace(config, base=str(as_checkpoint(Path(config.base))))
    config = completed_from_base(config, named)
    config = completed(config, named)
    if workers > config.meta_batch:
        raise MetaprobeError(f"--workers {workers} cannot share --meta-batch {config.meta_batch}; each needs a task")
    data = load_data(config, None, data_root, download)  # before ranks begin: one fetches
    config = fitted(config, data, named)
    folder = out or Path("runs") / default_run_name(config)
    if not named("val_query"):
        config = replace(config, val_query=RunFolder(folder).validation_queries() or config.n_query)
    if workers != 1 and not launched():
        from metaprobe.trainers.launcher import launch

        del data  # each rank reads its own
        return launch(workers, GIVEN.get())

    from metaprobe.trainers.intervals import of_half_width
    from metaprobe.trainers.outer_loop import train
    from metaprobe.trainers.task_kinds import CLASSIFICATION, KINDS

    checkpoint = train(config, data, folder, tensorboard)
    if place_here().rank == 0:
        kind = KINDS[config.loss]
        value, half = (checkpoint.metrics[name] for name in (f"val_{kind.metric}", f"val_{kind.metric}_half_width"))
        each = queries_of(data, config.val_query, told=False)
        queries = config.n_way * each if kind is CLASSIFICATION else None
        mean = of_half_width(value, half, config.val_tasks, kind.limits, queries)
        warn_of_few(config.val_tasks)
        peak = max(record.get("peak_memory_mb", 0) for record in RunFolder(folder).read_metrics())
        write_line(
            f"{config.iterations} iterations done: validation {kind.metric.replace('_', ' ')} {_told_mean(mean, kind)} "
            f"({config.val_tasks} tasks, 95 %), peak memory {peak:,.0f} MB"
        )
        write_line(visible(str(RunFolder(folder).checkpoint("last"))))
    return 0


def train_with(file: ConfigFile) -> Any:
    """Return the command `train` with a file's options in the place of the defaults."""
    return functools.partial(train, config=file.default())


def _told_mean(mean: Mean, kind: TaskKind) -> str:
    """Return a metric with its interval: as ±, where that is what it comes to at its decimals."""
    digits = 1 if kind.unit else 3
    value = f"{mean.value:.{digits}f}"
    if mean.low is None or mean.high is None:
        return f"{value}{kind.unit}"
    down, up = f"{mean.value - mean.low:.{digits}f}", f"{mean.high - mean.value:.{digits}f}"
    ends = f"{mean.low:.{digits}f}, {mean.high:.{digits}f}"
    return f"{value} ± {up}{kind.unit}" if down == up else f"{value}{kind.unit} [{ends}]"


def default_run_name(config: TrainConfig) -> str:
    """Return the folder name of a run that was given none, such as maml-glyphs-5w1s-seed0."""
    data = config.data.partition(":")[0]
    return f"{config.algorithm}-{data}-{config.n_way}w{config.n_shot}s-seed{config.seed}"


def evaluate(
    checkpoints: CheckpointPaths,
    data: DataSet = None,
    tasks: int = 600,
    ensemble: Flag = False,
    head: TestHead = "own",
    freeze: Annotated[str, tyro.conf.arg(metavar="LAYERS", help_behavior_hint="(default: none)")] = "",
    inner_steps: Annotated[
        int | None,
        tyro.conf.arg(metavar="INT", help_behavior_hint="(default: as in training; none without a head)"),
    ] = None,
    otherwise: OtherwiseAsked = AS_TRAINED,
    norm: Annotated[
        TestNorm | None,
        tyro.conf.arg(
            metavar="{transductive,non-transductive,one-query,running}", help_behavior_hint="(default: as in training)"
        ),
    ] = None,
    split: Literal["train", "val", "test"] = "test",
    seed: int = 0,
    network: Network = None,
    data_root: DataRoot = None,
    device: Device = "cpu",
    json: Json = False,
) -> int:
    """Adapt a checkpoint to test tasks and report its accuracy, or squared error, with a 95 % interval.

    Args:
        checkpoints: what to test.
        data: the data set.
        tasks: How many tasks.
        ensemble: Test several checkpoints as one learner, by the mean of their logits.
        head: Its own adapted head, or none: support labels weighted by the softmax of cosine similarities of features
            (nil), or the sum of those of each class (matching; how matching is trained).
        freeze: Layers that do not adapt, such as conv1,conv2.
        inner_steps: Steps on each support set.
        otherwise: than in training.
        norm: Whose statistics normalise a query: its batch's own, the support set's, or those of the support set and
            that one query (zhou2021's non-transductive; a pass for each query, so ten times as slow or more); of an
            imported network also the running statistics that it came with, of one trained with --step-statistics
            running those of each step.
        split: Which classes.
        seed: Names the tasks.
        network: What the checkpoints are of, where that is code of yours.
        data_root: Folder of the data sets.
        device: cpu, cuda …
        json: Write JSON.
    """
    from metaprobe.analyses.freezing import TestPlan, accuracy_of
    from metaprobe.analyses.testing.ensemble import ensemble_accuracy
    from metaprobe.trainers.progress import ProgressLine
    from metaprobe.trainers.tasks.data import queries_of

    at_least_one(checkpoints, "CHECKPOINT")
    if len(checkpoints) > 1 and not ensemble:
        told = f"got {len(checkpoints)} checkpoints; test one at a time"
        raise MetaprobeError(f"{told}, or with --ensemble all as one learner, by the mean of their logits")
    paths, loaded = zip(*(opened(one, network) for one in checkpoints), strict=True)
    source = load_data(loaded[0].config, data, data_root, images=otherwise)
    queries = queries_of(source, otherwise.queries, otherwise.n_query is not None)
    plan = TestPlan(tasks=tasks, n_query=queries, seed=seed, split=split, device=device, norm=norm, otherwise=otherwise)
    warn_of_few(tasks)
    with ProgressLine("evaluate", tasks, unit="tasks") as bar:
        frozen = comma_separated(freeze)

        def advance(done: int) -> None:
            bar.advance(steps=done)

        if ensemble:
            table = ensemble_accuracy(
                loaded, source, plan, frozen=frozen, inner_steps=inner_steps, head=head, advance=advance
            )
        else:
            table = accuracy_of(
                loaded[0], source, plan, frozen=frozen, inner_steps=inner_steps, head=head, advance=advance
            )
    show_table(table, f"{' + '.join(map(str, paths))} on {source.name}", json)
    return 0


COMMANDS = {"train": train, "evaluate": evaluate}
