"""RSA before against after adaptation, task by task, against dissimilarities computed here."""

import dataclasses

import numpy as np
import pytest
import torch
from scipy import stats

from metaprobe.analyses.contrasts import contrast
from metaprobe.analyses.dissimilarity import dissimilarity
from metaprobe.trainers.adapt import adapt, query_logits
from metaprobe.trainers.networks import build_network
from metaprobe.trainers.tasks.episodes import EpisodeSampler
from tests.interval_coverage import interval_of
from tests.test_weight_distance import IMAGESET, NETWORK, PLAN, written

LAYERS = ("conv1", "conv2", "conv3", "conv4")


def unlike(patterns):
    return (1 - np.corrcoef(patterns.astype(np.float64)))[np.triu_indices(len(patterns), 1)]


def patterns_of(network, params, tasks):
    """Return of each layer the whole maps of the query images, a row each, by a hook of our own."""
    found, handles = {}, []
    for name in LAYERS:
        module = network.get_submodule(name)
        keep = lambda _, __, output, name=name: found.__setitem__(name, output.detach().clone())  # noqa: E731
        handles.append(module.register_forward_hook(keep))
    with torch.no_grad():
        query_logits(network, params, tasks.support, tasks.query, transductive=True)
    for handle in handles:
        handle.remove()
    return {name: output.reshape(tasks.query.images.shape[1], -1).numpy() for name, output in found.items()}


def test_it_is_the_correlation_of_the_dissimilarities_of_whole_images(tmp_path):
    path, params = written(tmp_path / "a.safetensors")
    plan = dataclasses.replace(PLAN, per_task=True)
    table = dissimilarity(path, IMAGESET, plan)
    network, sampler = build_network(NETWORK, 0), EpisodeSampler(IMAGESET, "test", 3, 2, PLAN.n_query, PLAN.seed)
    for task in range(PLAN.tasks):
        tasks = sampler.batch([task])
        after = adapt(network, params, tasks.support, inner_lr=0.3, steps=3).params
        one, two = (patterns_of(network, values, tasks) for values in (params, after))
        for row in (row for row in table.rows if row.task == task and row.layer in LAYERS):
            if not row.measure.endswith("_null"):
                correlate = stats.pearsonr if row.measure == "rsa_pearson" else stats.spearmanr
                expected = correlate(unlike(one[row.layer]), unlike(two[row.layer])).statistic
                assert row.value == pytest.approx(expected, abs=1e-4), (row.layer, row.measure)
    for row in (row for row in table.rows if row.task is None and row.value is not None):
        alike = [one for one in table.rows if (one.layer, one.measure) == (row.layer, row.measure)]
        single = np.array([one.value for one in alike if one.task is not None])
        low, high = interval_of(single, (-1.0, 1.0))
        assert (row.value, row.low, row.high) == pytest.approx((single.mean(), low, high), rel=1e-6)
        assert (row.n, row.phase, row.step, row.samples) == (PLAN.tasks, "pre-post", 3, "images")


def test_without_adaptation_it_is_one_and_its_null_is_not(tmp_path):
    path, _ = written(tmp_path / "a.safetensors", layers=("head",))
    rows = [row for row in dissimilarity(path, IMAGESET, PLAN).rows if row.layer in LAYERS[:2]]
    assert len(rows) == 8 and not [row for row in rows if row.task is not None]
    for row in rows:
        assert (row.value == pytest.approx(1.0)) != row.measure.endswith("_null")
    assert all(abs(row.value) < 0.6 for row in rows if row.measure.endswith("_null"))


def test_several_seeds_are_one_mean_over_seeds_and_tasks(tmp_path):
    rows = []
    for seed in (0, 1):
        path, _ = written(tmp_path / f"{seed}.safetensors", steps=seed + 1)
        found = dissimilarity(path, IMAGESET, dataclasses.replace(PLAN, per_task=True))
        rows += [dataclasses.replace(row, seed=seed) for row in found.rows if row.task is not None]
    mine = [row for row in rows if (row.layer, row.measure) == ("conv2", "rsa_pearson")]
    mean, *_ = contrast(mine, None, None, (-1.0, 1.0))
    assert mean.value == pytest.approx(np.mean([row.value for row in mine]))
