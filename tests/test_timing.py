"""Timing: that what is timed is what training and tests compute, whose turn it is, and what becomes of the seconds.

No test looks at a clock.
"""

import collections
import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch

from metaprobe.analyses.testing import timing
from metaprobe.analyses.testing.timing import CONDITIONS, TIMED, Timed, drawn, median_interval, time_learners, turn
from metaprobe.trainers.beginning import network_config_for
from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.executor import Executor
from metaprobe.trainers.networks import build_network
from metaprobe.trainers.outer_loop import train
from metaprobe.trainers.parallel import TaskWorkers, one_thread
from tests import reference_maml as reference
from tests.conftest import make_imageset
from tests.freezing_runs import chosen, the
from tests.test_training import tiny

IMAGESET = make_imageset(n_classes=12, per_class=18, size=16)
CONFIG = tiny(gradient="unrolled", meta_batch=3, chunk=2, seed=4, inner_lr=0.3)
CPU = torch.device("cpu")


def learner_of(algorithm, view, config=CONFIG):
    """One of the learners, ready, and the tasks of a round."""
    config = dataclasses.replace(config, algorithm=algorithm)
    network = build_network(network_config_for(config, IMAGESET), config.seed)
    stack = TaskWorkers(network)
    tasks = drawn(view, config, IMAGESET, CPU)(0)
    return network, stack, config, tasks


@pytest.mark.parametrize("name", TIMED)
def test_training_is_the_meta_gradient_of_a_run(name, tmp_path, monkeypatch):
    seen, gradient = [], Executor.gradient

    def spy(self, params, tasks, engine, stage):
        weights = {name: value.detach().clone() for name, value in params.items()}
        seen.append((weights, tasks, engine, gradient(self, params, tasks, engine, stage)))
        return seen[-1][-1]

    with monkeypatch.context() as patch:
        patch.setattr(Executor, "gradient", spy)
        train(dataclasses.replace(CONFIG, algorithm=name, iterations=1), IMAGESET, tmp_path / "run")
    (start, trained_on, engine, expected), *_ = seen
    network, workers, config, tasks = learner_of(name, "ordinary")
    assert all(torch.equal(value, start[key]) for key, value in network.named_parameters())
    with one_thread(), workers:
        learner = Timed(config, workers)
        learner.choose("ordinary", tasks)
        found = learner.training("ordinary", tasks)
    assert torch.equal(tasks.support.ids, trained_on.support.ids)
    assert learner.engine["ordinary"] == engine
    assert list(found.gradients) == list(expected.gradients)
    for key, value in found.gradients.items():
        assert torch.equal(value, expected.gradients[key]), key
    assert max(float(value.abs().max()) for value in found.gradients.values()) > 1e-3  # not an agreement of zeros


@pytest.mark.parametrize("view", CONDITIONS)
@pytest.mark.parametrize("name", TIMED)
def test_inference_is_the_inner_loop_and_the_query_logits(name, view):
    """Against plain code, one task at a time; FOMAML adapts as MAML does, ANIL its head alone."""
    network, workers, config, tasks = learner_of(name, view)
    params = {key: value.detach().clone().requires_grad_() for key, value in network.named_parameters()}
    names = [key for key in params if name != "anil" or key.startswith("head.")]
    with one_thread(), workers:
        logits = torch.cat(Timed(config, workers).inference(view, tasks))
    assert logits.shape == (len(tasks), tasks.query.labels.shape[1], 3)
    for place in range(len(tasks)):
        support, labels = tasks.support.images[place], tasks.support.labels[place]
        adapted = reference.adapt(params, support, labels, names, 0.3, 2, True, "stride")
        expected = reference.conv4(adapted, tasks.query.images[place], "stride")
        torch.testing.assert_close(logits[place], expected.detach(), rtol=1e-4, atol=1e-4)


def test_the_papers_condition_is_one_task_and_one_image_and_each_round_has_its_own():
    one, other = (drawn("paper", CONFIG, IMAGESET, CPU)(number) for number in (0, 1))
    assert (one.query.images.shape, one.query.labels.tolist()) == ((1, 1, 1, 16, 16), [[0]])
    assert one.support.images.shape[:2] == (1, CONFIG.n_way * CONFIG.n_shot)
    assert (one.indices, other.indices) == ((0,), (1,))
    ordinary = [drawn("ordinary", CONFIG, IMAGESET, CPU)(number) for number in (0, 1)]
    assert [tasks.indices for tasks in ordinary] == [(0, 1, 2), (3, 4, 5)]
    assert ordinary[0].query.images.shape[:2] == (3, CONFIG.n_way * CONFIG.n_query)
    again = drawn("ordinary", CONFIG, IMAGESET, CPU)(1)
    assert torch.equal(again.query.images, ordinary[1].query.images)


