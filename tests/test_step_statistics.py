"""Running statistics of norms for each number of inner steps: collected in training, normalised by at a test."""

import dataclasses

import pytest
import torch

from metaprobe.analyses.freezing import TestPlan
from metaprobe.trainers.adapt import adapt_as, query_logits
from metaprobe.trainers.algorithms import ALGORITHMS
from metaprobe.trainers.config import TrainConfig
from metaprobe.trainers.engine import Engine
from metaprobe.trainers.executor import Executor
from metaprobe.trainers.parallel import TaskWorkers
from metaprobe.trainers.rule_parameters import begin_rule
from metaprobe.trainers.step_statistics import MOMENTUM, follow
from tests import reference_mamlpp as reference
from tests.test_meta_gradients import TOLERANCE, problem, worst
from tests.test_step_norms import names_of

KEPT = {"step_statistics": "running"}
NORMED = {"step_norms": True, "adapt_norm": False}
PLAN = TestPlan(tasks=3, n_query=2)
WEIGHTS = {1: (1.0,), 5: (0.3, 0.1, 0.25, 0.05, 0.3)}


def case(steps=3, name="maml", n_tasks=3, norm="transductive", downsample="max-pool", **options):
    """A network, all parameters with sets away from where they start, tasks, and how its learners adapt."""
    network, params, tasks = problem(downsample, norm, n_tasks)
    config = TrainConfig(name, "toy", inner_lr=0.2, inner_steps=steps, **KEPT, **options)
    adaptation = ALGORITHMS[name].adaptation(config, network.layer_names)
    generator = torch.Generator().manual_seed(7)
    begun = begin_rule(network, adaptation, config)
    own = {n: v + 0.3 * torch.rand(v.shape, generator=generator, dtype=v.dtype) for n, v in begun.items()}
    learned = {n: v.requires_grad_(not n.endswith((".mean", ".variance"))) for n, v in own.items()}
    return network, {**params, **learned}, tasks, adaptation


def moving(params, options):
    return names_of(params) if options else [name for name in params if not name.startswith("update_rule.")]


@pytest.mark.parametrize("sweep", [False, True], ids=["unrolled", "sweep"])
@pytest.mark.parametrize("norm", ["transductive", "non-transductive"])
@pytest.mark.parametrize(("name", "steps", "options"), [("maml", 1, {}), ("maml", 5, NORMED), ("fomaml", 5, {})])
def test_statistics_are_collected_beside_a_meta_gradient_that_knows_nothing_of_them(name, steps, options, norm, sweep):
    network, params, tasks, adaptation = case(steps, name, norm=norm, **options)
    weighted = dataclasses.replace(adaptation, loss_weights=WEIGHTS[steps])
    ours = ALGORITHMS[name].meta_gradient(network, params, tasks, weighted, norm == "transductive", sweep)
    sets = {n: v for n, v in params.items() if n.endswith((".mean", ".variance"))}
    leaves, names = {n: v for n, v in params.items() if n not in sets}, moving(params, options)
    told = {"weights": WEIGHTS[steps], "first_order": name == "fomaml"}
    asked = (tasks, names, 0.2, steps, norm == "transductive")
    loss, _, theirs = reference.meta_gradient(leaves, *asked, **told)
    assert float(ours.loss) == pytest.approx(loss, abs=TOLERANCE)
    assert set(ours.gradients) == set(theirs) and worst(ours.gradients, theirs) < TOLERANCE
    expected = reference.batch_statistics(leaves, *asked)
    assert set(ours.statistics) == set(expected) == set(sets) and len(sets) == 8
    assert worst(ours.statistics, expected) < TOLERANCE
    assert all(value.shape == (steps + 1, 4) and not value.requires_grad for value in ours.statistics.values())
    assert not network.training or all(norm.seen is None for norm in network.modules() if hasattr(norm, "seen"))


