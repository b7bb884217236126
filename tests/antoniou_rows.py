"""Rows of antoniou2019 that no question makes: who there is, at which iterations and steps, and of which layers."""

from metaprobe.analyses.table import Row
from metaprobe.reports.made import Made, Trained
from metaprobe.reports.registry import STUDIES

STUDY = STUDIES["antoniou2019"]
LEARNERS = STUDY.learners(STUDY.preset("full"))
LAYERS = ("conv1", "conv2", "head")
MADE = Made(
    study="antoniou2019", data="glyphs", data_facts=(("images", "made up"),), n_way=5, n_shot=1, n_query=5,
    test_queries=15, trained_steps=5, inner_lr=0.1, layers=LAYERS,
    learners=tuple(Trained(one.key, one.label, 1000, 120, 16) for one in LEARNERS),
)  # fmt: skip


def study_rows():
    """Yield a test of every learner, validations, timings, learned rates, a similarity and a reuse index."""
    for one in LEARNERS:
        steps = one.settings.get("inner_steps", 5)
        told = {"learner": one.key, "algorithm": one.algorithm, "seed": 0, "iteration": 120, "n": 100}
        ends = {"low": 59.0, "high": 61.0}
        yield Row(measure="accuracy", value=60.0, **ends, inner_steps=steps, phase="post", head="own", **told)
        if one.key in ("maml", "maml_pp"):
            for at in (60, 120):
                yield Row(measure="val_accuracy", value=60.0, **ends, **(told | {"iteration": at}))
            half = {"value": 0.5, "low": 0.4, "high": 0.6, "inner_steps": 5, **told}
            yield Row(measure="debiased_cka", layer="conv1", step=5, **half)
            yield Row(measure="reuse_index", frozen="conv1,conv2", **half)
        if one.key == "maml_pp":
            for count in (1, 5):
                for stage in ("first", "last"):
                    row = told | {"iteration": None, "view": stage, "inner_steps": count}
                    yield Row(measure="iteration_ratio", value=0.9, low=0.8, high=1.0, **row)
            for layer in LAYERS:
                row = told | {"layer": layer}
                yield Row(measure="rate_kept", value=0.5, **row)
                for step in (1, 2):
                    yield Row(measure="learned_rate", value=0.1, step=step, **row)
