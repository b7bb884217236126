"""What the bound is made of: gradients, curvature, optima, the first term, samples of tasks, against formulas."""

from fractions import Fraction

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import optimize, special
from torch import nn

from metaprobe.analyses.clustering.bound_rows import first_term
from metaprobe.analyses.clustering.smoothness import curvature, gradient_norms, sample_gradient_norms
from metaprobe.analyses.clustering.task_optimum import descend, squared_distances, task_samples
from metaprobe.trainers.config import Adaptation
from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.networks import build_network
from metaprobe.trainers.tasks.episodes import EpisodeSampler, Examples
from metaprobe.trainers.tasks.mixture import mix
from tests.conftest import make_imageset
from tests.reference_maml import conv4
from tests.several_starts import LAYERS, NETWORK
from tests.test_bound import task_of


def softmax_regression(tasks=2, samples=14, features=4, ways=3, seed=0):
    """Linear classifiers on labels that no classifier gets right, so that each task has a finite optimum."""
    generator = np.random.default_rng(seed)
    x, y = generator.normal(size=(tasks, samples, features)), generator.integers(ways, size=(tasks, samples))
    y[:, :ways] = np.arange(ways)
    weight = generator.normal(size=(tasks, ways, features))
    network = nn.Linear(features, ways, bias=False).double()
    examples = Examples(torch.from_numpy(x), torch.from_numpy(y), torch.zeros(tasks, samples, dtype=torch.int64))
    return network, {"weight": torch.from_numpy(weight)}, examples


def by_hand(weight, x, y):
    """Per-sample gradients (sample, parameter) and the Hessian of the mean loss, p = softmax(W x)."""
    p = special.softmax(x @ weight.T, axis=1)
    gradients = np.einsum("nk,nf->nkf", p - np.eye(len(weight))[y], x).reshape(len(x), -1)
    inner = np.einsum("nk,kl->nkl", p, np.eye(len(weight))) - np.einsum("nk,nl->nkl", p, p)
    hessian = np.einsum("nkl,nf,ng->kflg", inner, x, x).reshape(weight.size, weight.size) / len(x)
    return gradients, hessian


def test_gradients_and_curvature_are_those_of_softmax_regression():
    network, params, examples = softmax_regression()
    each = sample_gradient_norms(network, params, examples, ["weight"])
    whole = gradient_norms(network, params, examples, ["weight"])
    curved = curvature(network, params, examples, ["weight"], iterations=200)
    few = curvature(network, params, examples, ["weight"], iterations=3)
    for task in range(2):
        x, y = examples.images[task].numpy(), examples.labels[task].numpy()
        gradients, hessian = by_hand(params["weight"][task].numpy(), x, y)
        np.testing.assert_allclose(each[task], np.linalg.norm(gradients, axis=1), rtol=1e-12)
        assert float(whole[task]) == pytest.approx(np.linalg.norm(gradients.mean(axis=0)), rel=1e-12)
        largest = np.linalg.eigvalsh(hessian)[-1]
        assert float(curved[task]) == pytest.approx(largest, rel=1e-8)
        assert 0.5 * largest < float(few[task]) <= largest * (1 + 1e-12)


def test_what_does_not_adapt_is_no_part_of_the_gradient():
    network, params, examples = softmax_regression()
    for found in (gradient_norms, curvature):
        assert found(network, params, examples, []).tolist() == [0, 0]
    assert not sample_gradient_norms(network, params, examples, []).any()


def test_descent_ends_at_the_optimum_of_softmax_regression():
    network, params, examples = softmax_regression()
    few = Examples(*(part[:, :6] for part in (examples.images, examples.labels, examples.ids)))
    found, loss = descend(network, params, few, examples, Adaptation(("weight",), 0.1, 3), 0.5, 3000)
    distances = squared_distances(network, params, found, 2)
    for task in range(2):
        x, y = examples.images[task].numpy(), examples.labels[task].numpy()
        start = params["weight"][task].numpy()

        def mean_loss(flat, x=x, y=y, shape=start.shape):
            value = -special.log_softmax(x @ flat.reshape(shape).T, axis=1)[np.arange(len(y)), y].mean()
            return value, by_hand(flat.reshape(shape), x, y)[0].mean(axis=0)

        # Both descents leave the flat direction (the same vector added to every row) alone, so they meet.
        best = optimize.minimize(
            mean_loss, start.ravel(), jac=True, method="L-BFGS-B", options={"ftol": 1e-15, "gtol": 1e-9}
        )
        np.testing.assert_allclose(found["weight"][task].numpy().ravel(), best.x, atol=1e-4)
        assert float(distances[task]) == pytest.approx(((best.x - start.ravel()) ** 2).sum(), rel=1e-4)
        assert float(loss[task]) == pytest.approx(best.fun, rel=1e-6)


