"""Freezing ablation: keep layers fixed in the test-time inner loop and see what accuracy it costs."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from analyses.table import Row, Table
from trainers.adapt import layers_of
from trainers.checkpoint import Checkpoint, load_checkpoint
from trainers.config import Adaptation
from trainers.device import device_named
from trainers.errors import MetaprobeError, unknown_name
from trainers.evaluate import Evaluation, TestHead, evaluate, half_width, sampler_for
from trainers.networks import TaskNetwork, build_network
from trainers.tasks.episodes import EpisodeSampler
from trainers.tasks.imageset import ImageSet

__all__ = ["TestPlan", "accuracy_of", "contiguous_blocks", "freeze", "identity_of", "mean_row", "sampler_of"]


@dataclasses.dataclass(frozen=True)
class TestPlan:
    """What every column of an ablation is tested on: the same tasks for all of them.

    Attributes:
        tasks: how many.
        n_query: query images of a class.
        seed: names the tasks.
        split: of the classes.
        chunk: tasks at once.
        device: where to compute.
    """

    __test__ = False  # a plan of tests, not one of pytest's

    tasks: int = 600
    n_query: int = 15
    seed: int = 0
    split: str = "test"
    chunk: int = 8
    device: str = "cpu"

    def __post_init__(self) -> None:
        for name in ("tasks", "n_query", "chunk"):
            if getattr(self, name) < 1:
                raise MetaprobeError(f"--{name.replace('_', '-')} must be at least 1; got {getattr(self, name)}")


@dataclasses.dataclass(frozen=True)
class _Learner:
    """An initialisation to test: a checkpoint's own, or an untrained one ("random")."""

    network: TaskNetwork
    identity: Row
    adaptation: Adaptation
    transductive: bool


