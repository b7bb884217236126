"""Samplers of made-up sets, and what makes two tasks the same, as tests of episodes share them."""

import torch
from hypothesis import settings
from hypothesis import strategies as st
from scipy import stats

from metaprobe.trainers.tasks.episodes import EpisodeSampler
from metaprobe.trainers.tasks.mixture import mix
from tests.conftest import make_imageset

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
