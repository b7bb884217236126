"""A made-up raghu2020 study with realistic numbers, as rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from metaprobe.analyses.contrasts import FIXED
from metaprobe.analyses.table import Row
from metaprobe.reports.made import Made, Trained
from tests.evidence_rows import row

BODY = ("conv1", "conv2", "conv3", "conv4")
LAYERS = (*BODY, "head")
BLOCKS = tuple(",".join(BODY[:size]) for size in range(5))
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
MADE = Made(
    "raghu2020", "glyphs", (("classes", "1,722 train, 312 validation, 431 test"), ("images", "28×28, 1 channel")),
    5, 1, 5, 15, 5, 0.4, LAYERS,
    tuple(Trained(key, key, 113_000, 6000 * (key != "random"), 16) for key in NIL_ACCURACY),
    ("metaprobe study raghu2020 --preset quick --out runs/quick",),
    tuple((f"{key} seed 0", *told) for key, layers in (("maml", "all"), ("anil", "head"))
          for told in (("inner_lr", "0.4"), ("steps", "5"), ("layers", layers))),
    (("maml seed 0", "a" * 64),), (("metaprobe", "0.1.0"), ("torch", "2.15.0")),
    ("Normalisation is transductive: a query set is normalised together.",),
)  # fmt: skip
_POST = {"phase": "post", "inner_steps": 5, "n": 600}
_NIL = {"phase": "pre", "frozen": "", "head": "nil", "inner_steps": 0, "n": 600}


def study_rows(seeds: tuple[int, ...] = (0,), learners: tuple[str, ...] = ("maml", "anil", "random")) -> Iterator[Row]:
    """Yield the rows of a made-up study of MAML, ANIL and an untrained network."""
    for learner in learners:
        for seed in seeds:
            rng = np.random.default_rng([seed, len(learner), ord(learner[0])])
            who = {"algorithm": learner, "learner": learner, "seed": seed, "source": "made up"}
            who["checkpoint"] = f"{learner[:1]}{seed}" * 6
            if learner != "random":
                yield from (*_curves(rng, who), *_similarities(rng, who), *_distances(rng, who))
            yield from _tests(rng, who)


def full_rows(seeds: tuple[int, ...] = (0,)) -> Iterator[Row]:
    """Yield the same and what was measured on the six training regimes: the order of the paper, heads alike."""
    yield from study_rows(seeds)
    for regime, level in NIL_ACCURACY.items():
        for seed in seeds:
            who = {
                "algorithm": regime,
                "learner": regime,
                "seed": seed,
                "iteration": _last(regime),
                "source": "made up",
            }
            who["checkpoint"] = f"{regime[:2]}{seed}" * 4
            own = who | _POST | {"frozen": "", "head": "own" if regime in ("maml", "anil") else "maml"}
            yield row("accuracy_difference", -0.6 + 0.1 * seed, 0.4, minus="head=nil", **own)
            if regime not in ("maml", "anil"):  # whose tests are in the rows of their own study
                yield row("accuracy", level - 0.6 + 0.1 * seed, 0.6, **own)
                if regime != "random":
                    yield row("accuracy", level, 0.6, **(who | _NIL))
    if len(seeds) > 1:
        yield from _over_seeds()


def _over_seeds() -> Iterator[Row]:
    """Yield differences drawn over seeds and tasks together, and of these seeds alone."""
    gaps = [("anil", "maml", "own", "", -1.5), *(("maml", "random", "own", block, 40.0) for block in BLOCKS)]
    gaps += [
        (best, other, "nil", "", NIL_ACCURACY[best] - level - 12.5)
        for best in ("maml", "anil")
        for other, level in NIL_ACCURACY.items()
        if other not in ("maml", "anil")
    ]
    for end, half in (("", 1.0), (FIXED, 0.3)):
        for one, other, head, frozen, value in gaps:
            what = {"minus": f"learner={other}", "iteration": STAGES[-1], "head": head, "frozen": frozen}
            yield row(f"accuracy_difference{end}", value, half, algorithm=one, learner=one, **(_POST | what))
        what = {"algorithm": "multiclass", "learner": "multiclass", "minus": "head=nil", "head": "maml", "frozen": ""}
        yield row(f"accuracy_difference{end}", -1.5, half, iteration=STAGES[-1], **_POST, **what)


def _last(learner: str) -> int:
    return 0 if learner == "random" else STAGES[-1]


def _curves(rng: np.random.Generator, who: dict[str, Any]) -> Iterator[Row]:
    top = 95.0 if who["learner"] == "maml" else 93.5
    for iteration in range(0, 6001, 100):
        level = 20 + (top - 20) * (1 - np.exp(-iteration / 700)) + rng.normal(0, 0.5)
        loss = 1.61 * (100 - level) / 80
        at = who | {"iteration": iteration}
        yield row("train_accuracy", level + rng.normal(0, 2), **at)
        yield row("train_loss", loss * 0.95, **at)
        if iteration % 300 == 0:
            yield row("val_accuracy", level - 1, 0.8, n=200, **at)
            yield row("val_loss", loss * 1.05, 0.04, n=200, **at)


def _tests(rng: np.random.Generator, who: dict[str, Any]) -> Iterator[Row]:
    untrained = who["learner"] == "random"
    shift = rng.normal(0, 0.3)
    for at, stage in enumerate((0,) if untrained else STAGES):
        for steps, costs in COST.items():
            for block, cost in zip(BLOCKS, costs, strict=True):
                full = 46.0 if untrained else 93.6 + shift + at - (2 - at) * 1.3
                cost = cost * (0.2 if untrained else 0 if who["learner"] == "anil" else 1)
                what = who | _POST | {"iteration": stage, "frozen": block, "head": "own", "inner_steps": steps}
                yield row("accuracy", full - cost, 0.5 + 0.02 * cost, **what)
                if block:
                    yield row("accuracy_difference", -cost, 0.15 + 0.02 * cost, minus="frozen=none", **what)
        level = NIL_ACCURACY["random"] if untrained else 90.0 + at + shift
        yield row("accuracy", level, 0.6, **(who | _NIL | {"iteration": stage}))


def _similarities(rng: np.random.Generator, who: dict[str, Any]) -> Iterator[Row]:
    for layer in LAYERS:
        kept = who["learner"] == "anil" and layer != "head"
        samples = {"samples": "images", "n": 7500} if layer == "head" else {"samples": "positions", "n": 120000}
        for stage, step in [*((stage, 5) for stage in STAGES[:-1]), *((STAGES[-1], step) for step in range(1, 6))]:
            for measure, factor in MEASURES.items():
                base = 1.0 if kept else 1 - (1 - CCA[layer] * factor) * (step / 5) ** 0.7
                value = base - (0 if kept else abs(rng.normal(0, 0.002)))
                what = who | samples | {"layer": layer, "iteration": stage, "step": step, "inner_steps": 5}
                what["phase"] = "pre-post"
                if measure == "svcca" and layer == "head":
                    yield row(measure, None, status="undefined", reason="2 of 5 columns are dead", **what)
                    continue
                yield row(measure, value, 0.0 if kept else 0.006, **what)
                yield row(f"{measure}_null", 0.02 if "cka" in measure else 0.08, 0.003, **what)


def _distances(rng: np.random.Generator, who: dict[str, Any]) -> Iterator[Row]:
    for position, layer in enumerate(LAYERS):
        for stage in STAGES:
            moves = who["learner"] == "maml" or layer == "head"
            size = (0.11, 0.19, 0.27, 0.41, 2.3)[position] * (1 + 0.1 * rng.random()) if moves else 0.0
            what = who | _POST | {"layer": layer, "iteration": stage, "phase": "pre-post", "step": 5}
            yield row("euclidean_distance", size, size * 0.04, **what)
            yield row("relative_distance", size / (9 if layer != "head" else 2.5), size * 0.004, **what)
