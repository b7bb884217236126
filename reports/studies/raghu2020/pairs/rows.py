"""Every number that the section on pairs shows, as rows: the pairs, their means, differences and lines of best fit.

Everything is resampled together. `analyses.bootstrap.task_draws` gives every comparison the same draws of tasks, so a
mean over layers or pairs, a difference of two, and a slope through many have replicates of their own: those of their
parts, put together draw by draw. Over pairs of seeds `over_seeds` widens the interval by what the seeds add.

Rows that are put together have no seeds; their `layer` is that of a map, or "body", or "first three" (convolutions).
The measure of a difference is "<measure>_minus_<learner>_<learner>", after what is taken off; that of a line
"<measure>_slope", "_intercept", "_r2" and "_r2_to_identity".
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence

from threadpoolctl import threadpool_limits

from analyses.aligned import check_same_tasks
from analyses.bootstrap import REPLICATES
from analyses.compare import PHASES, Compared, compare_layers, identity_of, measured_rows
from analyses.image_null import PERMUTATIONS
from analyses.measures.measure import MEASURES, Measure
from analyses.table import Row, Table
from probe.store import open_store
from reports.studies.raghu2020.pairs.claims import LEARNER_PAIRS, PAIRINGS, REGIME_ORDER
from reports.studies.raghu2020.pairs.combining import LINE, difference, line, mean_of, pooled_row
from reports.studies.raghu2020.pairs.trainings import (
    ANIL,
    GROUPS,
    MAML,
    MAPS,
    REGIMES,
    Layers,
    Learners,
    StoreOf,
    Two,
    check,
    pairs_of,
    wanted,
)

__all__ = ["PAIR_MEASURES", "StoreOf", "study_pairs"]

PAIR_MEASURES = (MEASURES["mean_cca"], MEASURES["linear_cka"], MEASURES["debiased_cka"])
"""The paper's CCA and its biased CKA, and CKA without the bias."""

_DIFFERENCES: tuple[tuple[str, Learners, Learners], ...] = (
    ("body", ("anil", "maml"), MAML),
    ("body", ("anil", "maml"), ANIL),
    *(("first three", (one, "maml"), (other, "maml")) for one, other in itertools.pairwise(REGIME_ORDER)),
)


def study_pairs(
    stores: Sequence[StoreOf],
    measures: Sequence[Measure] = PAIR_MEASURES,
    *,
    replicates: int = REPLICATES,
    permutations: int = PERMUTATIONS,
    progress: Callable[[int, int], None] | None = None,
) -> Table:
    """Compare the trainings of a study with each other, for claims R6, R10 and R13 (Raghu et al. 2020, §4, B.4, D.2).

    Trainings with different seeds are compared. Where a learner and MAML have one seed alone, and the same, those two
    are: they began with the same weights, which makes them more alike.

    Args:
        stores: one of each training, all captured on the same tasks.
        measures: which.
        replicates: resamples of tasks behind an interval.
        permutations: of images, behind a null.
        progress: told how many comparisons of two layers are done, and how many there are.

    Raises:
        MetaprobeError: there are no stores, no claim is about an algorithm, a training is there twice, or two stores
            are not of the same tasks.
        UnreadableInput: a store is damaged.
    """
    check(stores)
    with threadpool_limits(limits=1), contextlib.ExitStack() as stack:
        opened = {store: stack.enter_context(open_store(store.path)) for store in stores}
        first = opened[stores[0]]
        for other in opened.values():
            check_same_tasks(first, other)
        layers = [layer for layer in first.layers if all(layer in store.layers for store in opened.values())]
        groups = {learners: pairs_of(opened, learners) for learners in GROUPS}
        rows = list(_compared(groups, layers, measures, replicates, permutations, progress))
        for measure in measures:
            rows += _together(groups, layers, measure, first.tasks)
        return Table.of(rows)


def _compared(
    groups: dict[Learners, list[Two]],
    layers: Sequence[str],
    measures: Sequence[Measure],
    replicates: int,
    permutations: int,
    progress: Callable[[int, int], None] | None,
) -> Iterator[Row]:
    """Compare what the claims and maps need, and yield the rows of each pair, layer by layer of the same name."""
    work = [(two, *what) for learners, pairs in groups.items() for two in pairs for what in wanted(learners, layers)]
    for done, (two, both, phase) in enumerate(work, 1):
        matching = both[0] == both[1]
        samples, found = compare_layers(
            *two.stores,
            both,
            PHASES[phase],
            measures,
            replicates=replicates if matching else 0,
            permutations=permutations if matching and phase == "pre-pre" else 0,
        )
        two.found[both, phase] = found
        if matching:
            one, other = two.trainings
            identity = dataclasses.replace(
                identity_of(*two.stores, both, PHASES[phase], samples),
                **{"algorithm": one.algorithm, "seed": one.seed},
                **{"other_algorithm": other.algorithm, "other_seed": other.seed},
            )
            identity = _untrained(identity)
            for measure in measures:
                yield from measured_rows(identity, measure, found[measure.name], two.stores[0].tasks)
        if progress:
            progress(done, len(work))


