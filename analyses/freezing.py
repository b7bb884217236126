"""Freezing ablation: keep layers fixed in the test-time inner loop and see what accuracy it costs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

from analyses.accuracy import accuracy_of, evaluated, group_accuracy, mean_row, rows_of
from analyses.table import Table
from analyses.testing import Learner, TestPlan, identity_of, learner_of, sampler_of
from trainers.adapt import layers_of
from trainers.checkpoint import Checkpoint, load_checkpoint
from trainers.errors import MetaprobeError
from trainers.evaluate import Evaluation
from trainers.networks import build_network
from trainers.tasks.imageset import ImageSet

__all__ = [
    "TestPlan",
    "accuracy_of",
    "contiguous_blocks",
    "freeze",
    "group_accuracy",
    "identity_of",
    "mean_row",
    "sampler_of",
]


def contiguous_blocks(layers: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """Return the blocks of Raghu et al. (2020, Table 1): none, the first layer, the first two, …, all but the head."""
    return tuple(tuple(layers[:size]) for size in range(len(layers)))


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
    trained = learner_of(checkpoint, plan)
    known = layers_of(trained.network)
    sets = [tuple(names) for names in (contiguous_blocks(known) if frozen is None else frozen)]
    learners = (trained, _untrained(checkpoint, plan)) if random_row else (trained,)
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
                result = evaluated(learner, sampler, plan, names, count, "own", advance)
                rows += rows_of(learner, names, count, "own", result, first)
                first = first or result
    return Table.of(rows)


def _untrained(checkpoint: Checkpoint, plan: TestPlan) -> Learner:
    network = build_network(checkpoint.network_config, checkpoint.config.seed)
    start = dataclasses.replace(checkpoint, params=dict(network.named_parameters()), iteration=0, clusters=None)
    learner = learner_of(start, plan)
    source = f"adapted as {checkpoint.config.algorithm} {checkpoint.fingerprint[:12]}"
    return dataclasses.replace(
        learner, identity=dataclasses.replace(learner.identity, algorithm="random", source=source)
    )