def test_curvature_of_the_network_nears_the_largest_eigenvalue_from_below():
    network, support = build_network(NETWORK, 1).double(), task_of(0).support
    support = Examples(support.images.double(), support.labels, support.ids)
    params = {name: value.detach() for name, value in network.named_parameters()}
    leaves = {name: value.clone().requires_grad_() for name, value in params.items()}
    loss = F.cross_entropy(conv4(leaves, support.images[0], "stride"), support.labels[0])
    flat = torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(leaves.values()), create_graph=True)])
    lines = [torch.autograd.grad(entry, list(leaves.values()), retain_graph=True) for entry in flat]
    hessian = torch.stack([torch.cat([part.flatten() for part in line]) for line in lines])
    largest = float(torch.linalg.eigvalsh((hessian + hessian.T) / 2).abs().max())
    assert float(curvature(network, params, support, LAYERS, iterations=100)) == pytest.approx(largest, rel=1e-3)
    assert 0.7 * largest < float(curvature(network, params, support, LAYERS)) <= largest * (1 + 1e-9)


# ---- the first term


def test_first_term_is_the_formula_in_exact_arithmetic():
    g, smooth, alpha, samples = Fraction(3, 2), Fraction(7, 4), Fraction(1, 8), 10
    growth = 1 + 2 * alpha * smooth
    expected = [2 * g**2 * (growth**q - 1) / (samples * smooth) for q in range(21)]
    found = first_term(float(g), float(smooth), float(alpha), samples, 20)
    np.testing.assert_allclose(found, [float(value) for value in expected], rtol=1e-13)
    assert found[0] == 0
    np.testing.assert_allclose(first_term(1.5, 0.0, 0.125, 10, 3), first_term(1.5, 1e-12, 0.125, 10, 3), rtol=1e-9)


def test_huge_terms_are_given_until_float64_ends():
    found = first_term(10.0, 1e14, 0.5, 25, 22)
    assert 1e266 < found[20] < 1e267
    assert first_term(10.0, 1e14, 0.5, 25, 23)[23] == np.inf


# ---- samples of tasks


def test_a_sample_holds_the_support_set_and_others_of_the_same_classes():
    big, small = (
        make_imageset(n_classes=9, per_class=12, size=8),
        make_imageset(n_classes=9, per_class=7, size=8, seed=1),
    )
    mixed = mix([("big", big), ("small", small)])
    tasks = EpisodeSampler(mixed, "test", 3, 2, 4, 0).batch(range(8))
    assert set(tasks.groups) == {"big", "small"}
    covered = []
    for there, sample in task_samples(mixed, tasks, 10):
        run = range(8)[there]
        assert len({tasks.groups[place] for place in run}) == 1
        for i, place in enumerate(run):
            size = 10 if tasks.groups[place] == "big" else 7
            ids = sample.ids[i].view(3, size)
            assert len(set(ids.flatten().tolist())) == 3 * size
            assert torch.equal(ids[:, :2].flatten(), tasks.support.ids[place])
            assert sample.labels[i].tolist() == [way for way in range(3) for _ in range(size)]
            classes = mixed.class_of[sample.ids[i].numpy()].reshape(3, size)
            assert (classes == tasks.class_ids[place].numpy()[:, None]).all()
            np.testing.assert_array_equal(sample.images[i].numpy(), np.float32(mixed.images[sample.ids[i]]) / 255)
            covered.append(place)
    assert covered == list(range(8))
    with pytest.raises(MetaprobeError, match=r"holds its support set, 2 images a class; got images=1"):
        list(task_samples(mixed, tasks, 1))
