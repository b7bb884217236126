"""Episodes: a pure function of (seed, split, index), and what a task holds."""

import hashlib
import itertools
import subprocess
import sys
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tests.conftest import make_imageset
from tests.test_training import tiny
from trainers.algorithms import ALGORITHMS, check_options
from trainers.config import TrainConfig, to_mapping
from trainers.errors import MetaprobeError
from trainers.outer_loop import train
from trainers.tasks.data import task_sampler
from trainers.tasks.episodes import EpisodeSampler
from trainers.tasks.imageset import ImageSet
from trainers.tasks.mixture import mix
from trainers.tasks.sinusoid import Sinusoid

WAY, SHOT, QUERY = 3, 2, 4
IMAGESET = make_imageset(n_classes=18, per_class=9, size=7)  # six classes a split
PARTS = {  # domains of four, six and three classes a split, of unequal numbers of images
    name: make_imageset(n_classes=3 * classes, per_class=images, size=7, seed=seed)
    for seed, (name, classes, images) in enumerate([("few", 4, 9), ("more", 6, 7), ("least", 3, 12)])
}
MIXED = mix(list(PARTS.items()))
seeds, splits = st.integers(0, 2**32) | st.integers(2**64, 2**70), st.sampled_from(["train", "val", "test"])
places = st.integers(0, 200) | st.integers(0, 2**40)  # some beside one another, some far apart
quick = settings(max_examples=30, deadline=None)


def sampler(split="train", seed=0, imageset=IMAGESET, way=WAY, shot=SHOT, query=QUERY, **options):
    return EpisodeSampler(imageset, split, way, shot, query, seed, **options)


def identity(tasks, place=0):
    """Which images one task of a batch shows, in order, support first."""
    return tuple(tasks.support.ids[place].tolist()), tuple(tasks.query.ids[place].tolist())


def even(counts):
    """χ²; with fixed seeds this cannot fail by chance, only when the drawing changes."""
    return stats.chisquare(counts).pvalue > 1e-4


def same(one, other):
    parts = [(tasks.support, tasks.query) for tasks in (one, other)]
    pairs = [(getattr(a, name), getattr(b, name)) for a, b in zip(*parts, strict=True) for name in vars(a)]
    return (
        all(torch.equal(a, b) for a, b in [*pairs, (one.class_ids, other.class_ids)])
        and one.indices == other.indices
        and one.groups == other.groups
    )


@quick
@given(seed=seeds, split=splits, indices=st.lists(places, min_size=1, max_size=4), order=st.randoms())
def test_a_task_does_not_depend_on_what_is_drawn_before_or_beside_it(seed, split, indices, order):
    together = sampler(split, seed).batch(indices)
    assert len(together) == len(indices)
    other, shuffled = sampler(split, seed), list(range(len(indices)))
    order.shuffle(shuffled)
    for place in shuffled:
        assert same(other.batch([indices[place]]), together[place : place + 1])


def test_a_long_run_of_tasks_is_the_same_in_any_pieces_and_in_any_order():
    """Whatever is drawn together or kept inside, tasks beside each other do not notice."""
    whole, other = sampler("val", 4).batch(range(1000, 1300)), sampler("val", 4)
    for first, last in ((0, 7), (7, 100), (100, 101), (101, 300), (50, 200)):
        assert same(other.batch(range(1000 + first, 1000 + last)), whole[first:last])
    order = np.random.default_rng(0).permutation(300)
    shuffled = other.batch((1000 + order).tolist())
    assert torch.equal(shuffled.support.ids, whole.support.ids[order])
    assert torch.equal(shuffled.query.images, whole.query.images[order])
    assert torch.equal(shuffled.class_ids, whole.class_ids[order])
    for place in reversed(range(300)):
        assert same(other.batch([1000 + place]), whole[place : place + 1])


def test_the_same_task_twice_in_a_batch_is_the_same_task():
    tasks = sampler().batch([5, 70, 5])
    assert identity(tasks, 0) == identity(tasks, 2) != identity(tasks, 1)


def test_threads_may_share_a_sampler():
    whole, shared = sampler().batch(range(1024)), sampler()
    starts = list(range(0, 1024, 16)) * 4
    with ThreadPoolExecutor(8) as pool:
        for start, part in zip(starts, pool.map(lambda at: shared.batch(range(at, at + 16)), starts), strict=True):
            assert same(part, whole[start : start + 16])


def test_what_is_done_to_a_batch_stays_with_it():
    shared = sampler()
    spoilt = shared.batch(range(4))
    for tensor in (spoilt.class_ids, spoilt.support.ids, spoilt.query.ids, spoilt.support.images, spoilt.query.images):
        tensor.zero_()
    assert same(shared.batch(range(4)), sampler().batch(range(4)))


@quick
@given(seed=seeds, split=splits, index=places)
def test_another_seed_or_index_is_another_task(seed, split, index):
    task = identity(sampler(split, seed).batch([index]))
    assert identity(sampler(split, seed + 1).batch([index])) != task
    assert identity(sampler(split, seed).batch([index + 1])) != task
    assert identity(sampler(split, index).batch([seed])) != task or seed == index


