"""iMAML: its inner loop, its system and its meta-gradient against closed forms and an explicit Hessian, float64."""

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from metaprobe.analyses.clustering.task_optimum import descend
from metaprobe.analyses.freezing import TestPlan, freeze
from metaprobe.probe import open_store
from metaprobe.probe.capturing.from_checkpoint import capture_checkpoint
from metaprobe.trainers.adapt import adapt_as
from metaprobe.trainers.algorithms import ALGORITHMS, check_options, meta_gradient
from metaprobe.trainers.checkpoint import load_checkpoint
from metaprobe.trainers.config import Adaptation, NetworkConfig, TrainConfig, to_mapping
from metaprobe.trainers.conjugate_gradients import conjugate_gradients
from metaprobe.trainers.conventions import completed
from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.evaluate import sampler_for
from metaprobe.trainers.networks import build_network, forward_tasks
from metaprobe.trainers.outer_loop import train
from metaprobe.trainers.run import RunFolder
from metaprobe.trainers.tasks.given import tasks_of_arrays
from tests import reference_maml as reference
from tests.test_meta_gradients import TOLERANCE, problem, worst
from tests.test_training import tiny

IMAML = ALGORITHMS["imaml"]
FLOAT64 = {"dtype": torch.float64}


def system_of(name, hessian, lam):
    """A, as the paper and as its code has it."""
    own, scale = (1, lam) if name == "paper" else (2, lam + 10)
    return own * torch.eye(len(hessian), **FLOAT64) + hessian / scale


def test_conjugate_gradients_solve_a_system_a_task():
    generator = torch.Generator().manual_seed(0)
    root = torch.randn(3, 7, 7, generator=generator, **FLOAT64)
    matrix = root @ root.mT + torch.eye(7, **FLOAT64)
    wanted = torch.randn(3, 7, generator=generator, **FLOAT64)
    wanted[1] = 0  # nothing to solve
    wanted[2] = torch.linalg.eigh(matrix[2])[1][:, 0]  # solved by one step; the others go on

    def times(v):
        flat = torch.cat([v[0].flatten(1), v[1]], dim=1)
        made = (matrix @ flat.unsqueeze(2)).squeeze(2)
        return [made[:, :4].view(3, 2, 2), made[:, 4:]]

    for steps, near in ((7, 1e-9), (200, 1e-10)):
        first, second = conjugate_gradients(times, [wanted[:, :4].view(3, 2, 2), wanted[:, 4:]], steps)
        found = torch.cat([first.flatten(1), second], dim=1)
        torch.testing.assert_close(found, torch.linalg.solve(matrix, wanted), rtol=0, atol=near)
    one = conjugate_gradients(times, [wanted[:, :4].view(3, 2, 2), wanted[:, 4:]], 1)[1][0]
    length = wanted[0] @ wanted[0] / (wanted[0] @ matrix[0] @ wanted[0])
    torch.testing.assert_close(one, length * wanted[0, 4:], rtol=0, atol=1e-12)


def linear(steps=3000, system=None, lam=2.0):
    """Tasks of linear regression, a linear model away from 0, and the learner that adapts to them."""
    rng = np.random.default_rng(3)
    arrays = [rng.standard_normal((2, n, width)) for n, width in ((6, 4), (6, 2), (5, 4), (5, 2))]
    tasks = tasks_of_arrays(*arrays)
    network = build_network(NetworkConfig("mlp", 2, 4, 1, 8, "none", "transductive", blocks=0), seed=1).double()
    with torch.no_grad():
        network.get_parameter("head.bias").add_(0.3)
    config = TrainConfig(
        "imaml", "toy", inner_lr=0.1, inner_steps=steps, prox_lambda=lam, cg_steps=60, cg_system=system
    )
    tasks = dataclasses.replace(
        tasks, **{part: dataclasses.replace(
            getattr(tasks, part), images=torch.from_numpy(arrays[at]), labels=torch.from_numpy(arrays[at + 1])
        ) for part, at in (("support", 0), ("query", 2))}
    )  # fmt: skip
    return network, dict(network.named_parameters()), tasks, IMAML.adaptation(config, network.layer_names)


