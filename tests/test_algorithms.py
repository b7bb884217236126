"""Every algorithm: its gradient against plain autograd in float64, and the whole path from training to a capture."""

import dataclasses
import functools

import pytest
import torch
import torch.nn.functional as F

from metaprobe.trainers.algorithms import ALGORITHMS
from metaprobe.trainers.config import TrainConfig
from metaprobe.trainers.networks import layer_of
from metaprobe.trainers.rule_parameters import begin_rule
from metaprobe.trainers.tasks.minibatches import MinibatchSampler
from tests import reference_maml
from tests.conftest import make_imageset
from tests.reference_networks import features, logits
from tests.test_meta_gradients import TOLERANCE, problem, worst
from tests.test_minibatches import mixed_splits

NORMS = ("transductive", "non-transductive")


DIRECT = ("nil", "matching", "multitask", "multiclass", "random", "reptile", "maml_head")


INNER_LR, STEPS = 0.2, 3


def case(name, downsample="max-pool", norm="transductive", n_tasks=3):
    """A network away from its drawn weights, its parameters with those beside them, tasks, and the config."""
    network, params, tasks = problem(downsample, norm, n_tasks)
    size, channels = (28, 1) if downsample == "stride" else (16, 3)
    imageset = mixed_splits(make_imageset(12, 8, size, channels))
    config = TrainConfig(name, "toy", n_way=3, n_shot=2, n_query=3, inner_lr=INNER_LR, inner_steps=STEPS, norm=norm)
    params = params | ALGORITHMS[name].beside(config, imageset, network)
    learned = begin_rule(network, ALGORITHMS[name].adaptation(config, network.layer_names), config)
    params |= {full: value.requires_grad_() for full, value in learned.items()}
    if name == "multiclass":
        tasks = MinibatchSampler(imageset, 15, seed=5, dtype=torch.float64).batch(range(n_tasks))
    return network, params, tasks, config, imageset


def gradient_of(name, network, params, tasks, config, sweep=False):
    adaptation = ALGORITHMS[name].adaptation(config, network.layer_names)
    return ALGORITHMS[name].meta_gradient(network, params, tasks, adaptation, config.norm == NORMS[0], sweep)


def everything(tasks, task):
    pairs = ((tasks.support.images, tasks.query.images), (tasks.support.labels, tasks.query.labels))
    return [torch.cat([support[task], query[task]]) for support, query in pairs]


def by_similarity(params, tasks, task, downsample, transductive, summed=False):
    """Mean −log Σ_k a(x, x_k) y_k of the queries, one query and one support image at a time; and the hits.

    Summed, the softmax is over the classes, of the sums of their cosines.
    """
    support, query = tasks.support.images[task], tasks.query.images[task]
    known = features(params, support, downsample)
    if transductive:
        asked = features(params, query, downsample)
    else:
        asked = features(params, torch.cat([support, query]), downsample, len(support))[len(support) :]
    loss, hits = 0.0, 0
    for x, label in zip(asked, tasks.query.labels[task], strict=True):
        cosines = torch.stack([x @ k / (x.norm() * k.norm()) for k in known])
        weights = cosines if summed else torch.exp(cosines)
        share = torch.stack([weights[tasks.support.labels[task] == way].sum() for way in range(3)])
        share = torch.softmax(share, dim=0) if summed else share / weights.sum()
        loss = loss - torch.log(share[label]) / len(asked)
        hits += int(share.argmax() == label)
    return loss, hits / len(asked)


def on_all_images(params, tasks, task, downsample, transductive):
    support, query = tasks.support.images[task], tasks.query.images[task]
    if transductive:
        scores = torch.cat([logits(params, support, downsample), logits(params, query, downsample)])
    else:
        scores = logits(params, torch.cat([support, query]), downsample, len(support))
    return scored(scores, everything(tasks, task)[1])


def of_classes(imageset, params, tasks, task, downsample, transductive):
    images, _ = everything(tasks, task)
    rows = list(imageset.classes_of("train"))
    ids = torch.cat([tasks.support.ids[task], tasks.query.ids[task]]).numpy()
    labels = torch.tensor([rows.index(class_id) for class_id in imageset.class_of[ids]])
    scores = features(params, images, downsample) @ params["classes.weight"].T + params["classes.bias"]
    return scored(scores, labels)


def scored(scores, labels):
    return F.cross_entropy(scores, labels), float((scores.argmax(-1) == labels).double().mean())


