"""Clusters under a symmetric head: the order of the labels of a task cannot count."""

import dataclasses

import numpy as np
import pytest
import torch

from metaprobe.trainers.adapt import adapt_as
from metaprobe.trainers.clustering.moves import Moves, orders_of_labels, symmetric
from metaprobe.trainers.config import Adaptation, NetworkConfig
from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.networks import build_network
from metaprobe.trainers.tasks.episodes import EpisodeSampler
from tests.conftest import make_imageset


def float64_setting(tasks=6):
    shape = NetworkConfig("conv4", 3, 1, 20, 8, "stride", "transductive")
    network = build_network(shape, 3).double()
    base = {name: value.detach() for name, value in network.named_parameters()}
    base["head.bias"] = torch.tensor([0.3, -0.2, 0.1], dtype=torch.float64)
    imageset = make_imageset(size=20)
    batch = EpisodeSampler(imageset, "train", 3, 2, 2, 0, dtype=torch.float64).batch(range(tasks))
    return network, base, batch.support, Adaptation(network.layer_names, 0.3, 6)


def exchanged(support, seed=0):
    """The same images under other labels, no task's the same as before."""
    generator = np.random.default_rng(seed)
    orders = [np.array([1, 2, 0]), np.array([2, 0, 1]), np.array([1, 0, 2])]
    chosen = torch.from_numpy(np.stack([orders[i] for i in generator.integers(3, size=len(support.labels))]))
    return dataclasses.replace(support, labels=chosen.gather(1, support.labels))


@pytest.mark.parametrize("adapt_norm", [True, False])
def test_under_a_symmetric_head_the_body_does_not_know_the_order_of_the_labels(adapt_norm):
    network, base, support, adaptation = float64_setting()
    moves = Moves(dataclasses.replace(adaptation, adapt_norm=adapt_norm), symmetric_head=True)
    one, other = (moves.adapted(network, base, these) for these in (support, exchanged(support)))
    for name, value in one.items():
        if not name.startswith("head"):
            assert float((value - other[name]).abs().max()) < 1e-10
    assert max(float((value - base[name]).abs().max()) for name, value in one.items() if "conv.weight" in name) > 1e-3
    assert float((one["head.weight"] - other["head.weight"]).abs().max()) > 1e-3
    own = Moves(moves.adaptation)
    apart = [own.adapted(network, base, these)["conv4.conv.weight"] for these in (support, exchanged(support))]
    assert float((apart[0] - apart[1]).abs().max()) > 1e-3


def test_a_symmetric_head_has_the_mean_of_all_rows_in_each():
    network, base, _, _ = float64_setting()
    made = symmetric(network, base)
    for row in range(3):
        assert torch.allclose(made["head.weight"][row], base["head.weight"].mean(0))
        assert torch.allclose(made["head.bias"][row], base["head.bias"].mean())
    assert all(made[name] is value for name, value in base.items() if not name.startswith("head"))


@pytest.mark.parametrize("symmetric_head", [False, True])
def test_the_mean_over_label_orders_is_that_of_each_task_alone_adapted_to_each(symmetric_head):
    network, base, support, adaptation = float64_setting()
    found = Moves(adaptation, 5, symmetric_head).adapted(network, base, support)
    origin = symmetric(network, base) if symmetric_head else base
    orders = [labels for labels in orders_of_labels(support, 5)]
    for task in range(len(support.labels)):
        alone = support[task : task + 1]
        moved = []
        for labels in orders:
            one = dataclasses.replace(alone, labels=labels[task : task + 1])
            adapted = adapt_as(network, origin, one, adaptation).params
            moved.append({name: adapted[name][0] - origin[name] for name in base})
        for name, value in base.items():
            mean = value + sum(step[name] for step in moved) / 5
            assert float((found[name][task] - mean).abs().max()) < 1e-10


def test_one_order_of_labels_is_the_papers_own_to_the_bit():
    network, base, support, adaptation = float64_setting()
    found, expected = Moves(adaptation).adapted(network, base, support), adapt_as(network, base, support, adaptation)
    assert all(torch.equal(found[name], value) for name, value in expected.params.items())


def test_orders_of_labels_are_the_images_own_and_each_round_gives_every_class_every_label():
    _, _, support, _ = float64_setting()
    orders = list(orders_of_labels(support, 8))
    assert len(orders) == 8 and torch.equal(orders[0], support.labels)
    for first in (0, 3):  # of three classes
        together = torch.stack(orders[first : first + 3]).sort(dim=0).values
        assert torch.equal(together, torch.arange(3)[:, None, None].expand_as(together))
    for labels in orders:  # images of one class stay together
        assert torch.equal(labels[:, 0::2], labels[:, 1::2])
    fewer, part = list(orders_of_labels(support, 4)), list(orders_of_labels(support[2:4], 8))
    assert all(torch.equal(one, other) for one, other in zip(fewer, orders, strict=False))
    assert all(torch.equal(one, other[2:4]) for one, other in zip(part, orders, strict=True))
    assert len({tuple(order[:, ::2].flatten().tolist()) for order in orders[3:6]}) == 3
    assert len({tuple(row[::2].tolist()) for row in orders[3]}) > 1  # tasks have orders of their own


@pytest.mark.parametrize("rule", ["meta_sgd", "meta_curvature", "t_nets", "meta_kfo"])
def test_a_symmetric_head_is_refused_where_a_rule_tells_its_rows_apart(rule):
    told = Adaptation(("conv1", "head"), 0.1, 2, rule=rule)
    with pytest.raises(MetaprobeError, match=f"update rule {rule} has numbers of its own for rows of the head"):
        Moves(told, symmetric_head=True)
    assert Moves(told).adaptation is told and Moves(Adaptation(("head",), 0.1, 2), symmetric_head=True).symmetric_head
