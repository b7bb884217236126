"""Trainings of a study against each other: their layers, means over pairs of seeds, differences and lines of best fit.

Everything is resampled together. `analyses.bootstrap.task_draws` gives every comparison the same draws of tasks, so a
mean over layers or pairs, a difference of two, and a slope through many have replicates of their own: those of their
parts, put together draw by draw. Over pairs of seeds `over_seeds` widens the interval by what the seeds add.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from threadpoolctl import threadpool_limits

from metaprobe.analyses.aligned import check_same_tasks
from metaprobe.analyses.bootstrap import REPLICATES
from metaprobe.analyses.compare import PHASES, compare_layers, identity_of
from metaprobe.analyses.compared import Compared, Over, measured_rows
from metaprobe.analyses.contrasts import DIFFERENCE, minus_of
from metaprobe.analyses.image_null import PERMUTATIONS
from metaprobe.analyses.measures.measure import MEASURES, Measure
from metaprobe.analyses.pairs.lines import LINE, difference, line, mean_of, pooled_rows
from metaprobe.analyses.pairs.wanted import PAIRINGS, Comparisons, Layers, Learners, StoreOf
from metaprobe.analyses.table import Row, Table
from metaprobe.probe.store import Store, open_store

__all__ = ["PAIR_MEASURES", "compare_trainings"]

PAIR_MEASURES = (MEASURES["mean_cca"], MEASURES["linear_cka"], MEASURES["debiased_cka"])
"""CCA, and CKA with and without its bias: what Raghu et al. (2020) compare trainings by."""


@dataclass(frozen=True, eq=False)
class _Two:
    """Two trainings, their open stores, and what was compared so far, by layers and phase."""

    trainings: tuple[StoreOf, StoreOf]
    stores: tuple[Store, Store]
    found: dict[tuple[Layers, str], Mapping[str, Compared]] = field(default_factory=dict)

    @property
    def seeds(self) -> frozenset[int]:
        return frozenset(training.seed for training in self.trainings)

    @property
    def told(self) -> str:
        return "seeds " + " and ".join(str(training.seed) for training in self.trainings)

    def named(self, row: Row) -> Row:
        """Return a row that says which learners these are, whatever their seeds."""
        one, other = self.trainings
        row = dataclasses.replace(row, learner=one.learner, algorithm=one.algorithm)
        return dataclasses.replace(row, other_learner=other.learner, other_algorithm=other.algorithm)


def compare_trainings(
    stores: Sequence[StoreOf],
    wanted: Comparisons,
    measures: Sequence[Measure] = PAIR_MEASURES,
    *,
    over: Over = "task",
    replicates: int = REPLICATES,
    permutations: int = PERMUTATIONS,
    progress: Callable[[int, int], None] | None = None,
) -> Table:
    """Compare trainings with each other (Raghu et al. 2020, §4, B.4, D.2).

    Trainings with different seeds are compared. Where two learners have one seed alone, and the same, those two are:
    they began with the same weights, which makes them more alike.

    Args:
        stores: one of each training, all captured on the same tasks.
        wanted: what is compared; of learners without a store there are no rows.
        measures: which.
        over: "task", the mean over tasks of each one's own similarity; or "tasks", that of all tasks' rows together.
        replicates: resamples of tasks behind an interval.
        permutations: of images, behind a null.
        progress: told how many comparisons of two layers are done, and how many there are.

    Returns:
        Rows of each two trainings, layer by layer of the same name. Then, without seeds: of maps, with `layer` and
        `other_layer`; of means, whose layers are the part's name; "<measure>_difference" of two means, whose `minus`
        says who was taken off; "<measure>_slope", "_intercept", "_r2" and "_r2_to_identity" of lines.

    Raises:
        MetaprobeError: there are no stores, nothing is asked of a learner, a training is there twice, or two stores
            are not of the same tasks.
        UnreadableInput: a store is damaged.
    """
    wanted.check(stores)
    with threadpool_limits(limits=1), contextlib.ExitStack() as stack:
        opened = {store: stack.enter_context(open_store(store.path)) for store in stores}
        first = opened[stores[0]]
        for other in opened.values():
            check_same_tasks(first, other)
        layers = [layer for layer in first.layers if all(layer in store.layers for store in opened.values())]
        groups = {learners: _pairs_of(opened, learners) for learners in wanted.groups}
        work = [(two, *what) for pair, twos in groups.items() for two in twos for what in wanted.of(pair, layers)]
        rows: list[Row] = []
        for done, (two, both, phase) in enumerate(work, 1):
            rows += _compared(two, both, phase, measures, over, replicates, permutations)
            if progress:
                progress(done, len(work))
        for measure in measures:
            rows += (dataclasses.replace(row, over=over) for row in _together(groups, wanted, layers, measure))
        return Table.of(rows)


def _pairs_of(opened: Mapping[StoreOf, Store], learners: Learners) -> list[_Two]:
    """Return each two trainings of the learners with different seeds, else those of their one common seed."""
    firsts, seconds = ([store for store in opened if store.learner == name] for name in learners)
    same = learners[0] == learners[1]
    every = list(itertools.combinations(firsts, 2) if same else itertools.product(firsts, seconds))
    chosen = [pair for pair in every if pair[0].seed != pair[1].seed] or every
    return [_Two(pair, (opened[pair[0]], opened[pair[1]])) for pair in chosen]


def _compared(
    two: _Two, both: Layers, phase: str, measures: Sequence[Measure], over: Over, replicates: int, permutations: int
) -> Iterator[Row]:
    """Compare two layers, keep what was found, and yield its rows where the layers have one name."""
    matching = both[0] == both[1]
    samples, found = compare_layers(
        *two.stores,
        both,
        PHASES[phase],
        measures,
        over=over,
        replicates=replicates if matching else 0,
        permutations=permutations if matching and phase == "pre-pre" else 0,
    )
    two.found[both, phase] = found
    if not matching:
        return
    one, other = two.trainings
    row = two.named(identity_of(*two.stores, both, PHASES[phase], samples, over))
    row = dataclasses.replace(row, seed=one.seed, other_seed=other.seed)
    for measure in measures:
        yield from measured_rows(row, measure, found[measure.name], two.stores[0].tasks)


def _together(
    groups: Mapping[Learners, Sequence[_Two]], wanted: Comparisons, layers: Sequence[str], measure: Measure
) -> Iterator[Row]:
    """Yield the rows of one measure that are put together from those of the pairs."""
    name, range = measure.name, measure.range
    for learners in wanted.maps:
        for both in itertools.product(layers, layers):
            units = _units(groups[learners], lambda two, both=both: two.found[both, "pre-pre"][name])
            yield from _rows(groups[learners], both, name, units, range)
    means = {
        (part, learners): _units(groups[learners], lambda two, of=of: _mean(two, of, name))
        for part, learners in wanted.all_means
        if (of := wanted.layers_of(part, layers))
    }
    for (part, learners), units in means.items():
        yield from _rows(groups[learners], (part, part), name, units, range)
    for part, learners, less in wanted.differences:
        ours, theirs = means.get((part, learners), {}), means.get((part, less), {})
        units = {seeds: difference(ours[seeds], theirs[seeds]) for seeds in ours if seeds in theirs}
        behind = [two for two in (*groups[learners], *groups[less]) if two.seeds in units]
        differing = zip(("learner", "other_learner"), learners, less, strict=True)
        minus = minus_of({column: theirs for column, ours, theirs in differing if ours != theirs})
        yield from _rows(behind, (part, part), name + DIFFERENCE, units, minus=minus)
    for (part, learners), phase in itertools.product(wanted.lines, PAIRINGS):
        twos, of = groups[learners], wanted.layers_of(part, layers)
        x, y = (
            {f"{layer} of {two.told}": two.found[(layer, layer), at][name] for two in twos for layer in of}
            for at in ("pre-pre", phase)
        )
        for kind, found in line(x, y).items() if x else ():
            # One line through all pairs: its interval is about tasks alone, as of one seed.
            yield from _rows(twos, (part, part), f"{name}_{kind}", {frozenset((0,)): found}, LINE[kind], phase)


def _units(twos: Sequence[_Two], read: Callable[[_Two], Compared]) -> dict[frozenset[int], Compared]:
    """Return one value for each two seeds: ANIL 0 with MAML 1 and ANIL 1 with MAML 0 are one unit, their mean."""
    units: dict[frozenset[int], dict[str, Compared]] = {}
    for two in twos:
        units.setdefault(two.seeds, {})[two.told] = read(two)
    return {seeds: mean_of(found) for seeds, found in units.items()}


def _mean(two: _Two, layers: Sequence[str], measure: str) -> Compared:
    return mean_of({layer: two.found[(layer, layer), "pre-pre"][measure] for layer in layers})


def _rows(
    twos: Sequence[_Two],
    layers: Layers,
    measure: str,
    units: Mapping[frozenset[int], Compared],
    range: tuple[float, float] = (-math.inf, math.inf),
    phase: str = "pre-pre",
    minus: str | None = None,
) -> list[Row]:
    """Return the rows of a mean over units; none where there are none."""
    if not units:
        return []
    row = Row(
        layer=layers[0],
        other_layer=layers[1],
        phase=phase,
        measure=measure,
        minus=minus,
        value=None,
        source="+".join(dict.fromkeys(store.sha256[:12] for two in twos for store in two.stores)),
    )
    seeds, tasks = len(frozenset().union(*units)), twos[0].stores[0].tasks
    return pooled_rows(twos[0].named(row), list(units.values()), seeds=seeds, tasks=tasks, range=range)
