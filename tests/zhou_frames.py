"""A made-up zhou2021 study with planted truths, as the tidy table of its rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from reports.studies.made import HowMade
from reports.studies.zhou2021.learners import Learner
from tests.report_frames import how_made as raghu_made
from tests.report_frames import row

DOMAINS = ("glyphs", "patterns", "shapes")
LEVEL = {"": 75.0, "glyphs": 90.0, "patterns": 75.0, "shapes": 60.0}
SWEEP = (3, 1, 5)
CHECKPOINTS = {"base": "b", "m3": "c", "m1": "d", "m5": "e", "large": "f"}
ABOVE_MAML = {"base": 0.0, "m3": 4.0, "m1": 1.0, "m5": 4.2, "large": 0.5}
"""Points of accuracy that each learner is above MAML, on every domain."""
FIRST = {"base": "base", "m1": "m1", "first": "m3"}
VIEWS = {"assignment": 0.93, "all": 0.91, "body": 0.95, "head": 0.05, "features": 0.1}
"""Adjusted Rand index planted for each view."""


def checkpoint_of(key: str, seed: int = 0) -> str:
    """Return the id of a learner's checkpoint."""
    return f"{CHECKPOINTS[key]}{seed}" * 6


def learners(seeds: tuple[int, ...] = (0,), keys: tuple[str, ...] = tuple(CHECKPOINTS)) -> tuple[Learner, ...]:
    """Return the learners of the made-up study."""
    found = []
    for seed in seeds:
        for key in keys:
            role, m = ("tsa", int(key[1:])) if key[0] == "m" else (key, 1)
            size = 391_000 if key == "large" else 113_000
            found.append(Learner(role, seed, checkpoint_of(key, seed), m, size))  # pyright: ignore[reportArgumentType]
    return tuple(found)


def who(key: str, seed: int) -> dict[str, Any]:
    """Return the columns that say which checkpoint a row is of."""
    algorithm = "tsa_maml" if key[0] == "m" else "maml"
    return {"algorithm": algorithm, "seed": seed, "iteration": 300, "checkpoint": checkpoint_of(key, seed)}


def zhou_frame(
    seeds: tuple[int, ...] = (0,),
    above: dict[str, float] | None = None,
    views: dict[str, float] | None = None,
    confused: float = 0.02,
    domains: tuple[str, ...] = DOMAINS,
) -> pd.DataFrame:
    """Return the table of a made-up study.

    Args:
        seeds: of the trainings.
        above: points of accuracy of learners above MAML, in place of `ABOVE_MAML`.
        views: adjusted Rand index of views, in place of `VIEWS`.
        confused: share of a domain's tasks that start from an initialisation of another.
        domains: of the tasks.
    """
    rows: list[dict[str, Any]] = []
    for seed in seeds:
        rng = np.random.default_rng(seed)
        rows += _accuracies(seed, ABOVE_MAML | (above or {}), domains)
        rows += _usage(seed, confused, domains) + _agreement(seed, VIEWS | (views or {}))
        rows += _embeddings(rng, seed, domains) + _steps(seed) + _bound(seed)
    return pd.DataFrame(rows)


def how_made(data: str = "glyphs+patterns+shapes", seeds: int = 1) -> HowMade:
    """Return how the made-up study was made."""
    made = vars(raghu_made(data, seeds)) | {"n_shot": 5, "commands": ("metaprobe study zhou2021 --preset quick",)}
    return HowMade(**made)


def _accuracies(seed: int, above: dict[str, float], domains: tuple[str, ...]) -> list[dict[str, Any]]:
    rows = []
    for key, gain in above.items():
        for group in ("", *domains):
            level = LEVEL.get(group, 70.0) + gain + 0.1 * seed
            rows.append(row("accuracy", level, 0.9, group=group, n=600, head="own", **who(key, seed)))
            for over, other in FIRST.items():
                if key != other:
                    gap = gain - above[other]
                    rows.append(row(f"accuracy_gain_over_{over}", gap, 0.4, group=group, n=600, **who(key, seed)))
    return rows


def _usage(seed: int, confused: float, domains: tuple[str, ...]) -> list[dict[str, Any]]:
    rows = []
    for place, group in enumerate(domains):
        for cluster in range(3):
            share = 1 - confused if cluster == (place + seed) % 3 else confused / 2
            what = who("m3", seed) | {"group": group, "cluster": cluster, "view": "assignment", "n": 1000}
            rows += [row("usage_count", 1000 * share, **what), row("usage_frequency", share, 0.01, **what)]
    return rows


def _agreement(seed: int, views: dict[str, float]) -> list[dict[str, Any]]:
    rows = []
    for view, value in views.items():
        what = who("m3", seed) | {"view": view, "n": 3000}
        rows.append(row("adjusted_rand", value, 0.03, **what))
        rows.append(row("normalised_mutual_information", value * 0.95, 0.03, **what))
        rows.append(row("purity", 1 / 3 + 2 / 3 * value, 0.02, **what))
        if view in ("all", "body", "head"):
            share = {"all": 0.9, "body": 0.97, "head": 0.3}[view]
            rows.append(row("unchanged_by_label_order", share, 0.02, **what))
    for pair, value in (("all~body", 0.9), ("all~head", 0.04), ("body~head", 0.03)):
        rows.append(row("adjusted_rand_between", value, 0.03, view=pair, n=3000, **who("m3", seed)))
    return rows


def _embeddings(rng: np.random.Generator, seed: int, domains: tuple[str, ...]) -> list[dict[str, Any]]:
    rows = []
    for view, algorithm, apart in (("features", "maml", 0.3), ("all", "maml", 3.0), ("all", "tsa_maml", 4.0)):
        for method in ("pca", "tsne", "umap"):
            what = who("m3", seed) | {"algorithm": algorithm, "view": view}
            what["reason"] = f"{method} as made up, seed 0; trustworthiness among 10 neighbours"
            rows.append(row(f"{method}_trustworthiness", 0.9, n=60, **what))
            for task in range(20 * len(domains)):
                place = task // 20
                x, y = rng.normal(0, 1, 2) + apart * np.array([np.cos(2.1 * place), np.sin(2.1 * place)])
                at = what | {"task": task, "group": domains[place], "cluster": place % 3}
                rows += [row(f"{method}_x", x, **at), row(f"{method}_y", y, **at)]
    return rows


def _steps(seed: int, top: int = 20) -> list[dict[str, Any]]:
    rows = []
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
                what = who(key, seed) | {"step": step, "inner_steps": top, "n": 1000}
                half = 0.02 if measure.endswith("loss") else 0.8
                rows.append(row(measure, value, half, **what))
                rows.append(row(f"{measure}_lower_quartile", value - 6 * half, **what))
                rows.append(row(f"{measure}_upper_quartile", value + 6 * half, **what))
    return rows


def _bound(seed: int) -> list[dict[str, Any]]:
    rows = []
    for key, near in (("m1", 1.0), ("m3", 0.6)):
        what = who(key, seed) | {"n": 100, "reason": "estimate: made up"}
        rows.append(row("estimated_squared_distance", 5 * near, 0.3, **what))
        rows.append(row("estimated_squared_distance_to_common_optimum", 6 * near, 0.3, **what))
        rows.append(row("estimated_second_term", 50 * near, 3, **what))
        rows += [row("estimated_smoothness", 8.0, **what), row("estimated_gradient_bound", 3.0, **what)]
        rows.append(row("estimated_growth", 1.8, **what))
        for q in range(21):
            rows.append(row("estimated_first_term", 2 * 9 * (1.8**q - 1) / (25 * 8), step=q, **what))
    return rows
