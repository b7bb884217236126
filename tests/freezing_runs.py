"""What tests of freezing share: a plan, the tasks of it one by one, and what rows must say."""

import numpy as np
import pytest

from metaprobe.analyses.freezing import TestPlan
from metaprobe.trainers.adapt import adapt, query_logits
from metaprobe.trainers.intervals import mean_interval
from metaprobe.trainers.outer_loop import train
from metaprobe.trainers.run import RunFolder
from metaprobe.trainers.tasks.episodes import EpisodeSampler
from tests.conftest import make_imageset
from tests.interval_coverage import interval_of
from tests.test_training import tiny

LAYERS = ("conv1", "conv2", "conv3", "conv4", "head")
BLOCKS = ((), ("conv1",), ("conv1", "conv2"), ("conv1", "conv2", "conv3"), ("conv1", "conv2", "conv3", "conv4"))
PLAN = TestPlan(tasks=6, n_query=4, seed=3)
IMAGESET = make_imageset(n_classes=12, per_class=18, size=8)


def trained_maml(path):
    """A run of two inner steps, rate 0.4 and norms that do not adapt, with queries normalised by the support set."""
    config = tiny(iterations=3, inner_lr=0.4, norm="non-transductive", adapt_norm=False, seed=5, outer_lr=0.01)
    train(config, IMAGESET, path)
    return RunFolder(path)


def trained_anil(path):
    """The same of ANIL, but with queries normalised by themselves."""
    train(tiny("anil", iterations=3, inner_lr=0.4, adapt_norm=False, seed=5, outer_lr=0.01), IMAGESET, path)
    return RunFolder(path)


def correct(checkpoint, frozen, steps, plan=PLAN):
    """Accuracy of each task in percent, one by one, without `evaluate`."""
    config, network = checkpoint.config, checkpoint.network()
    params = dict(network.named_parameters())
    sampler = EpisodeSampler(IMAGESET, plan.split, config.n_way, config.n_shot, plan.n_query, plan.seed)
    found = []
    for place in range(plan.tasks):
        task = sampler.batch([place])
        layers = [layer for layer in LAYERS if layer not in frozen]
        adapted = adapt(network, params, task.support, layers=layers, inner_lr=0.4, steps=steps, adapt_norm=False)
        logits = query_logits(network, adapted.params, task.support, task.query, transductive=False)
        found.append(100 * np.mean((logits.argmax(-1) == task.query.labels).numpy()))
    return np.array(found)


def chosen(table, **wanted):
    return [row for row in table.rows if all(getattr(row, name) == value for name, value in wanted.items())]


def the(table, **wanted):
    (row,) = chosen(table, **wanted)
    return row


def assert_mean(row, per_task):
    low, high = interval_of(per_task, (0.0, 100.0))
    assert (row.value, row.low, row.high) == pytest.approx((per_task.mean(), low, high), abs=1e-4)
    assert row.n == len(per_task)
    assert row.status == "ok"


def assert_difference(row, per_task, minus="frozen=none"):
    found = mean_interval(per_task[None], (-100.0, 100.0))
    assert (row.value, row.low, row.high) == pytest.approx((found.value, found.low, found.high), abs=1e-4)
    assert (row.n, row.status, row.minus) == (len(per_task), "ok", minus)
