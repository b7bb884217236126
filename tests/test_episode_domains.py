"""Episodes of mixtures of domains, and of classes that are turned."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from metaprobe.trainers.algorithms import ALGORITHMS, check_options
from metaprobe.trainers.config import TrainConfig, to_mapping
from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.outer_loop import train
from metaprobe.trainers.tasks.data import task_sampler
from metaprobe.trainers.tasks.episodes import EpisodeSampler
from metaprobe.trainers.tasks.mixture import mix
from metaprobe.trainers.tasks.sinusoid import Sinusoid
from tests.drawn_episodes import IMAGESET, MIXED, PARTS, SHOT, WAY, even, places, quick, same, sampler, seeds, splits
from tests.test_training import tiny


def test_a_set_of_one_domain_draws_what_it_always_drew():
    """Numbers written down before there were domains: a run of those days goes on with the tasks it began with."""
    for imageset in (IMAGESET, mix([("one", IMAGESET)])):
        tasks = sampler("val", 11, imageset, way=3, shot=1, query=2).batch([0, 63, 64, 10**9])
        assert tasks.class_ids.tolist() == [[8, 7, 10], [11, 10, 9], [9, 7, 8], [9, 7, 8]]
        assert tasks.support.ids.tolist() == [[74, 66, 92], [106, 90, 82], [86, 68, 78], [87, 70, 77]]
        assert tasks.query.ids[:2].tolist() == [[79, 80, 67, 63, 95, 96], [105, 104, 94, 95, 88, 81]]
        assert tasks.groups == imageset.domain_names * 4


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_a_task_of_a_mixture_takes_its_classes_from_the_domain_that_it_names(split):
    tasks = sampler(split, 3, MIXED, query=3).batch(range(3000))
    domains = np.array(MIXED.domains)[tasks.class_ids.numpy()]
    np.testing.assert_array_equal(domains, np.repeat(np.array(tasks.groups)[:, None], WAY, axis=1))
    assert set(np.array(MIXED.splits)[tasks.class_ids.numpy().ravel()]) == {split}
    np.testing.assert_array_equal(MIXED.class_of[tasks.support.ids.numpy()][:, ::SHOT], tasks.class_ids.numpy())
    assert even([tasks.groups.count(name) for name in PARTS])
    for name in PARTS:
        _, counts = np.unique(tasks.class_ids.numpy()[domains == name], return_counts=True)
        assert len(counts) == len(PARTS[name].classes_of(split))
        assert even(counts)


def test_the_domain_of_a_task_says_nothing_of_the_next():
    groups = sampler(imageset=MIXED).batch(range(9000)).groups
    places = np.array([list(PARTS).index(name) for name in groups])
    assert even(np.bincount(3 * places[:-1] + places[1:], minlength=9))


@quick
@given(seed=seeds, split=splits, index=places, group=st.sampled_from(list(PARTS)))
def test_tasks_of_one_domain_are_those_of_the_set_alone(seed, split, index, group):
    tasks = sampler(split, seed, MIXED, group=group).batch([index, index + 1])
    alone = sampler(split, seed, PARTS[group]).batch([index, index + 1])
    assert tasks.groups == (group, group)
    assert torch.equal(tasks.class_ids, alone.class_ids + MIXED.domains.index(group))
    assert torch.equal(tasks.query.images, alone.query.images)


def test_domains_that_are_unknown_or_too_small_are_named():
    with pytest.raises(MetaprobeError, match=r"unknown domain 'mor'\. Did you mean more\? Known: few, more, least"):
        sampler(imageset=MIXED, group="mor")
    with pytest.raises(MetaprobeError, match=r"unknown domain 'few'\. Known: toy"):
        sampler(group="few")
    told = r"the test split of least \(of few\+more\+least\) has 3 classes, fewer than n_way=4; lower --n-way"
    with pytest.raises(MetaprobeError, match=told):
        sampler("test", imageset=MIXED, way=4)
    assert sampler("test", imageset=MIXED, way=4, group="few").batch([0]).groups == ("few",)
    told = r"class 'more/class00' \(train split of few\+more\+least\) has 7 images; n_shot=2 \+ n_query=6 needs 8"
    with pytest.raises(MetaprobeError, match=told):
        sampler(imageset=MIXED, query=6)
    assert sampler(imageset=MIXED, query=6, group="least").batch([0]).groups == ("least",)


@pytest.mark.parametrize("imageset", [IMAGESET, MIXED], ids=["one", "mixture"])
def test_classes_are_turned_as_wholes_and_tasks_are_the_same_ones(imageset):
    plain, turned = (sampler(imageset=imageset, rotate=rotate).batch(range(70)) for rotate in (False, True))
    assert torch.equal(plain.class_ids, turned.class_ids) and plain.groups == turned.groups
    counts = np.zeros(4)
    for task in range(70):
        quarters = {}
        for one, other in ((plain.support, turned.support), (plain.query, turned.query)):
            assert torch.equal(one.ids, other.ids) and torch.equal(one.labels, other.labels)
            for image, after, way in zip(one.images[task], other.images[task], one.labels[task].tolist(), strict=True):
                found = [turn for turn in range(4) if np.array_equal(np.rot90(image.numpy(), turn, (1, 2)), after)]
                assert len(found) == 1
                quarters.setdefault(way, set()).update(found)
        assert all(len(found) == 1 for found in quarters.values())  # support and query alike
        for found in quarters.values():
            counts[found.pop()] += 1
    assert even(counts)
    again = sampler(imageset=imageset, rotate=True)
    assert same(again.batch([69]), turned[69:])


def test_only_classes_of_tasks_that_are_drawn_are_turned():
    with pytest.raises(MetaprobeError, match="multiclass is trained on none; leave it out"):
        check_options(ALGORITHMS["multiclass"], TrainConfig("multiclass", "toy", rotate_classes=True))
    with pytest.raises(MetaprobeError, match=r"--rotate-classes turns the images.*sinusoid are given as they are"):
        task_sampler(Sinusoid(), "train", 1, 5, 5, 0, rotate=True)
    assert "rotate_classes" not in to_mapping(TrainConfig("maml", "toy"))


def test_a_run_trains_on_turned_classes_and_is_tested_on_others(monkeypatch, tmp_path):
    seen = []
    init = EpisodeSampler.__init__

    def spied(self, imageset, split, *args, **options):
        seen.append((split, options.get("rotate", False)))
        init(self, imageset, split, *args, **options)

    monkeypatch.setattr(EpisodeSampler, "__init__", spied)
    train(tiny(rotate_classes=True, iterations=1, downsample="none", val_query=2), IMAGESET, tmp_path / "run")
    assert set(seen) == {("train", True), ("val", False)}