def test_splits_draw_independently():
    """Without the split in the seed, every split would take the same places among its own classes."""
    drawn = [sampler(split, 5).batch(range(20)).class_ids for split in ("train", "val", "test")]
    places = [ids - ids.min() for ids in drawn]  # each of the six classes of a split comes up
    assert [int(ids.max()) for ids in places] == [5, 5, 5]
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert not torch.equal(places[one], places[other])


def test_a_long_seed_is_not_a_short_one_with_another_split():
    """As 32-bit words, (5 + 2³², train, 7) and (5, val, 7 · 2³²) read alike."""
    for size in (1, 64):  # of what the number behind the split counts: tasks, or blocks of them
        one = sampler("train", 5 + 2**32).batch(range(7 * size, 8 * size))
        other = sampler("val", 5).batch(range(7 * size * 2**32, 7 * size * 2**32 + size))
        assert not torch.equal(one.class_ids, other.class_ids - 6)


@quick
@given(seed=seeds, split=splits, index=places, shape=st.tuples(st.integers(1, 6), st.integers(1, 4), st.integers(1, 5)))
def test_what_a_task_holds(seed, split, index, shape):
    way, shot, query = shape
    tasks = sampler(split, seed, way=way, shot=shot, query=query).batch([index, index + 1])
    for place in range(2):
        classes = tasks.class_ids[place].tolist()
        assert len(set(classes)) == way
        assert set(classes) <= set(IMAGESET.classes_of(split).tolist())
        for examples, count in ((tasks.support, shot), (tasks.query, query)):
            ids = examples.ids[place].numpy()
            assert examples.labels[place].tolist() == [label for label in range(way) for _ in range(count)]
            assert IMAGESET.class_of[ids].tolist() == [classes[label] for label in examples.labels[place].tolist()]
            assert len(set(ids.tolist())) == way * count
            pixels = IMAGESET.images[ids].astype(np.float64) / 255
            assert examples.images[place].dtype == torch.float32
            np.testing.assert_array_equal(examples.images[place].numpy(), pixels.astype(np.float32))
        support, queried = identity(tasks, place)
        assert not set(support) & set(queried)


def test_a_slice_of_a_batch_is_the_batch_of_the_slice():
    whole = sampler().batch(range(6))
    assert same(whole[2:5], sampler().batch(range(2, 5)))
    assert whole[2:5].indices == (2, 3, 4)
    assert len(whole[4:99]) == 2
    mixed = sampler(imageset=MIXED).batch(range(40))
    assert same(mixed[5:25], sampler(imageset=MIXED).batch(range(5, 25)))
    assert mixed[5:25].groups == mixed.groups[5:25]
    assert len(set(mixed.groups[5:25])) == 3


def test_another_dtype_has_other_images_of_the_same_tasks():
    single, double = (sampler(dtype=dtype).batch(range(3)) for dtype in (torch.float32, torch.float64))
    assert double.query.images.dtype == torch.float64
    assert torch.equal(single.query.ids, double.query.ids)
    expected = IMAGESET.images[double.query.ids.numpy()] / 255
    np.testing.assert_array_equal(double.query.images.numpy(), expected)


_CHILD = """
import hashlib, sys
import numpy, torch
numpy.random.seed(3), torch.manual_seed(3)
from tests.conftest import make_imageset
from trainers.tasks.episodes import EpisodeSampler
tasks = EpisodeSampler(make_imageset(18, 9, 7), "val", 3, 2, 4, 11).batch([7, 3, 10**6])
print(hashlib.sha256(tasks.support.ids.numpy().tobytes() + tasks.query.images.numpy().tobytes()).hexdigest())
"""