def _together(groups: dict[Learners, list[Two]], layers: Sequence[str], measure: Measure, tasks: int) -> Iterator[Row]:
    """Yield the rows of one measure that are put together from those of the pairs."""
    body = [layer for layer in layers if layer != "head"]
    parts = {"body": body, "first three": body[:3]}
    for learners in MAPS:
        for both in itertools.product(layers, layers):
            units = _units(groups[learners], lambda two, both=both: two.found[both, "pre-pre"][measure.name])
            yield from _rows(groups[learners], learners, both, measure.name, units, tasks, measure.range)
    means = {
        (part, learners): _units(groups[learners], lambda two, part=part: _mean(two, parts[part], measure))
        for part, every in (("body", LEARNER_PAIRS), ("first three", (MAML, *REGIMES)))
        for learners in every
    }
    for (part, learners), units in means.items():
        yield from _rows(groups[learners], learners, (part, part), measure.name, units, tasks, measure.range)
    for part, learners, less in _DIFFERENCES:
        ours, theirs = means[part, learners], means[part, less]
        units = {seeds: difference(ours[seeds], theirs[seeds]) for seeds in ours if seeds in theirs}
        behind = [two for two in (*groups[learners], *groups[less]) if two.seeds in units]
        name = f"{measure.name}_minus_{less[0]}_{less[1]}"
        yield from _rows(behind, learners, (part, part), name, units, tasks)
    for phase in PAIRINGS if groups[MAML] else ():
        x, y = (
            {
                f"{layer} of seeds {two.told}": two.found[(layer, layer), at][measure.name]
                for two in groups[MAML]
                for layer in body
            }
            for at in ("pre-pre", phase)
        )
        for kind, found in line(x, y).items():
            alone: Mapping[frozenset[int], Compared] = {
                frozenset((0,)): found
            }  # one line through all pairs: its interval is about tasks alone
            name = f"{measure.name}_{kind}"
            yield from _rows(groups[MAML], MAML, ("body", "body"), name, alone, tasks, LINE[kind], phase)


def _units(pairs: Sequence[Two], read: Callable[[Two], Compared]) -> dict[frozenset[int], Compared]:
    """Return one value for each two seeds: ANIL 0 with MAML 1 and ANIL 1 with MAML 0 are one unit, their mean."""
    units: dict[frozenset[int], dict[str, Compared]] = {}
    for two in pairs:
        units.setdefault(two.seeds, {})[f"seeds {two.told}"] = read(two)
    return {seeds: mean_of(found) for seeds, found in units.items()}


def _mean(two: Two, layers: Sequence[str], measure: Measure) -> Compared:
    return mean_of({layer: two.found[(layer, layer), "pre-pre"][measure.name] for layer in layers})


def _rows(
    pairs: Sequence[Two],
    learners: Learners,
    layers: Layers,
    measure: str,
    units: Mapping[frozenset[int], Compared],
    tasks: int,
    range: tuple[float, float] = (-math.inf, math.inf),
    phase: str = "pre-pre",
) -> list[Row]:
    """Return the rows of a mean over units; none where there are none."""
    if not units:
        return []
    stores = dict.fromkeys(store.sha256[:12] for two in pairs for store in two.stores)
    identity = Row(
        algorithm=learners[0],
        other_algorithm=learners[1],
        layer=layers[0],
        other_layer=layers[1],
        phase=phase,
        measure=measure,
        value=None,
        source="+".join(stores),
    )
    seeds = len(frozenset().union(*units))
    return pooled_row(identity, list(units.values()), seeds=seeds, tasks=tasks, range=range)


def _untrained(row: Row) -> Row:
    """Return a row in which a network that is never trained has taken no steps, whatever its run counts."""
    own = 0 if row.algorithm == "random" else row.iteration
    other = 0 if row.other_algorithm == "random" else row.other_iteration
    return dataclasses.replace(row, iteration=own, other_iteration=other)
