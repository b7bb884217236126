"""A made-up zhou2021 study with planted truths, as rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

from metaprobe.analyses.table import Row
from metaprobe.reports.made import Trained
from tests import raghu_rows
from tests.evidence_rows import row

DOMAINS = ("glyphs", "patterns", "shapes")
LEVEL = {"": 75.0, "glyphs": 90.0, "patterns": 75.0, "shapes": 60.0}
LEARNERS = {"base": 0.0, "m3": 4.0, "m1": 1.0, "m5": 4.2, "m3-symmetric": 4.5, "large": 0.5}
"""Points of accuracy that each learner is above MAML, on every domain."""
CHECKPOINTS = {"base": "b", "m3": "c", "m1": "d", "m5": "e", "m3-symmetric": "9", "large": "f"}
VIEWS = {"assignment": 0.93, "all": 0.91, "body": 0.95, "head": 0.05, "features": 0.1}
"""Adjusted Rand index of each view."""
MADE = dataclasses.replace(
    raghu_rows.MADE, study="zhou2021", data="glyphs+patterns+shapes", n_shot=5, inner_lr=0.05,
    learners=tuple(Trained(key, key, 391_000 if key == "large" else 113_000, 300, 4) for key in LEARNERS),
    commands=("metaprobe study zhou2021 --preset quick",),
)  # fmt: skip


def study_rows(seeds: tuple[int, ...] = (0,), single: bool = True) -> Iterator[Row]:
    """Yield the rows of a made-up study; those of single tasks that differences are made from if asked for."""
    for seed in seeds:
        rng = np.random.default_rng(seed)
        yield from (*_accuracies(seed), *_usage(seed), *_usage(seed, 0.01, "m3-symmetric"))
        yield from (*_agreement(seed), *_agreement(seed, "m3-symmetric"))
        for found in (*_embeddings(rng, seed), *_steps(seed), *_bound(seed)):
            yield found
            if single and found.measure in PAIRED:
                yield from _of_tasks(found)


PAIRED = ("query_loss", "estimated_squared_distance", "estimated_squared_distance_to_common_optimum")


def _of_tasks(mean: Row, tasks: int = 40) -> Iterator[Row]:
    """Yield what single tasks have: what is hard is so for all learners, so that pairing narrows what is compared."""
    assert mean.value is not None
    rng = np.random.default_rng([mean.seed or 0, mean.step or 0, *f"{mean.learner} {mean.measure}".encode()])
    hard, own = np.random.default_rng(mean.seed).normal(0, 0.3, tasks), rng.normal(0, 0.03, tasks)
    for task, value in enumerate(mean.value + (hard - hard.mean()) + (own - own.mean())):
        yield dataclasses.replace(mean, task=task, value=float(value), low=None, high=None, n=1)


def one_domain_rows(gain: float = 1.5) -> Iterator[Row]:
    """Yield the rows of a study on data of one domain, tested transductively and one query at a time."""
    for found in study_rows():
        if found.measure.startswith("accuracy") and not found.group:
            yield found
            by_one = dataclasses.replace(found, view="one-query")
            if found.learner == "m3" and found.measure == "accuracy_difference":
                by_one = dataclasses.replace(by_one, value=gain, low=gain - 0.4, high=gain + 0.4)
            yield by_one
        elif found.measure.startswith("usage_") and found.group == DOMAINS[0]:
            yield dataclasses.replace(found, group="cifar_fs")
        elif found.measure in ("query_loss", "support_loss"):
            yield found


def _who(key: str, seed: int) -> dict[str, Any]:
    who = {"algorithm": "tsa_maml" if key[0] == "m" else "maml", "learner": key, "seed": seed, "iteration": 300}
    return who | {"checkpoint": f"{CHECKPOINTS[key]}{seed}" * 6}


def _accuracies(seed: int) -> Iterator[Row]:
    for key, gain in LEARNERS.items():
        for group in ("", *DOMAINS):
            what = _who(key, seed) | {"group": group, "n": 600, "head": "own"}
            yield row("accuracy", LEVEL[group] + gain + 0.1 * seed, 0.9, **what)
            for other in ("base", "m1", "m3"):
                if key != other:
                    yield row("accuracy_difference", gain - LEARNERS[other], 0.4, minus=f"learner={other}", **what)


def _usage(seed: int, confused: float = 0.02, key: str = "m3") -> Iterator[Row]:
    for place, group in enumerate(DOMAINS):
        for cluster in range(3):
            share = 1 - confused if cluster == (place + seed) % 3 else confused / 2
            what = _who(key, seed) | {"group": group, "cluster": cluster, "view": "assignment", "n": 1000}
            yield row("usage_count", 1000 * share, **what)
            yield row("usage_frequency", share, 0.01, **what)


def _agreement(seed: int, key: str = "m3") -> Iterator[Row]:
    for view, value in VIEWS.items():
        what = _who(key, seed) | {"view": view, "n": 3000}
        yield row("adjusted_rand", value, 0.03, **what)
        yield row("normalised_mutual_information", value * 0.95, 0.03, **what)
        yield row("purity", 1 / 3 + 2 / 3 * value, 0.02, **what)
        if view in ("all", "body", "head"):
            yield row("unchanged_by_label_order", {"all": 0.9, "body": 0.97, "head": 0.3}[view], 0.02, **what)
            yield row("unchanged_by_label_order_null", 0.34, 0.02, **what)
    for pair, value in (("all~body", 0.9), ("all~head", 0.04), ("body~head", 0.03)):
        yield row("adjusted_rand_between", value, 0.03, view=pair, n=3000, **_who(key, seed))


def _embeddings(rng: np.random.Generator, seed: int) -> Iterator[Row]:
    for view, algorithm, apart in (("features", "maml", 0.3), ("all", "maml", 3.0), ("all", "tsa_maml", 4.0)):
        for method in ("pca", "tsne", "umap"):
            what = _who("m3", seed) | {"algorithm": algorithm, "view": view}
            what["reason"] = f"{method} as made up, seed 0; trustworthiness among 10 neighbours"
            yield row(f"{method}_trustworthiness", 0.9, n=60, **what)
            for task in range(60):
                place = task // 20
                x, y = rng.normal(0, 1, 2) + apart * np.array([np.cos(2.1 * place), np.sin(2.1 * place)])
                at = what | {"task": task, "group": DOMAINS[place], "cluster": place % 3}
                yield row(f"{method}_x", x, **at)
                yield row(f"{method}_y", y, **at)


def _steps(seed: int, top: int = 20) -> Iterator[Row]:
    for key, lift in (("base", 0.1), ("m1", 0.08), ("m3", 0.0)):
        for step in range(top + 1):
            fall = np.exp(-step / 1.2)
            values = {
                "support_loss": 1.6 * fall,
                "query_loss": 0.5 + 1.1 * fall + 0.02 * max(0, step - 4) + lift,
                "support_accuracy": 100 - 80 * fall,
                "query_accuracy": 80 - 60 * fall - 0.3 * max(0, step - 4) - 20 * lift,
            }
            for measure, value in values.items():
                what = _who(key, seed) | {"step": step, "inner_steps": top, "n": 1000}
                half = 0.02 if measure.endswith("loss") else 0.8
                yield row(measure, value, half, **what)
                yield row(f"{measure}_lower_quartile", value - 6 * half, **what)
                yield row(f"{measure}_upper_quartile", value + 6 * half, **what)


def _bound(seed: int) -> Iterator[Row]:
    for key, near in (("m1", 1.0), ("m3", 0.6)):
        what = _who(key, seed) | {"n": 100, "reason": "estimate: made up"}
        yield row("estimated_squared_distance", 5 * near, 0.3, **what)
        yield row("estimated_squared_distance_to_common_optimum", 6 * near, 0.3, **what)
        yield row("estimated_second_term", 50 * near, 3, **what)
        for measure, value in (("smoothness", 8.0), ("gradient_bound", 3.0), ("growth", 1.8)):
            yield row(f"estimated_{measure}", value, **what)
        for q in range(21):
            yield row("estimated_first_term", 2 * 9 * (1.8**q - 1) / (25 * 8), step=q, **what)