def solved(params, tasks, task, lam):
    """The optimum of L + λ/2 ‖φ − θ‖² in closed form, its Hessian without λ, and the query gradient there."""
    theta = torch.cat([params["head.weight"].T, params["head.bias"][None]]).detach()  # (feature + 1, output)
    x, known = torch.cat([tasks.support.images[task], torch.ones(6, 1, **FLOAT64)], dim=1), tasks.support.labels[task]
    asked, wanted = torch.cat([tasks.query.images[task], torch.ones(5, 1, **FLOAT64)], dim=1), tasks.query.labels[task]
    hessian = 2 / known.numel() * x.T @ x
    phi = torch.linalg.solve(hessian + lam * torch.eye(5, **FLOAT64), 2 / known.numel() * x.T @ known + lam * theta)
    return phi, hessian, 2 / wanted.numel() * asked.T @ (asked @ phi - wanted), ((asked @ phi - wanted) ** 2).mean()


@pytest.mark.parametrize("system", [None, "code"])
@pytest.mark.parametrize("lam", [0.5, 2.0])
def test_on_linear_regression_all_is_in_closed_form(lam, system):
    network, params, tasks, adaptation = linear(system=system, lam=lam)
    adapted = adapt_as(network, params, tasks.support, adaptation).params
    ours = IMAML.meta_gradient(network, params, tasks, adaptation, True, False)
    loss, by_weight, by_bias = 0.0, 0.0, 0.0
    for task in range(2):
        phi, hessian, gradient, one = solved(params, tasks, task, lam)
        torch.testing.assert_close(adapted["head.weight"][task], phi[:-1].T, rtol=0, atol=TOLERANCE)
        torch.testing.assert_close(adapted["head.bias"][task], phi[-1], rtol=0, atol=TOLERANCE)
        v = torch.linalg.solve(system_of(system or "paper", hessian, lam), gradient)
        loss, by_weight, by_bias = loss + one, by_weight + v[:-1].T, by_bias + v[-1]
    assert float(ours.loss) == pytest.approx(float(loss), abs=TOLERANCE)
    assert worst(ours.gradients, {"head.weight": by_weight, "head.bias": by_bias}) < TOLERANCE
    if system is None:  # which is the derivative of what training minimises, by plain autograd through all steps
        whole = dataclasses.replace(adaptation, steps=400)
        theirs = meta_gradient(network, params, tasks, whole, True)
        assert worst(ours.gradients, theirs.gradients) < 1e-8


def prox_path(params, images, labels, names, lr, lam, steps, downsample):
    """The inner loop on L + λ/2 ‖φ − θ‖² written out, one task."""
    current = {name: value.detach() for name, value in params.items()}
    for _ in range(steps):
        moving = {name: current[name].clone().requires_grad_() for name in names}
        distance = sum(((moving[name] - params[name].detach()) ** 2).sum() for name in names)
        loss = F.cross_entropy(reference.conv4(current | moving, images, downsample), labels) + lam / 2 * distance
        gradients = torch.autograd.grad(loss, list(moving.values()))
        for name, gradient in zip(names, gradients, strict=True):
            current[name] = (moving[name] - lr * gradient).detach()
    return current


def query_loss(params, tasks, task, downsample, transductive):
    support, query = tasks.support.images[task], tasks.query.images[task]
    images = query if transductive else torch.cat([support, query])
    logits = reference.conv4(params, images, downsample, None if transductive else len(support))[-len(query) :]
    return F.cross_entropy(logits, tasks.query.labels[task])


