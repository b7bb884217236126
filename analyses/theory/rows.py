"""What the small models of Arnold et al. (2021) say, as rows of the table: sections 4.2–4.4, A.1 and B.1."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from metaprobe.analyses.table import Row, Table
from metaprobe.analyses.theory.descent import MODELS, meta_test, meta_train
from metaprobe.analyses.theory.logistic import bayes_accuracy, logistic_curve, logistic_tasks
from metaprobe.analyses.theory.plans import HELD, MOVING, Descent, LogisticTraining
from metaprobe.analyses.theory.scalar import adapted_deep, hessian, meta_gradient, stationary_points
from metaprobe.trainers.intervals import PERCENT, POSITIVE, mean_interval

__all__ = ["logistic_rows", "scalar_rows"]

_DRAWN = 8  # runs whose weights have rows
_POINTS = 50  # of a curve
_SOURCE = "closed form"


def scalar_rows(how: Descent) -> Table:
    """Train the shallow and the deep model and look at the deep one's loss where the paper does.

    Returns:
        "excess_error", E(ŷ − θx)² after one inner step by model and iteration, a mean over trainings, and the weights
        "weight_a" and "weight_b" of a few of them (`view` says which). At each stationary point that the paper names,
        in `view`: "meta_gradient_norm", and "hessian_of_l" and "hessian_of_2l", the largest difference from the
        printed Hessian of that of L and of 2L, relative to the printed one's largest entry. "one_step_error", the
        largest distance from θ of ab one step from (1/√α, b), over |b| ≤ 2 and |θ| ≤ 3; `step` 0 is of b = 0 alone.
    """
    return Table.of([*_trained(how), *_stationary(how.alpha), *_one_step(how.alpha)])


def _trained(how: Descent) -> Iterator[Row]:
    shown = np.unique(np.linspace(0, how.iterations, _POINTS + 1).round().astype(int))
    for model in MODELS:
        path = meta_train(model, how)[shown]
        for at, errors in zip(shown.tolist(), 2 * meta_test(path, how.alpha) - 1, strict=True):
            mean = mean_interval(errors[None], POSITIVE)
            told = {"learner": model, "iteration": at, "n": how.runs, "source": _SOURCE}
            yield Row(measure="excess_error", value=mean.value, low=mean.low, high=mean.high, **told)
        if MODELS[model] == 2:
            for run, weight in np.ndindex(min(how.runs, _DRAWN), 2):
                for at, value in zip(shown.tolist(), path[:, run, weight].tolist(), strict=True):
                    name = f"weight_{'ab'[weight]}"
                    told = {"learner": model, "view": f"training {run}", "iteration": at, "source": _SOURCE}
                    yield Row(measure=name, value=value, **told)


def _stationary(alpha: float) -> Iterator[Row]:
    for point in stationary_points(alpha):
        printed, found = np.diag(point.printed), hessian(point.a, point.b, alpha)
        size = np.abs(printed).max()
        values = {
            "meta_gradient_norm": np.linalg.norm(meta_gradient(point.a, point.b, alpha)),
            "hessian_of_l": np.abs(found - printed).max() / size,
            "hessian_of_2l": np.abs(2 * found - printed).max() / size,
        }
        for measure, value in values.items():
            yield _exact(float(value), measure=measure, learner="deep", view=point.name)


def _one_step(alpha: float) -> Iterator[Row]:
    b, theta = np.meshgrid(np.linspace(-2, 2, 41), np.linspace(-3, 3, 61))
    for view, hold in ((HELD, True), (MOVING, False)):
        for step, start in ((0, np.zeros_like(b)), (1, b)):
            a_new, b_new = adapted_deep(np.full_like(b, alpha**-0.5), start, theta, alpha, hold_a=hold)
            value = float(np.abs(a_new * b_new - theta).max())
            yield _exact(value, measure="one_step_error", learner="deep", view=view, step=step)


def _exact(value: float, **columns: Any) -> Row:
    """Return the row of a number that nothing was drawn for: its interval is itself."""
    return Row(value=value, low=value, high=value, source=_SOURCE, **columns)


def logistic_rows(how: LogisticTraining, tests: int, advance: Callable[[int], None] | None = None) -> Table:
    """Meta-train logistic regressions with and without linear layers, and test them on the same tasks as they go.

    Args:
        how: rates, tasks, iterations.
        tests: tasks of a test.
        advance: called with how many models were just trained.

    Returns:
        "accuracy" in percent after one inner step by model ("lr", "lr+2", "lr+3") and iteration, and "bayes_accuracy";
        `view` says how labels come about.
    """
    tasks = logistic_tasks(tests, how, np.random.default_rng([how.seed, tests]))
    rows = [_exact(bayes_accuracy(how.labels), measure="bayes_accuracy", view=how.labels)]
    for layers, _ in how.betas:
        iterations, curve = logistic_curve(layers, how, tasks)
        for at, accuracies in zip(iterations, curve, strict=True):
            mean = mean_interval(accuracies[None], PERCENT, how.n_query)
            told = {"learner": f"lr+{layers}" if layers else "lr", "iteration": at, "view": how.labels, "n": tests}
            rows.append(Row(measure="accuracy", value=mean.value, low=mean.low, high=mean.high, seed=how.seed, **told))
        if advance:
            advance(1)
    return Table.of(rows)
