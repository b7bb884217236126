"""Episodes: a pure function of (seed, split, index), and what a task holds."""

import hashlib
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from metaprobe.trainers.errors import MetaprobeError
from tests.drawn_episodes import (
    IMAGESET,
    MIXED,
    places,
    quick,
    same,
    sampler,
    seeds,
    splits,
)


def identity(tasks, place=0):
    """Which images one task of a batch shows, in order, support first."""
    return tuple(tasks.support.ids[place].tolist()), tuple(tasks.query.ids[place].tolist())


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
from metaprobe.trainers.tasks.episodes import EpisodeSampler
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


def test_too_little_of_anything_is_told_with_its_numbers():
    with pytest.raises(MetaprobeError, match=r"the val split of toy has 6 classes, fewer than n_way=7; lower --n-way"):
        sampler("val", way=7)
    told = r"class 'class06' \(val split of toy\) has 9 images; n_shot=4 \+ n_query=6 needs 10; lower one of them"
    with pytest.raises(MetaprobeError, match=told):
        sampler("val", shot=4, query=6)
    assert sampler("val", way=6, shot=4, query=5).batch([0]).query.ids.shape == (1, 30)
    with pytest.raises(MetaprobeError, match=r"unknown split 'dev'; expected one of train, val, test"):
        sampler("dev")
