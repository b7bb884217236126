"""Presets of papers' conditions, and what a page says of where a study's are others."""

from dataclasses import replace

import pytest

from metaprobe.reports.made import Differs
from metaprobe.reports.registry import STUDIES
from metaprobe.reports.study.gather import against_paper
from metaprobe.trainers.beginning import network_config_for
from metaprobe.trainers.networks import build_network
from tests.conftest import make_imageset

RAGHU = STUDIES["raghu2020"]


@pytest.mark.parametrize(
    ("preset", "told"),
    [  # appendices A, B.1 and C.4; the rate is on the mean of n_way classes
        ("paper", (5, 1, 4, 0.01, 5, 10, 30_000, 600, 3)),
        ("paper-5w5s", (5, 5, 4, 0.01, 5, 10, 30_000, 600, 3)),
        ("paper-omniglot", (20, 1, 16, 0.1, 5, 10, 30_000, 600, 3)),
    ],
)
def test_the_papers_conditions_are_the_papers(preset, told):
    one = RAGHU.preset(preset)
    found = (one.n_way, one.n_shot, one.meta_batch, pytest.approx(one.inner_lr / one.n_way), one.inner_steps)
    assert (*found, one.test_steps, one.iterations, one.tasks, one.seeds) == told
    config = one.config("maml", 2)
    assert (config.schedule, config.adapt_norm, config.outer_lr, config.norm) == (
        "constant",
        False,
        1e-3,
        "transductive",
    )
    grey = preset == "paper-omniglot"
    images = make_imageset(channels=1 if grey else 3, size=28 if grey else 32)
    network = network_config_for(config, images)
    assert (network.filters, network.downsample) == ((64, "stride") if grey else (32, "max-pool"))
    head = ("normal", network.filters) if grey else ("glorot", network.filters * 4)  # as on mini-ImageNet
    assert (network.norm_affine, network.head_start, network.norm_epsilon) == ("shift", head[0], 1e-3)
    assert build_network(network, 0).head.weight.shape == (one.n_way, head[1])


ZHOU = STUDIES["zhou2021"]


@pytest.mark.parametrize(
    ("preset", "told"),
    [  # sections 5.1 and 5.2, and the released code where those are silent; the rate is on the mean of n_way classes
        ("paper", (5, 5, 4, 0.01, 5, 40_000, 40_000, 10_000, 600, 3)),
        ("paper-cifar-fs", (5, 1, 4, 0.01, 5, 60_000, 40_000, 10_000, 600, 5)),
    ],
)
def test_zhou2021s_conditions_are_the_papers(preset, told):
    one = ZHOU.preset(preset)
    found = (one.n_way, one.n_shot, one.meta_batch, pytest.approx(one.inner_lr / one.n_way), one.inner_steps)
    more = (one.iterations, one.more_iterations, one.cluster_tasks, one.tasks, one.sweep[0])
    assert (*found, *more) == told
    learners = {learner.key: learner for learner in ZHOU.learners(one)}
    base, clustered, even = (learners[key] for key in ("base", f"m{told[-1]}", f"m{told[-1]}-symmetric"))
    before = one.config("maml", 0, **base.settings)
    assert (before.schedule, before.outer_lr, before.adapt_norm, before.norm) == (
        "constant", 1e-3, False, "transductive",
    )  # fmt: skip
    after, mended = (one.config("tsa_maml", 0, base="b", **learner.settings) for learner in (clustered, even))
    assert (after.schedule, after.cluster_steps, after.symmetric_head, after.cluster_norms) == (
        "cosine", None, False, False,
    )  # fmt: skip
    assert (mended.symmetric_head, mended.clusters) == (True, after.clusters)
    network = network_config_for(after, make_imageset(channels=3, size=32))
    assert (network.filters, network.downsample, network.norm_affine, network.norm_epsilon) == (
        32, "max-pool", "shift", 1e-3,
    )  # fmt: skip
    assert (network.head_start, network.head_input) == ("normal", "mean")


def test_zhou2021s_page_lists_what_is_not_as_in_the_paper():
    for preset in ("paper", "paper-cifar-fs"):
        assert against_paper(ZHOU, ZHOU.preset(preset)) == ZHOU.unlike
    quick = {one.what for one in against_paper(ZHOU, ZHOU.preset("quick"))}
    assert {"iterations", "more iterations", "cluster tasks", "like", "n query"} <= quick
    assert not {"symmetric", "bound tasks", "pretraining"} & quick


def test_a_page_lists_what_is_not_as_in_the_paper_and_nothing_else():
    assert against_paper(RAGHU, RAGHU.preset("paper")) == RAGHU.unlike
    assert against_paper(RAGHU, RAGHU.preset("paper-omniglot")) == RAGHU.unlike
    changed = replace(
        RAGHU.preset("paper"), inner_lr=0.01, test_steps=5, schedule="cosine", tasks=100, like=None, chunk=8
    )
    assert against_paper(RAGHU, changed)[len(RAGHU.unlike) :] == (
        Differs("tasks", "600", "100"),
        Differs("inner lr", "0.05", "0.01"),
        Differs("schedule", "constant", "cosine"),
        Differs("like", "finn2017", "as the data ask for"),
        Differs("test steps", "10", "5"),
    )
    shots = replace(RAGHU.preset("quick"), n_shot=5)  # against the preset of as many shots
    assert not {"n shot", "n way"} & {one.what for one in against_paper(RAGHU, shots)}
    assert against_paper(replace(RAGHU, presets={}), changed) == ()


def test_one_and_none_are_numbers_and_not_words():
    told = {one.what: (one.paper, one.here) for one in against_paper(RAGHU, replace(RAGHU.preset("paper"), seeds=1))}
    assert told["seeds"] == ("3", "1")
    told = {
        one.what: (one.paper, one.here) for one in against_paper(RAGHU, replace(RAGHU.preset("paper"), subsets=True))
    }
    assert told["subsets"] == ("no", "yes")
