"""Minibatches of ordinary classification: sizes, labels, mixtures, refusals."""

import dataclasses

import pytest
import torch

from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.tasks.minibatches import MinibatchSampler
from tests.conftest import make_imageset


def mixed_splits(imageset):
    """The same images, with the classes of the splits interleaved: class ids are not rows of the train split."""
    splits = tuple(("val", "train", "test", "train", "train")[i % 5] for i in range(len(imageset.class_names)))
    return dataclasses.replace(imageset, splits=splits)


@pytest.mark.parametrize(
    ("n_classes", "size", "shape"),
    [(12, 15, (7, 2)), (12, 4, (2, 2)), (12, 1, (2, 2)), (12, 40, (12, 3)), (3, 15, (3, 5)), (3, 99, (3, 8))],
)
def test_minibatches_have_as_many_images_as_a_task(n_classes, size, shape):
    imageset = make_imageset(n_classes, 8, 16)
    imageset = dataclasses.replace(imageset, splits=("train",) * n_classes)
    tasks = MinibatchSampler(imageset, size, seed=1).batch(range(4))
    ways, each = shape
    assert tasks.support.images.shape == (4, ways, 1, 16, 16)
    assert tasks.query.images.shape == (4, ways * (each - 1), 1, 16, 16)
    for task in range(4):
        ids = torch.cat([tasks.support.ids[task], tasks.query.ids[task]])
        assert len(set(ids.tolist())) == ways * each
        assert len(set(tasks.support.labels[task].tolist())) == ways


def test_minibatches_are_labelled_by_the_rows_of_the_train_split():
    imageset = mixed_splits(make_imageset(20, 8, 16))
    tasks = MinibatchSampler(imageset, 12, seed=1).batch(range(30))
    rows = {class_id: row for row, class_id in enumerate(imageset.classes_of("train").tolist())}
    for examples in (tasks.support, tasks.query):
        classes = imageset.class_of[examples.ids.numpy()]
        assert examples.labels.tolist() == [[rows[c] for c in line] for line in classes.tolist()]
    assert set(tasks.support.labels.flatten().tolist()) == set(range(12))  # each is met
    again = MinibatchSampler(imageset, 12, seed=1).batch([7, 3])
    assert torch.equal(again.support.ids, tasks.support.ids[[7, 3]])


def test_minibatches_of_a_mixture_hold_all_its_domains():
    imageset = make_imageset(24, 8, 16)
    domains = tuple("ab"[i % 2] for i in range(24))
    tasks = MinibatchSampler(dataclasses.replace(imageset, domains=domains), 16, seed=1).batch(range(2))
    held = [{domains[c] for c in imageset.class_of[ids]} for ids in tasks.support.ids.numpy()]
    assert held == [{"a", "b"}] * 2


def test_minibatches_of_too_little_are_refused():
    imageset = make_imageset(12, 8, 16)
    told = "at least 2 classes with 2 images each; the train split of toy has 1 classes, the smallest with 8 image"
    with pytest.raises(MetaprobeError, match=told):
        MinibatchSampler(dataclasses.replace(imageset, splits=("train",) + ("val",) * 11), 10, seed=1)
    with pytest.raises(MetaprobeError, match=r"has 0 classes, the smallest with 0 image"):
        MinibatchSampler(dataclasses.replace(imageset, splits=("val",) * 12), 10, seed=1)
    single = dataclasses.replace(imageset, images=imageset.images[7:], class_of=imageset.class_of[7:])
    with pytest.raises(MetaprobeError, match=r"has 4 classes, the smallest with 1 image\(s\)"):
        MinibatchSampler(single, 10, seed=1)