def contiguous_blocks(layers: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """Return the blocks of Raghu et al. (2020, Table 1): none, the first layer, the first two, …, all but the head."""
    return tuple(tuple(layers[:size]) for size in range(len(layers)))


def sampler_of(checkpoint: Checkpoint, imageset: ImageSet, plan: TestPlan) -> EpisodeSampler:
    """Return the sampler of a plan's tasks, with the way and shot that the checkpoint was trained for."""
    return sampler_for(checkpoint, imageset, split=plan.split, n_query=plan.n_query, seed=plan.seed, device=plan.device)


def freeze(
    path: Path | str,
    imageset: ImageSet,
    plan: TestPlan,
    *,
    frozen: Sequence[Sequence[str]] | None = None,
    inner_steps: Sequence[int] = (),
    random_row: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> Table:
    """Run a freezing ablation on a checkpoint, with the untrained network beside it.

    Each set of frozen layers is the same inner loop with fewer layers, on the same tasks, so differences to the
    first set are paired. A number of steps other than the trained one is tested on the first and the last set: what
    freezing the body costs depends on how many steps the head may take.

    Args:
        path: the checkpoint.
        imageset: where test tasks come from.
        plan: which tasks.
        frozen: sets of layer names (default: `contiguous_blocks`); differences are to the first.
        inner_steps: numbers of test-time steps (default: the trained one).
        random_row: whether to test the untrained network of the run's seed too.
        progress: called with the number of tasks done and of tasks in all.

    Returns:
        Rows "accuracy" (percent), "loss" (nats) and "accuracy_difference" (percentage points).

    Raises:
        MetaprobeError: a layer is unknown, or the data do not fit.
    """
    checkpoint = load_checkpoint(path)
    trained = _trained(checkpoint, plan.device)
    known = layers_of(trained.network)
    sets = [tuple(names) for names in (contiguous_blocks(known) if frozen is None else frozen)]
    learners = (trained, _untrained(checkpoint, plan.device)) if random_row else (trained,)
    if not sets:
        raise MetaprobeError("a freezing ablation needs at least one set of layers; the empty set freezes nothing")
    ends = list(dict.fromkeys((sets[0], sets[-1])))
    counts = tuple(inner_steps) or (checkpoint.adaptation.steps,)
    wanted = {count: sets if count == checkpoint.adaptation.steps else ends for count in counts}
    sampler = sampler_of(checkpoint, imageset, plan)
    total, done = plan.tasks * len(learners) * sum(map(len, wanted.values())), 0

    def advance(tasks: int) -> None:
        nonlocal done
        done += tasks
        if progress:
            progress(done, total)

    rows = []
    for learner in learners:
        for count, some in wanted.items():
            first: Evaluation | None = None
            for names in some:
                result = _test(learner, sampler, plan, names, count, "own", advance)
                rows += _rows(learner, names, count, "own", result, first)
                first = first or result
    return Table.of(rows)


def accuracy_of(
    checkpoint: Checkpoint,
    imageset: ImageSet,
    plan: TestPlan,
    *,
    frozen: Sequence[str] = (),
    inner_steps: int | None = None,
    head: TestHead = "own",
    advance: Callable[[int], None] | None = None,
) -> Table:
    """Test one way of adapting a checkpoint.

    Args:
        checkpoint: the learner.
        imageset: where test tasks come from.
        plan: which tasks.
        frozen: layers that do not adapt.
        inner_steps: test-time steps (default: the trained number; none with the NIL head, which needs no inner loop).
        head: its own, or "nil".
        advance: called with the number of tasks just done.

    Returns:
        Rows "accuracy" (percent) and "loss" (nats).

    Raises:
        MetaprobeError: a layer is unknown, or the data do not fit.
    """
    learner = _trained(checkpoint, plan.device)
    trained = 0 if head == "nil" else checkpoint.adaptation.steps
    count = trained if inner_steps is None else inner_steps
    result = _test(learner, sampler_of(checkpoint, imageset, plan), plan, tuple(frozen), count, head, advance)
    return Table.of(_rows(learner, tuple(frozen), count, head, result, None))


def _test(
    learner: _Learner,
    sampler: EpisodeSampler,
    plan: TestPlan,
    frozen: tuple[str, ...],
    steps: int,
    head: TestHead,
    advance: Callable[[int], None] | None,
) -> Evaluation:
    return evaluate(
        learner.network,
        dict(learner.network.named_parameters()),
        sampler,
        _without(learner, frozen, steps),
        tasks=plan.tasks,
        head=head,
        transductive=learner.transductive,
        chunk=plan.chunk,
        advance=advance,
    )


def identity_of(checkpoint: Checkpoint) -> Row:
    """Return a row that says which checkpoint it is of, and nothing measured yet."""
    return Row(
        checkpoint=checkpoint.fingerprint[:12],
        algorithm=checkpoint.config.algorithm,
        seed=checkpoint.config.seed,
        iteration=checkpoint.iteration,
        measure="",
        value=None,
    )


def _trained(checkpoint: Checkpoint, device: str) -> _Learner:
    network = checkpoint.network().to(device_named(device))
    return _Learner(network, identity_of(checkpoint), checkpoint.adaptation, checkpoint.config.norm == "transductive")


def _untrained(checkpoint: Checkpoint, device: str) -> _Learner:
    network = build_network(checkpoint.network_config, checkpoint.config.seed)
    start = dataclasses.replace(checkpoint, params=dict(network.named_parameters()), iteration=0)
    learner = _trained(start, device)
    source = f"adapted as {checkpoint.config.algorithm} {checkpoint.fingerprint[:12]}"
    return dataclasses.replace(
        learner, identity=dataclasses.replace(learner.identity, algorithm="random", source=source)
    )


def _without(learner: _Learner, frozen: Sequence[str], steps: int) -> Adaptation:
    known = layers_of(learner.network)
    for layer in frozen:
        if layer not in known:
            raise unknown_name("layer", layer, known)
    if steps < 0:
        raise MetaprobeError(f"inner steps must be at least 0; got {steps}")
    kept = tuple(layer for layer in learner.adaptation.layers if layer not in frozen)
    return dataclasses.replace(learner.adaptation, layers=kept, steps=steps)


def _rows(
    learner: _Learner,
    frozen: tuple[str, ...],
    steps: int,
    head: TestHead,
    result: Evaluation,
    first: Evaluation | None,
) -> list[Row]:
    """Return the rows of one test; `first`, on the same tasks, is what differences are to."""
    values = {"accuracy": result.accuracy, "loss": result.loss}
    if first is not None:
        values["accuracy_difference"] = result.accuracy - first.accuracy
    identity = dataclasses.replace(
        learner.identity,
        phase="post" if steps else "pre",
        frozen=",".join(frozen),
        head=head,
        inner_steps=steps,
    )
    return [mean_row(identity, measure, per_task) for measure, per_task in values.items()]


def mean_row(identity: Row, measure: str, per_task: Float[np.ndarray, " task"]) -> Row:
    """Return the row of a mean over tasks with its 95 % interval; one task alone has none."""
    mean, half = float(per_task.mean()), half_width(per_task)
    low, high = (mean - half, mean + half) if math.isfinite(half) else (None, None)
    return dataclasses.replace(identity, measure=measure, value=mean, low=low, high=high, n=len(per_task))