def expected(name, imageset, params, tasks, config, downsample):
    """Loss, accuracy and gradient summed over tasks, by plain autograd."""
    transductive = config.norm == NORMS[0]
    if name == "maml_head":
        head = [p for p in params if p.startswith("head.")]
        options = (INNER_LR, STEPS, False, downsample, transductive)
        loss, found = reference_maml.meta_gradient(params, tasks, head, *options)
        return loss, None, {p: found[p] for p in head}
    if name == "reptile":
        return reptile(params, tasks, downsample)
    loss_of = {"multitask": on_all_images, "multiclass": functools.partial(of_classes, imageset)}
    loss_of["matching"] = functools.partial(by_similarity, summed=True)
    one = loss_of.get(name, by_similarity)
    parts = [one(params, tasks, task, downsample, transductive) for task in range(len(tasks))]
    loss, accuracy = sum(part[0] for part in parts), sum(part[1] for part in parts)
    trained = {
        "nil": [p for p in params if layer_of(p) != "head"],
        "matching": [p for p in params if layer_of(p) != "head"],
        "multiclass": [p for p in params if layer_of(p) != "head"],
        "multitask": list(params),
        "random": [],
    }[name]
    found = torch.autograd.grad(loss, [params[p] for p in trained]) if trained else ()
    return float(loss.detach()), accuracy, dict(zip(trained, found, strict=True))


def reptile(params, tasks, downsample):
    loss, accuracy, sums = 0.0, 0.0, {name: torch.zeros_like(value) for name, value in params.items()}
    for task in range(len(tasks)):
        images, labels = everything(tasks, task)
        adapted = reference_maml.adapt(params, images, labels, list(params), INNER_LR, STEPS, True, downsample)
        one, hits = scored(logits(adapted, images, downsample), labels)
        loss, accuracy = loss + float(one.detach()), accuracy + hits
        sums = {name: value + (params[name] - adapted[name]).detach() / INNER_LR for name, value in sums.items()}
    return loss, accuracy, sums


@pytest.mark.parametrize("downsample", ["stride", "max-pool"])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", DIRECT)
def test_the_gradient_equals_plain_autograd(name, norm, downsample):
    network, params, tasks, config, imageset = case(name, downsample, norm)
    ours = gradient_of(name, network, params, tasks, config)
    loss, accuracy, theirs = expected(name, imageset, params, tasks, config, downsample)
    assert float(ours.loss) == pytest.approx(loss, abs=TOLERANCE)
    assert accuracy is None or float(ours.score) == pytest.approx(accuracy, abs=1e-6)
    assert set(ours.gradients) == set(theirs)
    if theirs:
        assert worst(ours.gradients, theirs) < TOLERANCE
        assert max(float(g.abs().max()) for g in theirs.values()) > 1e-3  # the agreement is not one of zeros
    assert not any(value.requires_grad for value in (*ours.gradients.values(), ours.loss, ours.score))


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", ALGORITHMS)
def test_chunks_add_up_and_schemes_agree(name, norm):
    network, params, tasks, config, _ = case(name, norm=norm)
    whole, swept = (gradient_of(name, network, params, tasks, config, sweep) for sweep in (False, True))
    parts = [gradient_of(name, network, params, tasks[i : i + 1], config) for i in range(len(tasks))]
    added = parts[0] + parts[1] + parts[2]
    for other in (swept, added):
        assert list(other.gradients) == list(whole.gradients)
        assert all(torch.allclose(other.gradients[p], whole.gradients[p], rtol=0, atol=1e-10) for p in whole.gradients)
        assert float(other.loss) == pytest.approx(float(whole.loss), abs=TOLERANCE)
        assert float(other.score) == pytest.approx(float(whole.score), abs=1e-6)


def test_one_step_of_reptile_is_joint_training():
    """With k = 1 it is the gradient of all images' loss (Nichol et al. 2018, Section 3)."""
    network, params, tasks, config, _ = case("reptile")
    once = gradient_of("reptile", network, params, tasks, dataclasses.replace(config, inner_steps=1))
    joined = [everything(tasks, task) for task in range(len(tasks))]
    loss = sum(F.cross_entropy(logits(params, x, "max-pool"), labels) for x, labels in joined)
    found = dict(zip(params, torch.autograd.grad(loss, list(params.values())), strict=True))
    assert worst(once.gradients, found) < TOLERANCE
    still = gradient_of("reptile", network, params, tasks, dataclasses.replace(config, adapt_norm=False))
    assert set(still.gradients) == {p for p in params if ".norm." not in p}


def test_multiclass_takes_minibatches_and_a_head_of_all_training_classes():
    network, _, _, config, imageset = case("multiclass")
    algorithm = ALGORITHMS["multiclass"]
    sampler = algorithm.batches(config, imageset, torch.device("cpu"))
    tasks = sampler.batch(range(1))
    assert len(tasks.support.labels[0]) + len(tasks.query.labels[0]) == 14  # 15 are no pairs
    made, again = (algorithm.beside(config, imageset, network) for _ in range(2))
    other = algorithm.beside(dataclasses.replace(config, seed=1), imageset, network)
    assert {name: tuple(value.shape) for name, value in made.items()} == {
        "classes.weight": (len(imageset.classes_of("train")), network.head.weight.shape[1]),
        "classes.bias": (len(imageset.classes_of("train")),),
    }
    assert all(value.is_leaf and value.requires_grad for value in made.values())
    assert all(torch.equal(made[name], again[name]) for name in made)
    assert not torch.equal(made["classes.weight"], other["classes.weight"])
    assert not any(layer_of(name) in network.layer_names for name in made)
