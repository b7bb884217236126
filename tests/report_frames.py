"""A made-up study with realistic numbers, as the tidy table of its rows, for the tests of the report."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from analyses.table import COLUMNS
from reports.studies.raghu2020.page import HowMade

BODY = ("conv1", "conv2", "conv3", "conv4")
LAYERS = (*BODY, "head")
BLOCKS = tuple(",".join(BODY[:k]) for k in range(5))
STAGES = (2000, 4000, 6000)
COST = {5: (0.0, 0.1, 0.3, 0.8, 44.0), 10: (0.0, 0.1, 0.2, 0.6, 24.0), 30: (0.0, 0.0, 0.1, 0.4, 6.0)}
CCA = {"conv1": 0.998, "conv2": 0.992, "conv3": 0.971, "conv4": 0.873, "head": 0.52}
MEASURES = {
    "mean_cca": 1.0,
    "svcca": 0.99,
    "pwcca": 0.995,
    "linear_cka": 0.985,
    "debiased_cka": 0.98,
    "procrustes": 0.97,
}
NIL_ACCURACY = {"maml": 92.0, "anil": 92.0, "multiclass": 80.0, "nil": 75.0, "random": 60.0, "multitask": 50.0}
CITATIONS = dict.fromkeys(MEASURES, "Author et al. A measure of similarity. ICML 2019.")


def row(measure: str, value: float | None, half: float | None = None, **columns: Any) -> dict[str, Any]:
    """Return one row; `half` is the half-width of its interval."""
    bounds = {} if half is None or value is None else {"low": value - half, "high": value + half}
    return dict.fromkeys(COLUMNS) | {"measure": measure, "value": value, "status": "ok"} | bounds | columns


def study_frame(
    seeds: tuple[int, ...] = (0,), algorithms: tuple[str, ...] = ("maml", "anil", "random")
) -> pd.DataFrame:
    """Return the table of a made-up study of MAML, ANIL and an untrained network."""
    rows: list[dict[str, Any]] = []
    for algorithm in algorithms:
        for seed in seeds:
            rng = np.random.default_rng([seed, len(algorithm), ord(algorithm[0])])
            who = {
                "algorithm": algorithm,
                "seed": seed,
                "checkpoint": f"{algorithm[:1]}{seed}" * 6,
                "source": "made up",
            }
            if algorithm != "random":
                rows += _curves(rng, who) + _similarities(rng, who) + _distances(rng, who)
            rows += _tests(rng, who)
    return pd.DataFrame(rows, columns=COLUMNS)


def full_frame(seeds: tuple[int, ...] = (0,)) -> pd.DataFrame:
    """Return the same with what was measured on the six training regimes: the order of the paper, heads alike."""
    rows: list[dict[str, Any]] = []
    for regime, level in NIL_ACCURACY.items():
        for seed in seeds:
            last = 0 if regime == "random" else STAGES[-1]
            who = {"algorithm": regime, "seed": seed, "iteration": last, "frozen": "", "n": 600, "source": "made up"}
            who["checkpoint"] = f"{regime[:2]}{seed}" * 4
            adapted = {"phase": "post", "inner_steps": 5}
            rows.append(row("head_difference", -0.6 + 0.1 * seed, 0.4, **who, inner_steps=5))
            if regime in ("maml", "anil"):  # the rest is in the frame of their own study
                continue
            rows.append(row("accuracy", level - 0.6 + 0.1 * seed, 0.6, **who, **adapted, head="maml"))
            rows.append(row("accuracy", level, 0.6, **who, phase="pre", inner_steps=0, head="nil"))
    return pd.concat([study_frame(seeds), pd.DataFrame(rows, columns=COLUMNS)], ignore_index=True)


def how_made(data: str = "glyphs", seeds: int = 1) -> HowMade:
    """Return how the made-up study was made."""
    labels = [f"{name} seed {seed}" for name in ("maml", "anil") for seed in range(seeds)]
    return HowMade(
        data=data,
        data_facts=(("classes", "1,722 train, 312 validation, 431 test"), ("images", "28×28, 1 channel")),
        n_way=5,
        n_shot=1,
        n_query=5,
        test_queries=15,
        trained_steps=5,
        commands=("metaprobe study raghu2020 --preset quick --out runs/quick",),
        configs=tuple(
            (label, key, value)
            for label in labels
            for key, value in (("inner_lr", "0.4"), ("steps", "5"), ("layers", "head" if "anil" in label else "all"))
        ),
        checkpoints=tuple((label, f"{i:x}" * 64) for i, label in enumerate(labels, 10)),
        versions=(("metaprobe", "0.1.0"), ("torch", "2.15.0"), ("numpy", "2.4.6")),
        notes=("Normalisation is transductive: a query set is normalised together.",),
    )


def _curves(rng: np.random.Generator, who: dict[str, Any]) -> list[dict[str, Any]]:
    top = 95.0 if who["algorithm"] == "maml" else 93.5
    rows = []
    for iteration in range(0, 6001, 100):
        level = 20 + (top - 20) * (1 - np.exp(-iteration / 700)) + rng.normal(0, 0.5)
        loss = 1.61 * (100 - level) / 80
        at = who | {"iteration": iteration}
        rows += [row("train_accuracy", level + rng.normal(0, 2), **at), row("train_loss", loss * 0.95, **at)]
        if iteration % 300 == 0:
            rows += [row("val_accuracy", level - 1, 0.8, n=200, **at), row("val_loss", loss * 1.05, 0.04, n=200, **at)]
    return rows


def _tests(rng: np.random.Generator, who: dict[str, Any]) -> list[dict[str, Any]]:
    rows = []
    untrained = who["algorithm"] == "random"
    shift = rng.normal(0, 0.3)
    for at, stage in enumerate((0,) if untrained else STAGES):
        for steps, costs in COST.items():
            for block, cost in zip(BLOCKS, costs, strict=True):
                full = 46.0 if untrained else 93.6 + shift + at - (2 - at) * 1.3
                cost = cost * (0.2 if untrained else 0 if who["algorithm"] == "anil" else 1)
                what = who | {
                    "iteration": stage,
                    "phase": "post",
                    "frozen": block,
                    "head": "own",
                    "inner_steps": steps,
                    "n": 600,
                }
                rows.append(row("accuracy", full - cost, 0.5 + 0.02 * cost, **what))
                rows.append(row("accuracy_difference", -cost, 0.0 if not block else 0.15 + 0.02 * cost, **what))
        if not untrained:
            what = who | {
                "iteration": stage,
                "phase": "pre",
                "frozen": "",
                "head": "nil",
                "inner_steps": 0,
                "n": 600,
            }
            rows.append(row("accuracy", 90.0 + at + shift, 0.6, **what))
    return rows


def _similarities(rng: np.random.Generator, who: dict[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for layer in LAYERS:
        for stage in STAGES:
            for step in range(1, 6) if stage == STAGES[-1] else (5,):
                for measure, factor in MEASURES.items():
                    kept = who["algorithm"] == "anil" and layer != "head"
                    base = 1.0 if kept else 1 - (1 - CCA[layer] * factor) * (step / 5) ** 0.7
                    value = base - (0 if kept else abs(rng.normal(0, 0.002)))
                    what = who | {
                        "layer": layer,
                        "iteration": stage,
                        "step": step,
                        "phase": "pre-post",
                        "inner_steps": 5,
                    }
                    what |= {
                        "samples": "images" if layer == "head" else "positions",
                        "n": 7500 if layer == "head" else 120000,
                    }
                    if measure == "svcca" and layer == "head":
                        what |= {"status": "undefined", "reason": "2 of 5 columns are dead"}
                        rows.append(row(measure, None, **what))
                        continue
                    rows.append(row(measure, value, 0.0 if kept else 0.006, **what))
                    rows.append(row(f"{measure}_null", 0.02 if "cka" in measure else 0.08, 0.003, **what))
    return rows


def _distances(rng: np.random.Generator, who: dict[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for position, layer in enumerate(LAYERS):
        for stage in STAGES:
            moves = who["algorithm"] == "maml" or layer == "head"
            size = (0.11, 0.19, 0.27, 0.41, 2.3)[position] * (1 + 0.1 * rng.random()) if moves else 0.0
            what = who | {
                "layer": layer,
                "iteration": stage,
                "phase": "pre-post",
                "step": 5,
                "inner_steps": 5,
                "n": 600,
            }
            rows.append(row("euclidean_distance", size, size * 0.04, **what))
            rows.append(row("relative_distance", size / (9 if layer != "head" else 2.5), size * 0.004, **what))
    return rows
