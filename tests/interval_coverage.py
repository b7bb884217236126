"""How often intervals of means over tasks hold the truth: `python -m tests.interval_coverage` prints the table."""

from __future__ import annotations

import math
import sys

import numpy as np
from scipy import optimize, stats

from metaprobe.trainers.intervals import PERCENT, mean_interval

QUERIES = 75
TASKS = (3, 5, 10, 30, 100, 600)


def interval_of(per_task, limits, queries=1):
    """The interval of a mean over tasks, from scipy's of Student; of accuracies that agree, Wilson's of all answers."""
    mean, n = per_task.mean(), len(per_task)
    if np.ptp(per_task) == 0:
        if not math.isfinite(limits[1]):
            return mean, mean
        p, a = (mean - limits[0]) / (limits[1] - limits[0]), stats.t.ppf(0.975, n - 1) ** 2 / (n * queries)
        ends = [(p + a / 2 + sign * math.sqrt(a * p * (1 - p) + a * a / 4)) / (1 + a) for sign in (-1, 1)]
        return tuple(limits[0] + (limits[1] - limits[0]) * end for end in ends)
    low, high = stats.t.interval(0.95, n - 1, loc=mean, scale=stats.sem(per_task))
    return (low, high) if math.isinf(limits[0]) else solved(mean, (high - low) / 2, limits)


def solved(value, half, limits):
    """The ends by root finding: where (x − m)² of h² is the share of r(x) of r(m)."""
    low, high = limits

    def room(x):
        return (x - low) * ((high - x) if math.isfinite(high) else 1.0)

    def gap(x):
        return (x - value) ** 2 * room(value) - half**2 * room(x)

    far = high if math.isfinite(high) else value + 100 * half + half**2 / (value - low) * 100
    return optimize.brentq(gap, low, value, xtol=1e-13), optimize.brentq(gap, value, far, xtol=1e-13)


def beta(mean, deviation):
    """Tasks whose chance of a right answer is beta-distributed."""
    total = mean * (1 - mean) / deviation**2 - 1
    return lambda generator, size: generator.beta(mean * total, (1 - mean) * total, size)


def lognormal(error, sigma):
    """Tasks whose chance of a wrong answer is lognormal: a few are far harder than the rest."""
    return lambda generator, size: 1 - np.minimum(1, error * np.exp(generator.normal(0, sigma, size)))


SCENARIOS = {
    "60 ± 10": beta(0.6, 0.1),
    "98 ± 2": beta(0.98, 0.02),
    "99 ± 1.2": beta(0.99, 0.012),
    "lognormal 7 % wrong, σ 0.8": lognormal(0.07, 0.8),
    "lognormal 1 % wrong, σ 1": lognormal(0.01, 1.0),
}


def studies(scenario, tasks, count, *, seeds=1, by_seed=0.0, seed=0):
    """Yield accuracies (seed, task) in percent, of `count` studies; a learner's own effect moves its chances."""
    generator = np.random.default_rng([seed, tasks, seeds])
    for _ in range(count):
        chances = SCENARIOS[scenario](generator, (1, tasks)) + generator.normal(0, by_seed, (seeds, 1))
        yield 100 * generator.binomial(QUERIES, np.clip(chances, 0, 1)) / QUERIES


def truth(scenario):
    """Return the mean accuracy over a million tasks, in percent."""
    return 100 * float(SCENARIOS[scenario](np.random.default_rng(99), (1_000_000,)).mean())


def coverage(scenario, tasks, count, **how):
    """Return the share of intervals that hold the truth: ours, and Student's over the seeds' mean."""
    found, right = np.zeros(2), truth(scenario)
    for values in studies(scenario, tasks, count, **how):
        mean = mean_interval(values, PERCENT, QUERIES)
        per_task = values.mean(axis=0)
        half = stats.t.ppf(0.975, tasks - 1) * per_task.std(ddof=1) / tasks**0.5
        found += mean.low <= right <= mean.high, abs(mean.value - right) <= half
    return found / count


def coverage_of_differences(tasks, count):
    """Return the share of intervals of a paired difference of two skewed learners that hold it."""
    generator, held = np.random.default_rng([1, tasks]), 0
    for _ in range(count):
        wrong = 0.07 * np.exp(generator.normal(0, 0.8, tasks))
        left, right = (
            100 - 100 * generator.binomial(QUERIES, np.minimum(1, scale * wrong)) / QUERIES for scale in (0.5, 1.0)
        )
        mean = mean_interval((left - right)[None], (-100.0, 100.0))
        held += mean.low <= _DIFFERENCE <= mean.high
    return held / count


def _difference():
    wrong = 0.07 * np.exp(np.random.default_rng(99).normal(0, 0.8, 1_000_000))
    return 100 * float((np.minimum(1, wrong) - np.minimum(1, 0.5 * wrong)).mean())


_DIFFERENCE = _difference()


def main() -> None:
    """Print the table."""
    write = sys.stdout.write
    write(f"{'tasks':28s}" + "".join(f"{tasks:>13d}" for tasks in TASKS) + "\n")
    for scenario in SCENARIOS:
        cells = [coverage(scenario, tasks, 4000 if tasks < 100 else 2000) for tasks in TASKS]
        write(f"{scenario:28s}" + "".join(f"{100 * a:6.1f} ({100 * b:4.1f})" for a, b in cells) + "\n")
    cells = [coverage("60 ± 10", tasks, 2000, seeds=3, by_seed=0.02) for tasks in TASKS]
    write(f"{'60 ± 10, 3 seeds, each ± 2':28s}" + "".join(f"{100 * a:6.1f} ({100 * b:4.1f})" for a, b in cells) + "\n")
    write(f"{'difference of lognormals':28s}")
    write("".join(f"{100 * coverage_of_differences(tasks, 2000):6.1f}       " for tasks in TASKS) + "\n")


if __name__ == "__main__":
    main()
