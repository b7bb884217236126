"""Episodes: a pure function of (seed, split, index), and what a task holds."""

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tests.conftest import make_imageset
from trainers.errors import MetaprobeError
from trainers.tasks.episodes import EpisodeSampler

WAY, SHOT, QUERY = 3, 2, 4
IMAGESET = make_imageset(n_classes=18, per_class=9, size=7)  # six classes a split
seeds, splits, places = st.integers(0, 2**32), st.sampled_from(["train", "val", "test"]), st.integers(0, 10**9)
quick = settings(max_examples=30, deadline=None)


def sampler(split="train", seed=0, imageset=IMAGESET, way=WAY, shot=SHOT, query=QUERY, **options):
    return EpisodeSampler(imageset, split, way, shot, query, seed, **options)


def identity(tasks, place=0):
    """Which images one task of a batch shows, in order, support first."""
    return tuple(tasks.support.ids[place].tolist()), tuple(tasks.query.ids[place].tolist())


def same(one, other):
    parts = [(tasks.support, tasks.query) for tasks in (one, other)]
    pairs = [(getattr(a, name), getattr(b, name)) for a, b in zip(*parts, strict=True) for name in vars(a)]
    return (
        all(torch.equal(a, b) for a, b in [*pairs, (one.class_ids, other.class_ids)]) and one.indices == other.indices
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
    tasks = sampler("test", 0).batch([0, 1])
    assert tasks.class_ids.tolist() == [[13, 15, 12], [15, 14, 13]]
    assert tasks.support.ids[0].tolist() == [125, 120, 135, 136, 115, 110]


def test_classes_ways_images_and_places_are_uniform():
    """χ² of 3000 tasks; with a fixed seed this cannot fail by chance, only when the drawing changes."""
    tasks = sampler("train", 1).batch(range(3000))
    classes = tasks.class_ids.numpy()
    for way in range(WAY):  # each class as often as any other, in every way
        assert stats.chisquare(np.bincount(classes[:, way], minlength=6)).pvalue > 1e-3
    pairs = np.sort(classes[:, :2], axis=1)
    assert stats.chisquare(np.unique(pairs, axis=0, return_counts=True)[1]).pvalue > 1e-3
    for examples in (tasks.support, tasks.query):
        counts = np.bincount(examples.ids.numpy().ravel(), minlength=6 * 9)
        assert len(counts) == 6 * 9  # no image of another split
        assert stats.chisquare(counts).pvalue > 1e-3
        first = examples.ids[:, 0].numpy() % 9  # and the order within a class is none
        assert stats.chisquare(np.bincount(first, minlength=9)).pvalue > 1e-3


def test_too_little_of_anything_is_told_with_its_numbers():
    with pytest.raises(MetaprobeError, match=r"the val split of toy has 6 classes, fewer than n_way=7; lower --n-way"):
        sampler("val", way=7)
    told = r"class 'class06' \(val split of toy\) has 9 images; n_shot=4 \+ n_query=6 needs 10; lower one of them"
    with pytest.raises(MetaprobeError, match=told):
        sampler("val", shot=4, query=6)
    assert sampler("val", way=6, shot=4, query=5).batch([0]).query.ids.shape == (1, 30)
    with pytest.raises(MetaprobeError, match=r"unknown split 'dev'; expected one of train, val, test"):
        sampler("dev")
