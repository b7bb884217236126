"""Does a measure order what must be ordered? A test of measures on a learner of our own, as ReSi is on its domains.

Klabunde et al. (2025) test measures on networks of which it is known how alike they are. A learner that adapts brings
such answers with it, and each question is one of two numbers a task: the first is to be the more similar one, or both
are to be equal.

* **more inner steps**: a layer is more like itself before adaptation after one step than after many.
* **exchanged images**: it is more like itself beside the same images than beside others of the task.
* **shuffled labels**: beside another task's images, in an order that has nothing to do with their classes, it is as
  similar as beside exchanged ones: that is the null. (In the order of their classes they share these, and are more.)
* **permuted units**: the same weights with their units in another order are as similar as in their own.
* **neighbour layers**: layers are more like the next one than like the one after that.

A measure passes by the 95 % interval of the paired difference over tasks, so not by luck: all of it lies on the right
side or, for what is to be equal, within a share of the way from the null to what is wholly alike.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float
from threadpoolctl import threadpool_limits

from metaprobe.analyses.aligned import belonging
from metaprobe.analyses.image_null import ring_orders
from metaprobe.analyses.measures.measure import MEASURES, Measure
from metaprobe.analyses.measures.pair import Pair
from metaprobe.analyses.task_pairs import rows_of
from metaprobe.analyses.testing import TestPlan, sampler_of
from metaprobe.probe.capturing.passes import Blocks, Passes
from metaprobe.probe.capturing.untouched import untouched
from metaprobe.probe.store.metadata import LayerInfo
from metaprobe.trainers.checkpoint import load_checkpoint
from metaprobe.trainers.device import device_named, exact_float32
from metaprobe.trainers.intervals import mean_interval
from metaprobe.trainers.networks import folds_tasks
from metaprobe.trainers.parallel import one_thread
from metaprobe.trainers.tasks.imageset import ImageSet

__all__ = ["QUESTIONS", "KnownAnswer", "Question", "known_answers"]

_FEWEST_STEPS = 10  # of the many
_ORDERS = 5  # of exchanged images, a task
_NOTHING = 1e-6  # of the way from the null to what is wholly alike: rounding


@dataclass(frozen=True)
class Question:
    """What is asked of every measure.

    Attributes:
        name: as in a table.
        first: what is compared first, a key of what `known_answers` measures; it is to be the more similar.
        second: what it is compared with.
        share: of the way from the null to what is wholly alike, that two equal numbers may differ by; None where they
            are to be in order.
    """

    name: str
    first: str
    second: str
    share: float | None = None


QUESTIONS = (
    Question("more inner steps", "after one step", "after many steps"),
    Question("exchanged images", "after many steps", "images exchanged"),
    Question("shuffled labels", "another task's images, shuffled", "images exchanged", 0.1),
    Question("permuted units", "units permuted", "after many steps", _NOTHING),
    Question("neighbour layers", "next layer", "layer after the next"),
)
"""In the order in which they are told; see the top of the file."""


@dataclass(frozen=True)
class KnownAnswer:
    """What a measure says to a question.

    Attributes:
        measure: its name.
        question: the question's.
        first, second: what is compared, in the mean over tasks; None where undefined.
        difference: first − second, with its 95 % interval over tasks, low … high.
        tasks: how many.
        result: "passed"; "failed", where the interval excludes the answer; "undecided", where it holds both; or
            "undefined", where a number is.
        reason: why it is undefined or undecided; else empty.
    """

    measure: str
    question: str
    first: float | None
    second: float | None
    difference: float | None
    low: float | None
    high: float | None
    tasks: int
    result: Literal["passed", "failed", "undecided", "undefined"]
    reason: str = ""


def known_answers(
    path: Path | str,
    imageset: ImageSet,
    plan: TestPlan,
    measures: Sequence[Measure] | None = None,
    advance: Callable[[int], None] | None = None,
) -> tuple[KnownAnswer, ...]:
    """Ask measures what is known of a checkpoint's layers (top of this file).

    One layer is asked about, the deepest one of the body that adaptation moves, or the head; of neighbours those layers
    that, like the first, have positions, or have none. "Many" steps are ten, or twice as many as in training.

    Args:
        path: the checkpoint.
        imageset: where tasks come from.
        plan: which tasks; with more of them less is undecided.
        measures: which (default: all that there are).
        advance: called with the number of tasks just done.

    Returns:
        For each question each measure's answer.
    """
    checkpoint = load_checkpoint(path)
    asked = tuple(MEASURES.values() if measures is None else measures)
    steps, device = max(_FEWEST_STEPS, 2 * checkpoint.adaptation.steps), device_named(plan.device)
    adaptation = dataclasses.replace(checkpoint.adaptation, steps=steps)
    network, sampler = checkpoint.network().to(device), sampler_of(checkpoint, imageset, plan)
    found, kept, name = (
        _Numbers(asked),
        list[tuple[_Layer, _Layer, _Layer]](),
        "",
    )
    with exact_float32(), one_thread(), threadpool_limits(1), untouched(network, {}) as rewind:
        how = (("*",), (1, steps), checkpoint.config.norm != "non-transductive", plan.seed, rewind)
        passes = Passes(network, checkpoint.start(device), adaptation, *how)
        chunk = plan.chunk if folds_tasks(network) else 1
        for first in range(0, plan.tasks, chunk):
            batch = sampler.batch(range(first, min(first + chunk, plan.tasks)))
            before, after = passes.of(batch)
            phases = (before, *after)
            for place in range(len(batch)):
                start, one, many = (_layers(passes.layers, blocks, place) for blocks in phases)
                name = name or _moved(start, many)
                kept.append((start[name], one[name], many[name]))
                for key, pairs in _neighbours(tuple(start.values())):
                    found.add(key, pairs)
            if advance:
                advance(len(batch))
        for place, (start, one, many) in enumerate(kept):
            generator, images = np.random.default_rng([plan.seed, place]), len(many.block)
            elsewhere = kept[(place + 1) % len(kept)][2]
            orders = ring_orders(images, generator, _ORDERS)
            shuffled = [elsewhere.of(generator.permutation(images)) for _ in range(_ORDERS)]
            found.add("after one step", [(start, one)])
            found.add("after many steps", [(start, many)])
            found.add("images exchanged", [(start, many.of(order)) for order in orders])
            found.add("another task's images, shuffled", [(start, other) for other in shuffled])
            found.add("units permuted", [(start, many.permuted(generator))])
    return tuple(_answer(question, measure, found) for question in QUESTIONS for measure in asked)


@dataclass(frozen=True, eq=False)
class _Layer:
    """A layer's activations of one task's images."""

    info: LayerInfo
    block: Float[np.ndarray, "image ..."]

    def of(self, images: np.ndarray) -> _Layer:
        return _Layer(self.info, self.block[images])

    def permuted(self, generator: np.random.Generator) -> _Layer:
        order = generator.permutation(self.info.features)
        return _Layer(self.info, np.take(self.block, order, axis=self.info.channel_axis + 1))


def _layers(known: Sequence[LayerInfo], blocks: Blocks, place: int) -> dict[str, _Layer]:
    return {info.name: _Layer(info, blocks[info.name][place].cpu().numpy()) for info in known}


def _moved(before: Mapping[str, _Layer], after: Mapping[str, _Layer]) -> str:
    """Return the deepest layer before the head that adaptation moves; the head where there is none."""
    *body, head = before
    moved = [name for name in body if not np.array_equal(before[name].block, after[name].block)]
    return moved[-1] if moved else head


def _neighbours(layers: Sequence[_Layer]) -> Iterator[tuple[str, list[tuple[_Layer, _Layer]]]]:
    """Yield every layer of the first one's kind beside the next, and beside the one after that."""
    chain = [layer for layer in layers if layer.info.samples == layers[0].info.samples]
    three = list(zip(chain, chain[1:], chain[2:], strict=False))
    yield "next layer", [(one, following) for one, following, _ in three]
    yield "layer after the next", [(one, last) for one, _, last in three]


