"""Which images are alike, before and after adaptation: RSA of each layer, task by task, without a store."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from metaprobe.analyses.image_null import ring_orders
from metaprobe.analyses.measures.measure import RSA
from metaprobe.analyses.measures.pair import Pair
from metaprobe.analyses.measures.result import Similarity
from metaprobe.analyses.table import Row, Table
from metaprobe.analyses.testing import TestPlan, identity_of, sampler_of
from metaprobe.analyses.testing.accuracy import mean_row, task_rows
from metaprobe.probe.capturing.passes import Passes
from metaprobe.probe.capturing.untouched import untouched
from metaprobe.trainers.checkpoint import load_checkpoint
from metaprobe.trainers.device import device_named, exact_float32
from metaprobe.trainers.networks import folds_tasks
from metaprobe.trainers.parallel import one_thread
from metaprobe.trainers.tasks.imageset import ImageSet

__all__ = ["dissimilarity"]

_NULL = "_null"


def dissimilarity(
    path: Path | str,
    imageset: ImageSet,
    plan: TestPlan,
    inner_steps: int | None = None,
    advance: Callable[[int], None] | None = None,
) -> Table:
    """Compare which query images of a task are alike before and after adaptation (Goerttler and Obermayer 2021).

    A whole map of every image is what a store has no room for: here a task is done with once it is measured.

    Args:
        path: the checkpoint.
        imageset: where test tasks come from.
        plan: which tasks; with `plan.per_task` each has rows of its own.
        inner_steps: of the adaptation (default: as many as it was trained with).
        advance: called with the number of tasks just done.

    Returns:
        Of each layer rows "rsa_pearson" and "rsa_spearman", means over tasks with the interval that accuracies have,
        and "<measure>_null", where each image is beside another one's. Undefined where a task has no number.
    """
    checkpoint = load_checkpoint(path)
    steps = checkpoint.adaptation.steps if inner_steps is None else inner_steps
    adaptation, device = dataclasses.replace(checkpoint.adaptation, steps=steps), device_named(plan.device)
    network, sampler = checkpoint.network().to(device), sampler_of(checkpoint, imageset, plan)
    found: dict[tuple[str, str], list[Similarity]] = {}
    with exact_float32(), one_thread(), threadpool_limits(1), untouched(network, {}) as rewind:
        how = (("*",), (steps,), checkpoint.config.norm != "non-transductive", plan.seed, rewind)
        passes = Passes(network, checkpoint.start(device), adaptation, *how)
        chunk = plan.chunk if folds_tasks(network) else 1
        for first in range(0, plan.tasks, chunk):
            batch = sampler.batch(range(first, min(first + chunk, plan.tasks)))
            before, after = passes.of(batch)
            last = next(iter(after))
            for layer, place in ((layer, place) for layer in before for place in range(len(batch))):
                x, y = (blocks[layer][place].flatten(1).cpu().numpy() for blocks in (before, last))
                generator = np.random.default_rng([plan.seed, first + place])
                (other,) = ring_orders(len(x), generator, 1)
                own = Pair.of_arrays(x, y, reduced=False)
                for (ending, pair), measure in itertools.product((("", own), (_NULL, own.exchanged(other))), RSA):
                    found.setdefault((layer, measure.name + ending), []).append(measure.apply(pair))
            if advance:
                advance(len(batch))
    told = {"phase": "pre-post", "step": steps, "inner_steps": steps, "samples": "images", "over": "task"}
    identity = dataclasses.replace(identity_of(checkpoint), group=plan.group, **told)
    rows: list[Row] = []
    for (layer, measure), values in found.items():
        row = dataclasses.replace(identity, layer=layer)
        # rounded, as what rounding alone keeps from 1 is 1: a mean at the end of the range has no spread
        numbers = np.round([np.nan if one.value is None else one.value for one in values], 12)
        if lost := [one.reason for one in values if one.value is None]:
            reason = f"{len(lost)} of {len(values)} tasks have none: {lost[0]}"
            rows.append(
                dataclasses.replace(row, measure=measure, value=None, n=len(values), status="undefined", reason=reason)
            )
            continue
        rows.append(mean_row(row, measure, numbers, (-1.0, 1.0)))
        rows += task_rows(row, measure, numbers, plan.task_rows)
    return Table.of(rows)