@pytest.mark.parametrize("system", ["paper", "code"])
@pytest.mark.parametrize(("norm", "adapt_norm"), [("transductive", True), ("non-transductive", False)])
def test_the_meta_gradient_is_that_of_an_explicit_hessian(norm, adapt_norm, system):
    downsample, lam, transductive = "max-pool", 20.0, norm == "transductive"
    network, params, tasks = problem(downsample, norm, n_tasks=2, filters=2)
    config = TrainConfig(
        "imaml",
        "toy",
        inner_lr=0.02,
        inner_steps=4,
        prox_lambda=lam,
        cg_steps=400,
        cg_system=system,
        adapt_norm=adapt_norm,
    )
    adaptation = IMAML.adaptation(config, network.layer_names)
    ours = IMAML.meta_gradient(network, params, tasks, adaptation, transductive, False)
    names = [name for name in params if adapt_norm or ".norm." not in name]
    others = [name for name in params if name not in names]
    scale, sizes = (lam if system == "paper" else lam + 10), [params[name].numel() for name in names]
    expected, total = {name: torch.zeros_like(value) for name, value in params.items()}, 0.0
    for task in range(2):
        images, labels = tasks.support.images[task], tasks.support.labels[task]
        phi = prox_path(params, images, labels, names, 0.02, lam, 4, downsample)
        leaves = {name: value.detach().requires_grad_() for name, value in phi.items()}
        support = F.cross_entropy(reference.conv4(leaves, images, downsample), labels)
        slopes = torch.autograd.grad(support, [leaves[name] for name in names], create_graph=True)
        flat = torch.cat([slope.flatten() for slope in slopes])
        rows = [torch.autograd.grad(one, list(leaves.values()), retain_graph=True) for one in flat]
        by = {name: torch.stack([row[at].flatten() for row in rows]) for at, name in enumerate(leaves)}
        hessian = torch.cat([by[name] for name in names], dim=1)
        assert float((hessian - hessian.T).abs().max()) < 1e-9
        matrix = system_of(system, hessian, lam)
        assert float(torch.linalg.eigvalsh((matrix + matrix.T) / 2).min()) > 0
        loss = query_loss(leaves, tasks, task, downsample, transductive)
        total += float(loss.detach())
        asked = dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))
        v = torch.linalg.solve(matrix, torch.cat([asked[name].flatten() for name in names]))
        for name, part in zip(names, v.split(sizes), strict=True):
            expected[name] += part.view(params[name].shape)
        for name in others:
            expected[name] += asked[name] - (v @ by[name] / scale).view(params[name].shape)
    assert float(ours.loss) == pytest.approx(total, abs=TOLERANCE)
    assert list(ours.gradients) == list(params) and worst(ours.gradients, expected) < TOLERANCE
    assert min(float(value.abs().max()) for value in expected.values()) > 1e-6
    few = dataclasses.replace(adaptation, cg_steps=1)
    assert worst(IMAML.meta_gradient(network, params, tasks, few, transductive, False).gradients, expected) > 1e-5


@pytest.mark.parametrize("layers", [None, ("conv3", "head"), ("head",), ()])
def test_the_inner_loop_is_pulled_back_to_its_start_whatever_is_frozen(layers):
    network, params, tasks = problem("stride")
    config = TrainConfig("imaml", "toy", inner_lr=0.2, prox_lambda=1.5)
    adaptation = IMAML.adaptation(config, network.layer_names)
    adaptation = adaptation if layers is None else dataclasses.replace(adaptation, layers=layers)
    found = adapt_as(network, params, tasks.support, adaptation, every_step=True)
    names = [name for name in params if name.partition(".")[0] in adaptation.layers]
    for task in range(3):
        for steps in (1, 5) if names else ():
            asked = (tasks.support.images[task], tasks.support.labels[task], names, 0.2, 1.5, steps, "stride")
            theirs = prox_path(params, *asked)
            assert max(float((found.trajectory[steps][n][task] - theirs[n]).abs().max()) for n in names) < TOLERANCE
    assert layers != () or len(found.trajectory) == 1


