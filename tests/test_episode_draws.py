"""Episodes are drawn uniformly and independently, from classes of whatever size."""

import itertools
import tracemalloc

import numpy as np
import torch

from metaprobe.trainers.tasks.imageset import ImageSet
from tests.conftest import make_imageset
from tests.drawn_episodes import SHOT, WAY, even, sampler


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
