"""What estimates of a bound's terms come to, each with how it was made."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float

from metaprobe.analyses.clustering.task_optimum import OptimumSearch
from metaprobe.analyses.table import Row
from metaprobe.analyses.testing.accuracy import mean_row, task_rows
from metaprobe.trainers.config import Adaptation
from metaprobe.trainers.intervals import POSITIVE

__all__ = ["Found", "bound_rows", "first_term"]


@dataclasses.dataclass(frozen=True)
class Found:
    """What was measured of each task.

    Attributes:
        own: ‖θ − θ_T*‖², to the optimum found from the learner's own adapted parameters.
        common: the same to the optimum found from the common start.
        loss: on the sample, where the search for the own optimum ended, in nats.
        gradient: norm of that loss's gradient there.
        steepest: the largest gradient norm of a support sample along the adaptation, of the first tasks.
        curved: the largest |eigenvalue| of the Hessian of the support loss along the adaptation, of these too.
    """

    own: Float[np.ndarray, " task"]
    common: Float[np.ndarray, " task"]
    loss: Float[np.ndarray, " task"]
    gradient: Float[np.ndarray, " task"]
    steepest: Float[np.ndarray, " first"]
    curved: Float[np.ndarray, " first"]


def first_term(
    gradient_bound: float, smoothness: float, inner_lr: float, samples: int, steps: int
) -> Float[np.ndarray, " step"]:
    """Return 2G²(ρ^q − 1)/(KL), ρ = 1 + 2αL, for q = 0 … steps; inf where float64 ends, and 4G²αq/K for L → 0.

    Args:
        gradient_bound: G.
        smoothness: L.
        inner_lr: α.
        samples: K.
        steps: the last q.
    """
    q = np.arange(steps + 1, dtype=np.float64)
    if smoothness == 0:
        return 4 * gradient_bound**2 * inner_lr * q / samples
    with np.errstate(over="ignore"):
        return 2 * gradient_bound**2 * np.expm1(q * np.log1p(2 * inner_lr * smoothness)) / (samples * smoothness)


def bound_rows(
    identity: Row,
    found: Found,
    adaptation: Adaptation,
    search: OptimumSearch,
    common: tuple[str, Adaptation] | None,
    samples: int,
    steps: int,
    tasks: Sequence[int] = (),
) -> Iterator[Row]:
    """Yield the rows that `analyses.clustering.bound.bound_terms` promises.

    Args:
        identity: what they are of.
        found: of each task.
        adaptation: the learner's.
        search: how optima were looked for.
        common: where the common search began, in words, and how it adapted; None where it was the learner's own.
        samples: K, support samples of a task.
        steps: the last q of the first term.
        tasks: the index of each task, for rows of their own of the distances; none for no such rows.
    """
    alpha = adaptation.inner_lr
    own = f"estimate: {_descent(adaptation, search)} from the learner's own start"
    shared = f"{own}, which is the common one too: no other was named"
    if common is not None:
        shared = f"estimate: {_descent(common[1], search)} from {common[0]}, whichever learner is measured"
    for measure, distances, how in (
        ("estimated_squared_distance", found.own, own),
        ("estimated_squared_distance_to_common_optimum", found.common, shared),
    ):
        yield _mean(identity, measure, distances, how)
        yield from task_rows(identity, measure, distances, tasks)
    there = f"{own}; on that sample, "
    yield _mean(identity, "estimated_optimum_loss", found.loss, f"{there}before the last step")
    yield _mean(identity, "estimated_optimum_gradient_norm", found.gradient, f"{there}where it ends")
    yield from _first(identity, found, adaptation, samples, steps)
    second = f"{own}; its squared distance, times 1/(2α) = {1 / (2 * alpha):g}"
    yield _mean(identity, "estimated_second_term", found.own / (2 * alpha), second)


def _descent(adaptation: Adaptation, search: OptimumSearch) -> str:
    return (
        f"θ_T* is where {adaptation.steps} inner steps on the support set, then {search.steps} of full-batch gradient "
        f"descent (rate {search.rate or adaptation.inner_lr:g}) on up to {search.images} images of each class, support "
        "included, lead"
    )


def _first(identity: Row, found: Found, adaptation: Adaptation, samples: int, steps: int) -> Iterator[Row]:
    alpha, tasks = adaptation.inner_lr, len(found.steepest)
    along = f"at the start and after each of {adaptation.steps} inner steps of {tasks} tasks; a lower estimate"
    steepest, curved = float(found.steepest.max()), float(found.curved.max())
    condition = _condition(alpha, curved)
    yield _single(
        identity,
        "estimated_gradient_bound",
        steepest,
        tasks,
        f"estimate: the largest gradient norm of the loss of a support sample {along}",
    )
    yield _single(
        identity,
        "estimated_smoothness",
        curved,
        tasks,
        f"estimate: the largest |eigenvalue| of the support loss's Hessian, by power iteration, {along}; {condition}",
    )
    yield _single(
        identity,
        "estimated_growth",
        1 + 2 * alpha * curved,
        tasks,
        f"estimate: ρ = 1 + 2αL of the lower estimate of L; {condition}",
    )
    reason = f"estimate: 2G²(ρ^q − 1)/(KL) of lower estimates of G and L, α = {alpha:g}, K = {samples}; {condition}"
    for q, value in enumerate(first_term(steepest, curved, alpha, samples, steps)):
        yield _single(dataclasses.replace(identity, step=q), "estimated_first_term", float(value), tasks, reason)


def _condition(alpha: float, curved: float) -> str:
    if not np.isfinite(curved):
        return "whether the theorem's α ≤ 1/L holds is not known: the estimate of L is no number"
    if not alpha * curved > 1:
        return f"the theorem's α ≤ 1/L is not contradicted: α = {alpha:g}, αL ≥ {alpha * curved:.3g}"
    return (
        f"the theorem asks for α ≤ 1/L, and here α = {alpha:g} > {1 / curved:.3g} ≥ 1/L, so that it says nothing of "
        "this learner"
    )


def _mean(identity: Row, measure: str, per_task: Float[np.ndarray, " task"], reason: str) -> Row:
    if lost := int((~np.isfinite(per_task)).sum()):
        told = f"the descent left the finite numbers in {lost} of {len(per_task)} tasks, lower its rate; {reason}"
        return dataclasses.replace(identity, measure=measure, n=len(per_task), status="undefined", reason=told)
    row = mean_row(identity, measure, per_task, POSITIVE)
    return dataclasses.replace(row, reason="; ".join(filter(None, (reason, row.reason))))


def _single(identity: Row, measure: str, value: float, tasks: int, reason: str) -> Row:
    row = dataclasses.replace(identity, measure=measure, n=tasks)
    if not np.isfinite(value):
        return dataclasses.replace(row, status="undefined", reason=f"not a finite float64 number; {reason}")
    return dataclasses.replace(row, value=value, reason=reason)