def test_another_process_draws_the_same_bytes_and_no_global_generator_has_a_say():
    before = torch.get_rng_state()
    tasks = sampler("val", 11).batch([7, 3, 10**6])
    assert torch.equal(torch.get_rng_state(), before)
    expected = hashlib.sha256(tasks.support.ids.numpy().tobytes() + tasks.query.images.numpy().tobytes()).hexdigest()
    root = Path(__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", _CHILD], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == expected


def test_the_tasks_of_a_seed_are_the_same_in_every_version():
    """Pinned: a test set that changes with an update makes old accuracies incomparable."""
    tasks = sampler("test", 0).batch([0, 1, 2**40])
    assert tasks.class_ids.tolist() == [[12, 17, 13], [13, 17, 14], [17, 14, 12]]
    assert tasks.support.ids[0].tolist() == [110, 111, 161, 153, 119, 120]
    assert tasks.query.ids[2].tolist() == [153, 161, 160, 159, 134, 130, 127, 128, 111, 114, 113, 116]


def test_classes_ways_images_and_places_are_uniform():
    tasks = sampler("train", 1).batch(range(3000))
    classes = tasks.class_ids.numpy()
    for way in range(WAY):  # each class as often as any other, in every way
        assert even(np.bincount(classes[:, way], minlength=6))
    pairs = np.sort(classes[:, :2], axis=1)
    assert even(np.unique(pairs, axis=0, return_counts=True)[1])
    for examples in (tasks.support, tasks.query):
        counts = np.bincount(examples.ids.numpy().ravel(), minlength=6 * 9)
        assert len(counts) == 6 * 9  # no image of another split
        assert even(counts)
        first = examples.ids[:, 0].numpy() % 9  # and the order within a class is none
        assert even(np.bincount(first, minlength=9))


def test_every_ordered_choice_is_as_likely_as_any_other():
    """The strongest form: not only each class and image, each arrangement of them is counted."""
    imageset = make_imageset(n_classes=15, per_class=4, size=7)  # five classes a split
    tasks = sampler("test", 3, imageset, way=3, shot=1, query=3).batch(range(12000))
    arrangements(tasks.class_ids.numpy() - 10, n=5)
    for way in range(3):
        query = tasks.query.ids[:, 3 * way : 3 * way + 3]
        arrangements(torch.cat([tasks.support.ids[:, way : way + 1], query], dim=1).numpy() % 4, n=4)


def arrangements(drawn, n):
    """χ² of the rows of an array, each an ordered choice from 0 … n−1 without repeats."""
    possible = np.array(list(itertools.permutations(range(n), drawn.shape[1])))
    found, counts = np.unique(drawn, axis=0, return_counts=True)
    np.testing.assert_array_equal(found, possible)
    assert even(counts)


def test_ways_and_tasks_beside_each_other_are_independent():
    tasks = sampler("train", 2).batch(range(6000))
    first = tasks.support.ids.numpy()[:, ::SHOT] % 9  # of each way, the first image's place in its class
    classes = tasks.class_ids.numpy()
    for one, other, n in (
        (first[:, 0], first[:, 1], 9),
        (first[:-1, 0], first[1:, 0], 9),
        (classes[:-1, 0], classes[1:, 0], 6),
        (classes[:, 1], first[:, 1], 9),
    ):
        assert even(np.bincount(one * n + other))


SIZES = (5, 40, 6, 17, 5)  # of the training classes; n_shot + n_query = 5


def uneven():
    """Classes of unequal sizes whose images lie scattered over the set, other splits' among them."""
    class_of = np.random.default_rng(0).permutation(np.repeat(np.arange(7), [*SIZES, 9, 9]))
    images = np.random.default_rng(1).integers(0, 256, (len(class_of), 1, 2, 2), dtype=np.uint8)
    splits = ("train",) * 5 + ("val", "test")
    return ImageSet("uneven", images, class_of, tuple("abcdefg"), ("one",) * 7, splits)


def test_classes_of_unequal_sizes():
    imageset = uneven()
    tasks = sampler("train", 0, imageset, way=2, shot=2, query=3).batch(range(5000))
    support, query = tasks.support.ids.view(5000, 2, 2), tasks.query.ids.view(5000, 2, 3)
    ids = torch.cat([support, query], dim=2).numpy()
    np.testing.assert_array_equal(imageset.class_of[ids], tasks.class_ids.numpy()[:, :, None].repeat(5, axis=2))
    ordered = np.sort(ids.reshape(5000, 10), axis=1)
    assert (ordered[:, 1:] != ordered[:, :-1]).all()  # no image twice in a task
    assert even(np.bincount(tasks.class_ids.numpy().ravel(), minlength=5))
    for class_id, size in enumerate(SIZES):
        members = imageset.images_of(class_id)
        own = ids[tasks.class_ids.numpy() == class_id]  # one row each time the class came up
        for sample in range(5):  # any image is as likely in the support set as in the query set, and anywhere in them
            counts = np.bincount(np.searchsorted(members, own[:, sample]), minlength=size)
            assert len(counts) == size
            assert even(counts)


def test_drawing_takes_memory_for_what_is_chosen_not_for_what_there_is_to_choose_from():
    n = 50_000
    class_of, names = np.tile(np.arange(n), 2), tuple(map(str, range(n)))
    images = np.zeros((2 * n, 1, 1, 1), dtype=np.uint8)
    drawing = sampler(imageset=ImageSet("many", images, class_of, names, names, ("train",) * n), shot=1, query=1)
    drawing.batch([0])
    tracemalloc.start()
    drawing.batch([10**6])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * n


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


def test_too_little_of_anything_is_told_with_its_numbers():
    with pytest.raises(MetaprobeError, match=r"the val split of toy has 6 classes, fewer than n_way=7; lower --n-way"):
        sampler("val", way=7)
    told = r"class 'class06' \(val split of toy\) has 9 images; n_shot=4 \+ n_query=6 needs 10; lower one of them"
    with pytest.raises(MetaprobeError, match=told):
        sampler("val", shot=4, query=6)
    assert sampler("val", way=6, shot=4, query=5).batch([0]).query.ids.shape == (1, 30)
    with pytest.raises(MetaprobeError, match=r"unknown split 'dev'; expected one of train, val, test"):
        sampler("dev")


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
