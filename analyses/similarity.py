"""From stores to the similarity of each layer before and after adaptation."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from metaprobe.analyses.aligned import check_same_tasks
from metaprobe.analyses.bootstrap import REPLICATES, task_draws
from metaprobe.analyses.compared import Compared, Over, learner_in, measured_rows, noted
from metaprobe.analyses.image_null import PERMUTATIONS, image_null
from metaprobe.analyses.measures.measure import ALIASES, DEFAULTS, MEASURES, Measure, Null
from metaprobe.analyses.measures.pair import Pair
from metaprobe.analyses.over_runs import rows_over_runs
from metaprobe.analyses.per_task import mean_over_tasks
from metaprobe.analyses.table import Row, Table
from metaprobe.analyses.task_moments import TaskMoments, on_resamples
from metaprobe.analyses.task_pairs import alike_since, before_and_after
from metaprobe.analyses.threads import side_by_side
from metaprobe.probe.store import Store, open_store
from metaprobe.probe.store.otherwise import captured_otherwise
from metaprobe.trainers.errors import MetaprobeError, unknown_name

__all__ = ["measures_named", "similarity", "similarity_over_seeds"]


def measures_named(names: Sequence[str]) -> tuple[Measure, ...]:
    """Return measures by name or alias.

    Raises:
        MetaprobeError: a name is unknown, and the message lists them, or two are of one measure.
    """
    for name in names:
        if ALIASES.get(name, name) not in MEASURES:
            raise unknown_name("measure", name, (*MEASURES, *ALIASES))
    chosen = [ALIASES.get(name, name) for name in names]
    if twice := [name for name, full in zip(names, chosen, strict=True) if chosen.count(full) > 1]:
        raise MetaprobeError(f"{', '.join(twice)}: the same measure more than once; name each once")
    return tuple(MEASURES[name] for name in chosen)


def similarity(
    path: Path | str,
    measures: Sequence[Measure] = DEFAULTS,
    replicates: int = REPLICATES,
    permutations: int = PERMUTATIONS,
    over: Over = "task",
) -> Table:
    """Compare each layer's activations before and after adaptation, task by task (Raghu et al. 2020, §3.2.2).

    The query samples of a task (and their positions, for convolutions) are compared, and the mean over tasks is taken;
    see `analyses.per_task`. The interval is a bootstrap over tasks: the tasks, not the samples, are what is
    independent. The null exchanges whole images of the sketch.

    Args:
        path: an activation store.
        measures: which.
        replicates: resamples of tasks behind an interval, 0 for none; fewer than 39 give none.
        permutations: behind a null, 0 for none.
        over: "task"; or "tasks", for the samples of all tasks together, which asks for one linear map for all of them.

    Returns:
        For each layer and captured step: a row a measure; after it a row "<measure>_null", the mean over permutations,
        with 2.5 and 97.5 % of them as low and high and the sketch's rows as n; over each task then a row
        "<measure>_calibrated", (value − null) / (max − null) on these rows; and a row "forced_correlations", how many
        canonical correlations are 1 for want of samples, whatever the data are.

    Raises:
        UnreadableInput: the store is damaged.
    """
    with threadpool_limits(limits=1), open_store(path) as store:  # small matrices: more BLAS threads only wait
        parts = _parts(store, measures, replicates, permutations, over)
        return noted((row for part in parts for row in _rows(part)), captured_otherwise(store.metadata))


def similarity_over_seeds(
    paths: Sequence[Path | str],
    measures: Sequence[Measure] = DEFAULTS,
    replicates: int = REPLICATES,
    permutations: int = PERMUTATIONS,
    over: Over = "task",
) -> Table:
    """Compare layers before and after adaptation in runs that differ by their seed, one by one and in the mean.

    Args:
        paths: a store a run, all captured on the same tasks, layers and steps.
        measures: which.
        replicates: resamples behind an interval, as in `similarity`; in the mean, of tasks and seeds together.
        permutations: behind a null; the mean's is of the same images exchanged in every run.
        over: as in `similarity`.

    Returns:
        The rows of each store, as `similarity` gives them. Of several, then the rows of the means: seed and checkpoint
        are None, the source names all stores, n is the samples of a run. A mean is undefined where a run's value is.

    Raises:
        MetaprobeError: no store; or two are not of runs that differ by their seed alone. It names both and says in
            what they differ.
        UnreadableInput: a store is damaged.
    """
    if not paths:
        raise MetaprobeError("similarity over seeds: expected at least one store, got none")
    with threadpool_limits(limits=1), contextlib.ExitStack() as stack:
        stores = [stack.enter_context(open_store(path)) for path in paths]
        for place, store in enumerate(stores):
            for other in stores[:place]:
                _check_repeats(other, store)
        runs = [list(_parts(store, measures, replicates, permutations, over)) for store in stores]
    rows = [row for run in runs for part in run for row in _rows(part)]
    if len(runs) > 1:
        rows += [row for parts in zip(*runs, strict=True) for row in _mean_rows(parts)]
    return Table.of(rows)


@dataclass(frozen=True, eq=False)
class _Part:
    """What measures say of one layer and step of a store, in the order of the measures."""

    identity: Row
    tasks: int
    found: tuple[tuple[Measure, Compared], ...]
    forced: Compared


def _parts(
    store: Store, measures: Sequence[Measure], replicates: int, permutations: int, over: Over
) -> Iterator[_Part]:
    images = any(measure.needs == "images" for measure in measures)
    amount: dict[str, int] = {"replicates": replicates, "permutations": permutations}

    def part(at: tuple[tuple[int, str], int]) -> _Part:
        (place, layer), step = at
        identity, seed = _identity(store, layer, step, over), [place, step]
        if over == "tasks":
            whole = _together(store, layer, step, measures, seed=seed, **amount)
            return _Part(identity, store.tasks, *whole)
        pairs = before_and_after(store, layer, step, images=images)
        mean = mean_over_tasks(pairs, measures, tasks=store.tasks, seed=seed, **amount)
        return _Part(identity, store.tasks, tuple((one, mean.found[one.name]) for one in measures), mean.forced)

    _ = store.sha256  # read once, not by every thread
    steps = {layer: alike_since(store, layer) for layer in store.layers}
    distinct = [(at, step) for at in enumerate(store.layers) for step in dict.fromkeys(steps[at[1]].values())]
    made = dict(zip(distinct, side_by_side(part, distinct), strict=True))
    for at, step in itertools.product(enumerate(store.layers), store.steps):
        found = made[at, steps[at[1]][step]]
        yield dataclasses.replace(found, identity=dataclasses.replace(found.identity, step=step))


def _together(
    store: Store,
    layer: str,
    step: int,
    measures: Sequence[Measure],
    replicates: int,
    permutations: int,
    seed: Sequence[int],
) -> tuple[tuple[tuple[Measure, Compared], ...], Compared]:
    """Return what measures say of the samples of all tasks together, and how many correlations are forced."""
    before = store.sketch(layer, 0)
    nulls: Sequence[Null | None] = [None] * len(measures)
    if permutations:
        generator = np.random.default_rng(seed)
        nulls = image_null(before, store.sketch(layer, step), measures, generator, permutations)
    whole, resampled = _pair_and_resamples(store, layer, step, measures, replicates)
    found = []
    for measure, values, null in zip(measures, resampled, nulls, strict=True):
        result = measure.apply(whole)
        compared = Compared(result.value, result.n, result.told, values, null, len(before.rows))
        found.append((measure, compared))
    cca = MEASURES["mean_cca"].apply(whole)
    count = None if cca.forced is None else float(cca.forced)
    return tuple(found), Compared(count, cca.n, cca.reason, np.empty(0))


def _pair_and_resamples(
    store: Store, layer: str, step: int, measures: Sequence[Measure], replicates: int
) -> tuple[Pair, np.ndarray]:
    """Return all tasks pooled, and each measure on each resample of them (measure, replicate)."""
    moments = TaskMoments(functools.partial(store.moments, layer, step), store.tasks)
    whole = Pair.of_moments(moments.whole)
    if not replicates or store.tasks < 2:
        return whole, np.empty((len(measures), 0))
    return whole, on_resamples(moments, task_draws(store.tasks, replicates), measures)


def _identity(store: Store, layer: str, step: int, over: Over) -> Row:
    return Row(
        **learner_in(store),
        layer=layer,
        phase="pre-post",
        step=step,
        inner_steps=store.metadata.adaptation.steps,
        samples=store.layer(layer).samples,
        over=over,
        measure="",
        value=None,
        source=store.sha256[:12],
    )


def _rows(part: _Part) -> Iterator[Row]:
    for measure, found in part.found:
        yield from measured_rows(part.identity, measure, found, part.tasks)
    row = dataclasses.replace(part.identity, measure="forced_correlations", value=part.forced.value, n=part.forced.n)
    undefined = {"status": "undefined", "reason": part.forced.reason} if row.value is None else {}
    yield dataclasses.replace(row, **undefined)


def _mean_rows(parts: Sequence[_Part]) -> Iterator[Row]:
    """Yield the rows of the means over runs of what each says of one layer and step."""
    first, sources = parts[0], [str(part.identity.source) for part in parts]
    identity = dataclasses.replace(first.identity, seed=None, checkpoint=None, source="+".join(sources))
    for place, (measure, _) in enumerate(first.found):
        runs = {source: part.found[place][1] for source, part in zip(sources, parts, strict=True)}
        yield from rows_over_runs(identity, measure, runs, first.tasks)


_KINDS: dict[str, Callable[[Store], object]] = {
    "layers": lambda store: ", ".join(f"{layer.name} {layer.shape}" for layer in store.metadata.layers),
    "captured steps": lambda store: store.steps,
    "inner steps": lambda store: store.metadata.adaptation.steps,
    "algorithm": lambda store: made.config["algorithm"] if (made := store.metadata.checkpoint) else "not told",
    "update rule": lambda store: store.metadata.adaptation.rule,
    "iteration": lambda store: made.iteration if (made := store.metadata.checkpoint) else "not told",
}


def _check_repeats(a: Store, b: Store) -> None:
    """Refuse stores that are not of two runs which differ by their seed alone."""
    check_same_tasks(a, b)
    names = f"{a.path} and {b.path}"
    for kind, told in _KINDS.items():
        if told(a) != told(b):
            raise MetaprobeError(
                f"{names}: not runs that differ by their seed alone: {kind}: {told(a)} and {told(b)}; give stores of "
                "one learner at one iteration, captured alike"
            )
    if a.fingerprint == b.fingerprint:
        raise MetaprobeError(f"{names}: both are of checkpoint {a.fingerprint[:12]}; give each run's store once")