def test_everybody_comes_first_second_and_third_equally_often_and_after_everybody():
    orders = [turn(number) for number in range(6)]
    assert sorted(orders) == sorted(itertools.permutations(TIMED))
    assert turn(6) == orders[0]
    for place in range(3):
        assert set(collections.Counter(order[place] for order in orders).values()) == {2}
    follows = collections.Counter(pair for order in orders for pair in itertools.pairwise(order))
    assert set(follows.values()) == {2}


class Clock:
    """Runs the work, and says that it took what is next in a list; the learner is known by its adaptation."""

    def __init__(self):
        self.calls, self.runs = [], True

    def __call__(self, work, device):
        kind = work.func.__name__
        learner, (view, tasks) = work.func.__self__, work.args
        name = {(5, False): "maml", (5, True): "fomaml", (1, False): "anil"}[
            len(learner._adaptation.layers), learner._adaptation.first_order
        ]
        self.calls.append((kind, name, view, tasks.indices))
        if self.runs:
            work()
        number = len(self.calls)
        return {"maml": 6.0, "fomaml": 3.0, "anil": 2.0}[name] * (1 + number) * (4.0 if kind == "inference" else 1.0)


def test_rounds_are_in_turn_on_the_same_tasks_and_the_first_is_dropped(monkeypatch):
    clock, done = Clock(), []
    monkeypatch.setattr(timing, "seconds_of", clock)
    table = time_learners(CONFIG, IMAGESET, rounds=2, advance=done.append)
    assert done == [1] * 4
    expected = []
    for view, size in (("paper", 1), ("ordinary", 3)):
        for number in range(3):
            tasks = tuple(range(number * size, (number + 1) * size))
            expected += [(kind, name, view, tasks) for name in turn(number) for kind in ("training", "inference")]
    assert clock.calls == expected
    seconds = collections.defaultdict(list)
    for place, (kind, name, view, tasks) in enumerate(clock.calls, 1):
        if tasks[0] > 0:
            factor = {"maml": 6.0, "fomaml": 3.0, "anil": 2.0}[name] * (4.0 if kind == "inference" else 1.0)
            seconds[kind, name, view].append(factor * (1 + place))
    for (kind, name, view), taken in seconds.items():
        where = {"algorithm": name, "view": view}
        found = the(table, measure=f"{kind}_seconds", **where)
        assert (found.value, found.n, found.low, found.high) == (np.median(taken), 2, None, None)
        assert (found.seed, found.inner_steps, found.checkpoint, found.iteration) == (4, 2, None, None)
        ratios = np.array(seconds[kind, "maml", view]) / np.array(taken)
        speedup = chosen(table, measure=f"{kind}_speedup", **where)
        assert [found.value for found in speedup] == ([] if name == "maml" else [pytest.approx(np.median(ratios))])
    assert len(table) == 2 * (3 + 3 + 2 + 2)
    assert the(table, measure="training_seconds", algorithm="maml", view="ordinary").source == (
        "timed here: one thread, cpu, chunks of 2 tasks, unrolled"
    )


def test_of_six_rounds_there_is_an_interval_and_one_condition_may_be_asked_for(monkeypatch):
    clock = Clock()
    clock.runs = False
    monkeypatch.setattr(timing, "seconds_of", clock)
    table = time_learners(CONFIG, IMAGESET, rounds=6, views=("paper",))
    assert {found.view for found in table.rows} == {"paper"}
    for found in table.rows:
        assert found.low < found.value < found.high
        assert found.n == 6


def test_no_rounds_are_refused():
    with pytest.raises(MetaprobeError, match=r"timing needs at least one round; got 0"):
        time_learners(CONFIG, IMAGESET, rounds=0)


@pytest.mark.parametrize("count", [1, 5, 6, 7, 24, 25, 101])
def test_the_interval_of_a_median_is_the_narrowest_of_order_statistics_that_holds_95_percent(count):
    values = list(np.random.default_rng(count).permutation(count).astype(float))
    found = median_interval(values)
    held = {k: 1 - 2 * sum(math.comb(count, b) for b in range(k)) / 2**count for k in range(1, count // 2 + 1)}
    enough = [k for k, share in held.items() if share >= 0.95]
    if not enough:
        assert found is None
        assert count < 6
        return
    k = max(enough)
    assert found == (sorted(values)[k - 1], sorted(values, reverse=True)[k - 1])