def test_chunks_and_workers_add_up_to_the_same_sums():
    network, params, tasks, adaptation = case(2, n_tasks=5)
    expected = reference.batch_statistics(params, tasks, moving(params, {}), 0.2, 2)
    with TaskWorkers(network) as workers:
        executor = Executor(ALGORITHMS["maml"], adaptation, True, workers)
        for chunk in (1, 2, 5):
            found = executor.gradient(params, tasks, Engine(chunk, "unrolled"))
            assert worst(found.statistics, expected) < TOLERANCE


def test_sets_follow_the_means_of_meta_batches():
    params = {"update_rule.conv1.norm.mean": torch.tensor([[1.0, 2.0]], dtype=torch.float64)}
    expected = params["update_rule.conv1.norm.mean"].clone()
    for mean in ([[3.0, 0.0]], [[-1.0, 5.0]]):
        follow(params, {"update_rule.conv1.norm.mean": torch.tensor(mean, dtype=torch.float64)})
        expected = (1 - MOMENTUM) * expected + MOMENTUM * torch.tensor(mean, dtype=torch.float64)
    torch.testing.assert_close(params["update_rule.conv1.norm.mean"], expected, rtol=0, atol=1e-15)
    assert MOMENTUM == 0.1


@pytest.mark.parametrize("options", [{}, NORMED], ids=["plain", "norms of steps"])
@pytest.mark.parametrize("transductive", [True, False])
@pytest.mark.parametrize("downsample", ["stride", "max-pool"])
def test_every_pass_of_a_test_is_normalised_by_the_set_of_its_step(downsample, transductive, options):
    network, params, tasks, adaptation = case(3, downsample=downsample, **options)
    further = dataclasses.replace(adaptation, steps=5)  # the last two by the last set
    found = adapt_as(network, params, tasks.support, further, every_step=True)
    assert worst(adapt_as(network, params, tasks.support, further).params, found.params) == 0
    for task in range(3):
        support, query = tasks.support, tasks.query
        asked = (support.images[task], support.labels[task], query.images[task], moving(params, options), 0.2, 5)
        theirs = reference.logits_by_sets(params, *asked, downsample).detach()
        for state, expected in zip(found.trajectory, theirs, strict=True):
            ours = query_logits(network, state, support, query, transductive=transductive).detach()
            assert float((ours[task] - expected).abs().max()) < TOLERANCE
    pre = [query_logits(network, at, tasks.support, tasks.query) for at in (params, found.trajectory[0])]
    torch.testing.assert_close(*pre, rtol=0, atol=1e-12)
    batch = dataclasses.replace(further, step_statistics="batch")
    other = adapt_as(network, params, tasks.support, batch).params
    assert not [name for name in other if name.startswith("update_rule.")]
    assert not torch.allclose(other["head.weight"], found.params["head.weight"])


@pytest.mark.parametrize(("layers", "still"), [(("conv3", "head"), 2), (("head",), 4), ((), 4), (("conv1",), 0)])
def test_what_comes_before_the_first_layer_that_adapts_keeps_the_first_set(layers, still):
    network, params, tasks, adaptation = case(3)
    narrow = dataclasses.replace(adaptation, layers=layers)
    found = adapt_as(network, params, tasks.support, narrow).params
    for block in range(1, 5):
        name = f"update_rule.conv{block}.norm.mean"
        assert torch.equal(found[name], params[name][:1] if block <= still else params[name][3:])
    first = tuple(f"update_rule.conv{block}." for block in range(1, still + 1))
    sets = {name: value[:1] for name, value in params.items() if name.startswith(first)}
    body = [name for name in params if name.partition(".")[0] in layers]
    asked = (tasks.support.images[1], tasks.support.labels[1], tasks.query.images[1], body, 0.2, 3 if layers else 0)
    at = reference.logits_by_sets(params | sets, *asked, "max-pool").detach()
    ours = query_logits(network, found, tasks.support, tasks.query).detach()
    assert float((ours[1] - at[-1]).abs().max()) < TOLERANCE