class _Numbers:
    """What measures say of pairs of layers: a number a task, the mean of its pairs, or why there is none."""

    def __init__(self, measures: Sequence[Measure]) -> None:
        self._measures = measures
        self.values: dict[tuple[str, str], list[float]] = {}
        self.reasons: dict[tuple[str, str], str] = {}

    def add(self, key: str, pairs: Sequence[tuple[_Layer, _Layer]]) -> None:
        """Measure one task's pairs."""
        kinds = dict.fromkeys(measure.needs for measure in self._measures)
        ready = {kind: [_pair(kind, *layers) for layers in pairs] for kind in kinds}
        for measure in self._measures:
            numbers, told = [], "" if pairs else "three layers are needed that all have positions, or have none"
            for pair in ready[measure.needs]:
                result = None if isinstance(pair, str) else measure.apply(pair)
                told = told or (pair if isinstance(pair, str) else result.reason if result else "")
                numbers.append(math.nan if result is None or result.value is None else result.value)
            self.values.setdefault((key, measure.name), []).append(float(np.mean(numbers)) if numbers else math.nan)
            if told:
                self.reasons.setdefault((key, measure.name), told)


def _pair(kind: str, x: _Layer, y: _Layer) -> Pair | str:
    if kind == "images":
        return Pair.of_arrays(x.block.reshape(len(x.block), -1), y.block.reshape(len(y.block), -1))
    rows = belonging(rows_of(x.info, x.block), rows_of(y.info, y.block), (x.info, y.info))
    return rows.reason or Pair.of_arrays(rows.x.rows, rows.y.rows)


def _answer(question: Question, measure: Measure, found: _Numbers) -> KnownAnswer:
    keys = [(key, measure.name) for key in (question.first, question.second)]
    first, second = (np.array(found.values[key]) for key in keys)
    nothing = KnownAnswer(measure.name, question.name, None, None, None, None, None, len(first), "undefined")
    if lost := int((~np.isfinite(first - second)).sum()):
        told = next(found.reasons[key] for key in keys if key in found.reasons)
        return dataclasses.replace(nothing, reason=f"{lost} of {len(first)} tasks have none: {told}")
    mean = mean_interval((first - second)[None])
    numbers = {"first": float(first.mean()), "second": float(second.mean()), "difference": mean.value}
    answer = dataclasses.replace(nothing, **numbers, low=mean.low, high=mean.high, result="undecided")
    if mean.low is None or mean.high is None:
        return dataclasses.replace(answer, reason="one task has no interval")
    null = found.values["images exchanged", measure.name]
    way = abs(measure.most_alike - float(np.mean(null)))
    low, high = (mean.low, mean.high) if measure.higher_is_more_similar else (-mean.high, -mean.low)
    if question.share is None:
        passed, failed = low > _NOTHING * way, high <= _NOTHING * way
    else:
        margin = question.share * way
        passed, failed = -margin <= low and high <= margin, low > margin or high < -margin
    if passed or failed:
        return dataclasses.replace(answer, result="passed" if passed else "failed")
    return dataclasses.replace(answer, reason="the interval holds both answers; more tasks may decide it")
