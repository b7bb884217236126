"""The small models of arnold2021: closed forms against simulation, sympy, the inner loop, and what the paper prints."""

import math

import numpy as np
import pytest
import sympy
import torch
from scipy import integrate, special
from torch import nn

from metaprobe.analyses.theory.descent import meta_test, meta_train
from metaprobe.analyses.theory.logistic import LogisticRegression, bayes_accuracy, logistic_curve, logistic_tasks
from metaprobe.analyses.theory.plans import HELD, MOVING, Descent, LogisticTraining
from metaprobe.analyses.theory.rows import logistic_rows, scalar_rows
from metaprobe.analyses.theory.scalar import (
    adapted_deep,
    adapted_shallow,
    deep_loss,
    hessian,
    meta_gradient,
    shallow_loss,
    stationary_points,
    task_loss,
)
from metaprobe.trainers.adapt import adapt
from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.tasks.given import tasks_of_arrays

ALPHA = 0.1


def expected(function):
    """Return E over θ ~ N(0, 1) by Gauss–Hermite quadrature, exact for polynomials of degree below 40."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(20)
    return float((weights * function(nodes)).sum() / math.sqrt(2 * math.pi))


@pytest.mark.parametrize("alpha", [0.05, 0.1, 0.7])
@pytest.mark.parametrize(("a", "b"), [(0.0, 0.0), (0.7, -1.3), (2.0, 0.4), (-1.1, -0.2)])
def test_meta_losses_are_the_mean_over_tasks(a, b, alpha):
    def deep(theta):
        one, two = adapted_deep(a, b, theta, alpha)
        return task_loss(one * two, theta)

    assert deep_loss(a, b, alpha) == pytest.approx(expected(deep), rel=1e-12)
    shallow = expected(lambda theta: task_loss(adapted_shallow(a, theta, alpha), theta))
    assert shallow_loss(a, alpha) == pytest.approx(shallow, rel=1e-12)


def test_the_shallow_loss_is_least_at_the_origin_by_half_of_what_is_printed():
    c = np.linspace(-2, 2, 9)
    least = shallow_loss(np.zeros(9), ALPHA)
    np.testing.assert_allclose(shallow_loss(c, ALPHA) - least, 0.5 * (1 - ALPHA) ** 2 * c**2, rtol=1e-13, atol=1e-15)


def symbolic():
    """Return the loss of the deep model as sympy derives it from the two updates, and its symbols."""
    a, b, alpha, theta = sympy.symbols("a b alpha theta")
    error = a * b - theta
    slope = sympy.expand((a - alpha * b * error) * (b - alpha * a * error) - theta)
    moments = {0: 1, 1: 0, 2: 1, 3: 0, 4: 3}
    mean = sum(part * moments[power] for (power,), part in sympy.Poly(slope**2, theta).terms())
    return sympy.expand((1 + mean) / 2), a, b, alpha


def test_gradient_and_hessian_are_those_that_sympy_derives():
    loss, a, b, alpha = symbolic()
    for at in ((0.3, -0.8), (1.7, 0.2)):
        here = {a: at[0], b: at[1], alpha: 0.13}
        gradient = [float(sympy.diff(loss, one).subs(here)) for one in (a, b)]
        curved = [[float(sympy.diff(loss, one, two).subs(here)) for two in (a, b)] for one in (a, b)]
        np.testing.assert_allclose(meta_gradient(*at, 0.13), gradient, rtol=1e-12)
        np.testing.assert_allclose(hessian(*at, 0.13), curved, rtol=1e-12)


def test_the_printed_points_are_stationary_for_every_rate_and_the_printed_hessians_are_of_twice_the_loss():
    loss, a, b, alpha = symbolic()
    root = 1 / sympy.sqrt(alpha)
    steep, flat = 8 * alpha, 6 * alpha**3
    printed = {(0, 0): (-4 * alpha, -4 * alpha)}
    printed |= {(sign * root, 0): (steep, flat) for sign in (1, -1)}
    printed |= {(0, sign * root): (flat, steep) for sign in (1, -1)}
    for place, diagonal in printed.items():
        here = dict(zip((a, b), place, strict=True))
        assert [sympy.simplify(sympy.diff(loss, one).subs(here)) for one in (a, b)] == [0, 0]
        found = sympy.hessian(2 * loss, (a, b)).subs(here)
        assert sympy.simplify(found - sympy.diag(*diagonal)) == sympy.zeros(2)
    for point in stationary_points(0.2):
        key = next(
            p for p in printed if np.allclose([float(sympy.sympify(v).subs(alpha, 0.2)) for v in p], (point.a, point.b))
        )
        assert point.printed == pytest.approx([float(entry.subs(alpha, 0.2)) for entry in printed[key]])


class Scalar(nn.Module):
    """ŷ = abx, or with one weight cx."""

    def __init__(self, *weights):
        super().__init__()
        self.weights = nn.ParameterList(torch.tensor([float(w)], dtype=torch.float64) for w in weights)

    def forward(self, x):
        for weight in self.weights:
            x = x * weight
        return x


@pytest.mark.parametrize("weights", [(0.6,), (0.6, -1.2)])
def test_one_step_is_that_of_the_inner_loop_on_samples_with_the_moments_of_the_expectation(weights):
    theta = 0.8
    x = np.tile([-1.0, 1.0], 10)  # E x² = 1
    noise = np.repeat([-1.0, 1.0], 10)  # E xn = 0
    y = theta * x + noise
    tasks = tasks_of_arrays(*(part.reshape(1, -1, 1) for part in (x, y, x, y)))
    network = Scalar(*weights)
    # the mean squared error is 2ℓ
    found = adapt(network, dict(network.named_parameters()), tasks.support, inner_lr=ALPHA / 2, steps=1).params
    got = [value.item() for value in found.values()]
    wanted = (adapted_shallow(*weights, theta, ALPHA),) if len(weights) == 1 else adapted_deep(*weights, theta, ALPHA)
    assert got == pytest.approx(wanted, rel=1e-12)


def test_depth_is_what_adapts_in_one_dimension():
    how = Descent(runs=20, iterations=300)
    deep, shallow = (2 * meta_test(meta_train(model, how), ALPHA) - 1 for model in ("deep", "shallow"))
    assert deep.shape == shallow.shape == (301, 20)
    assert deep[300].max() < 0.01  # one of the four solutions
    assert shallow[300].min() >= (1 - ALPHA) ** 2  # what one step leaves from the best start
    assert (shallow[300] < shallow[0]).mean() > 0.9


def test_runs_are_a_function_of_their_seed():
    how = Descent(runs=3, iterations=5)
    np.testing.assert_array_equal(meta_train("deep", how), meta_train("deep", how))
    assert not np.array_equal(meta_train("deep", how), meta_train("deep", Descent(runs=3, iterations=5, seed=1)))
    with pytest.raises(MetaprobeError, match="iterations"):
        Descent(iterations=0)


def test_bayes_accuracy_is_the_integral_that_it_stands_for():
    def density(z, norm):
        return special.expit(abs(norm * z)) * math.exp(-(z**2 + norm**2) / 2) * norm / math.sqrt(2 * math.pi)

    value, _ = integrate.dblquad(density, 0, 10, -8, 8, epsabs=1e-9)
    assert bayes_accuracy("drawn") == pytest.approx(100 * value, abs=1e-5)
    tasks = logistic_tasks(400, LogisticTraining(n_query=400), np.random.default_rng(0))
    assert bayes_accuracy("sign") == 100.0
    assert set(tasks.query.labels.unique().tolist()) == {0, 1}


def test_logistic_regression_steps_along_the_gradient_of_its_own_loss():
    how = LogisticTraining(n_shot=7)
    tasks = logistic_tasks(2, how, np.random.default_rng(3))
    network = LogisticRegression((), torch.Generator().manual_seed(0))
    found = adapt(network, dict(network.named_parameters()), tasks.support, inner_lr=how.alpha, steps=1).params
    c = network.layers[0].weight.detach().numpy()[0]
    for task in range(2):
        x, y = tasks.support.images[task].numpy(), tasks.support.labels[task].numpy()
        wanted = c - how.alpha * ((special.expit(x @ c) - y)[:, None] * x).mean(axis=0)
        np.testing.assert_allclose(found["layers.0.weight"][task].numpy()[0], wanted, rtol=1e-12)


def test_logistic_regression_adapts_from_the_origin_with_and_without_layers():
    how = LogisticTraining(iterations=60, n_shot=30, labels="sign", betas=((0, 0.1), (2, 0.1)))
    tests = logistic_tasks(60, how, np.random.default_rng(1))
    for layers in (0, 2):
        iterations, curve = logistic_curve(layers, how, tests, every=30)
        assert iterations == [0, 30, 60]
        assert curve.shape == (3, 60)
        assert curve[-1].mean() > 85  # one step from the origin points to θ: no failure of the shallow model here


def test_rows_hold_what_the_claims_are_about():
    table = scalar_rows(Descent(runs=12, iterations=400))
    by = {(row.measure, row.view, row.step): row for row in table.rows if row.view}
    names = {row.view for row in table.rows if row.measure == "meta_gradient_norm"}
    assert names == {point.name for point in stationary_points(ALPHA)}
    for name in names:
        assert by["meta_gradient_norm", name, None].value == pytest.approx(0, abs=1e-12)
        assert by["hessian_of_2l", name, None].value == pytest.approx(0, abs=1e-9)
        assert by["hessian_of_l", name, None].value == pytest.approx(0.5, abs=1e-9)
    assert by["one_step_error", HELD, 1].value == pytest.approx(0, abs=1e-12)
    assert by["one_step_error", MOVING, 0].value == pytest.approx(0, abs=1e-12)
    assert by["one_step_error", MOVING, 1].value > 0.1
    curves = {row.learner: row for row in table.rows if row.measure == "excess_error" and row.iteration == 400}
    assert curves["deep"].high < 0.1 < curves["shallow"].low
    assert {row.measure for row in table.rows if row.view == "training 0"} == {"weight_a", "weight_b"}
    assert {row.seed for row in table.rows} == {None}  # trainings in closed form are no seeds of a study
    trained = logistic_rows(LogisticTraining(iterations=2, tasks=2, width=3), tests=5)
    assert {row.learner for row in trained.rows if row.measure == "accuracy"} == {"lr", "lr+2", "lr+3"}
    assert all(0 <= row.low <= row.value <= row.high <= 100 for row in trained.rows if row.measure == "accuracy")
