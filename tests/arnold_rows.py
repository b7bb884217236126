"""Rows of arnold2021 that no question makes: who there is, at which iterations, and what is asked of each layer."""

from metaprobe.analyses.table import Row
from metaprobe.reports.made import Made, Trained
from metaprobe.reports.registry import STUDIES

STUDY = STUDIES["arnold2021"]
OPTIONS = STUDY.preset("full")
LEARNERS = STUDY.learners(OPTIONS)
MADE = Made(
    study="arnold2021", data="glyphs", data_facts=(("images", "made up"),), n_way=5, n_shot=5, n_query=5,
    test_queries=15, trained_steps=5, inner_lr=0.1, layers=("conv1", "conv2", "head"),
    learners=tuple(Trained(one.key, one.label, 1000, 120, 16) for one in LEARNERS),
)  # fmt: skip


def study_rows():
    """Yield a test of every learner, a reuse index and a map of a rule, and the models in closed form."""
    for one in LEARNERS:
        told = {"learner": one.key, "algorithm": one.algorithm, "seed": 0, "iteration": 120, "n": 100}
        low = {"low": 59.0, "high": 61.0}
        yield Row(measure="accuracy", value=60.0, **low, inner_steps=5, phase="post", head="own", **told)
        if one.algorithm == "maml" and "cnn" in one.key:
            yield Row(measure="reuse_index", value=0.5, low=0.4, high=0.6, frozen="conv1,conv2", inner_steps=5, **told)
        if one.key == "maml-cnn2":
            for measure in ("debiased_cka", "debiased_cka_null"):
                yield Row(measure=measure, value=0.5, low=0.4, high=0.6, layer="conv1", step=5, inner_steps=5, **told)
        if one.key.endswith("meta_kfo"):
            for measure in ("update_cosine", "update_norm_ratio"):
                yield Row(measure=measure, value=0.5, low=0.4, high=0.6, layer="conv1", step=1, inner_steps=1, **told)
    for place, depth in enumerate((2, 3, 4, 6)):  # what a claim on differences of differences turns on
        told = {"learner": f"maml-cnn{depth}-meta_kfo", "algorithm": "maml", "seed": 0, "iteration": 120, "n": 100}
        gain, minus = 40.0 - 10 * place, f"learner=maml-cnn{depth}"
        ends = {"low": gain - 1, "high": gain + 1, "inner_steps": 5, "phase": "post", "head": "own"}
        yield Row(measure="accuracy_difference", minus=minus, value=gain, **ends, **told)
    for model in ("shallow", "deep"):
        for at in (0, 10):
            yield Row(measure="excess_error", learner=model, iteration=at, value=1.0, low=0.9, high=1.1, n=9)
    for at, place in ((0, 0.5), (10, 3.0)):
        for name in "ab":
            yield Row(measure=f"weight_{name}", learner="deep", view="training 0", iteration=at, value=place)
    for view in ("drawn", "sign"):
        yield Row(measure="bayes_accuracy", view=view, value=70.0, low=70.0, high=70.0)
        for model in ("lr", "lr+2", "lr+3"):
            for at in (0, 10):
                told = {"learner": model, "seed": 0, "iteration": at, "view": view, "n": 50}
                yield Row(measure="accuracy", value=60.0, low=58.0, high=62.0, **told)