@pytest.fixture(scope="module")
def run(tmp_path_factory, toy):
    out = tmp_path_factory.mktemp("imaml") / "run"
    train(
        tiny("imaml", inner_lr=0.3, iterations=40, val_every=20, filters=16, meta_batch=4, outer_lr=5e-3, val_tasks=40),
        toy,
        out,
    )
    return RunFolder(out)


def test_a_learner_learns_and_is_captured_and_tested_as_it_was_trained(run, toy, tmp_path):
    path = run.checkpoint("last")
    last = load_checkpoint(path)
    assert last.metrics["val_accuracy"] > 50  # chance is 33 %
    assert (last.adaptation.prox_lambda, last.adaptation.cg_steps, last.rule) == (2.0, 5, {})
    assert to_mapping(last.adaptation)["prox_lambda"] == 2.0
    tasks = sampler_for(last, toy, n_query=2).batch(range(3))
    network = last.network()
    states = adapt_as(network, last.start(), tasks.support, last.adaptation, every_step=True).trajectory
    store = capture_checkpoint(path, toy, tmp_path / "store.h5", tasks=3, n_query=2, steps="all", raw=True)
    with open_store(store) as opened:
        for step, state in enumerate((last.start(), *states[1:])):
            found = torch.stack([torch.from_numpy(opened.activations("head", step, task)) for task in range(3)])
            ours = forward_tasks(network, state, tasks.query.images).detach()
            torch.testing.assert_close(found, ours, atol=1e-5, rtol=1e-4)
    free = adapt_as(network, last.start(), tasks.support, dataclasses.replace(last.adaptation, prox_lambda=0.0)).params
    assert not torch.allclose(free["head.weight"], states[-1]["head.weight"])
    assert {row.frozen for row in freeze(path, toy, TestPlan(tasks=3, n_query=2)).rows} >= {
        "",
        "conv1,conv2,conv3,conv4",
    }
    near = descend(network, last.start(), tasks.support, tasks.query, last.adaptation, 0.05, 200)[1]
    assert float(near.max()) < 0.2  # an optimum is sought without the pull


def test_defaults_and_what_is_refused():
    config = TrainConfig("imaml", "toy")
    assert completed(config, lambda name: False).inner_steps == 16
    assert completed(config, lambda name: name == "inner_steps").inner_steps == 5
    assert TrainConfig("imaml", "toy", cg_system="paper") == config
    for options, told in (
        ({"prox_lambda": 0.0}, "prox.lambda"),
        ({"cg_steps": 0}, "cg.steps"),
    ):
        with pytest.raises(MetaprobeError, match=told):
            TrainConfig("imaml", "toy", **options)
    for name, options, told in (
        ("maml", {"prox_lambda": 1.0}, "--prox-lambda is an option of imaml; maml has none"),
        ("reptile", {"cg_system": "code"}, "--cg-system is an option of imaml; reptile has none"),
        ("imaml", {"update_rule": "lslr"}, "--update-rule is an option of maml.*; imaml has none"),
        ("imaml", {"step_norms": True}, "--step-norms is an option of maml.*; imaml has none"),
        ("imaml", {"first_order_until": 3}, "--first-order-until is an option of maml.*; imaml has none"),
    ):
        with pytest.raises(MetaprobeError, match=told):
            check_options(ALGORITHMS[name], TrainConfig(name, "toy", **options))
    with pytest.raises(MetaprobeError, match=r"prox_lambda is 0 or above.*got -1"):
        Adaptation(("head",), 0.1, 5, prox_lambda=-1.0)


def test_a_loop_that_is_held_near_its_start_is_not_taken_in_parts():
    network, params, tasks = problem()
    held = Adaptation(network.layer_names, 0.2, 2, prox_lambda=1.0)
    with pytest.raises(MetaprobeError, match="held near its start; take all its steps at once"):
        meta_gradient(network, params, tasks, held, True, sweep=True)
