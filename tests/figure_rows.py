"""Made-up rows that figures are drawn from, a table of each kind."""

from dataclasses import replace
from pathlib import Path

from metaprobe.analyses.measures.measure import MEASURES
from metaprobe.analyses.table import Table
from metaprobe.probe.cli.figures.clusters import clusters_figure
from metaprobe.probe.cli.figures.distances import distance_figure
from metaprobe.probe.cli.figures.freezing import freezing_figure
from metaprobe.probe.cli.figures.similarities import checkpoints_figure, similarity_figure
from metaprobe.trainers.run import RunFolder
from tests.evidence_rows import accuracy, row

BLOCKS = ("", "conv1", "conv1,conv2")


LAYERS = ("conv1", "conv2", "head")


WHO = {"checkpoint": "0123456789ab", "algorithm": "maml", "seed": 0, "iteration": 100}


DEMO = RunFolder(Path(__file__).parents[1] / "reports/demo/maml-glyphs").checkpoint("last")


def frozen(value, cost, **columns):
    own = WHO | {"learner": None} | columns
    for at, names in enumerate(BLOCKS):
        yield accuracy(value - cost * at, 1.0, frozen=names, **own)
        if at:
            change = accuracy(-cost * at, 0.5, frozen=names, minus="frozen=none", **own)
            yield replace(change, measure="accuracy_difference")
    yield accuracy(value - 9, 1.0, **(own | {"head": "nil", "inner_steps": 0, "phase": "pre"}))


UNTRAINED = {
    "checkpoint": "ba9876543210",
    "algorithm": "random",
    "iteration": 0,
    "source": "adapted as maml 0123456789ab",
}


FROZEN = Table.of(
    (
        *frozen(90.0, 20.0),
        *(one for one in frozen(92.0, 0.0, inner_steps=9) if one.head == "own" and one.frozen != "conv1"),
        *frozen(30.0, 1.0, **UNTRAINED),
        row("reuse_index", 0.25, 0.05, **WHO, head="nil", n=600),
    )
)


def alike(step=5, **columns):
    for measure, top in (("mean_cca", 0.9), ("angular_cka", 0.2)):
        for at, layer in enumerate(LAYERS):
            told = WHO | {"layer": layer, "phase": "pre-post", "step": step, "n": 75} | columns
            yield row(measure, top - 0.1 * at, 0.02, **told)
            yield row(f"{measure}_null", 0.1, 0.01, **told)


def moved(**columns):
    for layer, value in zip(LAYERS, (0.01, 0.5, 0.02), strict=True):
        for measure in ("euclidean_distance", "rms_change", "relative_distance"):
            yield row(measure, value, value / 10, **(WHO | {"layer": layer, "n": 20} | columns))


def grouped(planes):
    for place, group in enumerate(("signs", "objects")):
        for cluster in (0, 1):
            told = WHO | {"group": group, "cluster": cluster, "view": "assignment", "n": 10}
            yield row("usage_count", 9.0 if place == cluster else 1.0, **told)
            yield row("usage_frequency", 0.9 if place == cluster else 0.1, **told)
    for score in ("purity", "adjusted_rand", "normalised_mutual_information"):
        yield row(score, 0.8, 0.1, **WHO, view="assignment", n=20)
    for method in ("pca", "umap") if planes else ():
        yield row(
            f"{method}_trustworthiness", 0.95, **WHO, view="all", n=8, reason=f"{method.upper()}, seed 0; among 10"
        )
        for task in range(8):
            told = WHO | {"view": "all", "task": task, "group": ("signs", "objects")[task % 2], "cluster": task % 2}
            yield from (row(f"{method}_{axis}", float(task), **told) for axis in "xy")


MAPPED = Table.of(
    row("linear_cka", 0.5 + 0.1 * (one == other), **WHO, layer=one, phase="pre-pre", other_layer=other,
        other_checkpoint="f" * 12, other_algorithm="anil", other_seed=0, source="a+b")
    for one in LAYERS for other in LAYERS
)  # fmt: skip


FIGURES = {
    "freeze": lambda: freezing_figure(FROZEN, 20.0),
    "distance": lambda: distance_figure(Table.of(moved())),
    "similarity": lambda: similarity_figure(Table.of(alike()), [MEASURES["mean_cca"], MEASURES["angular_cka"]]),
    "steps": lambda: similarity_figure(Table.of((*alike(1), *alike(2))), [MEASURES["mean_cca"]]),
    "map": lambda: checkpoints_figure(MAPPED, "linear_cka"),
    "clusters": lambda: clusters_figure(Table.of(grouped(True)), "initialisation"),
}
