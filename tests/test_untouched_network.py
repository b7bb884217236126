"""The user's network and tasks are as they were, whatever a capture or a freezing ablation meets; misfits are told."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from metaprobe import probe
from metaprobe.analyses.freezing import freeze_module
from metaprobe.analyses.similarity import measures_named, similarity
from metaprobe.trainers.adapt import query_logits
from metaprobe.trainers.config import Adaptation
from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.networks import ModuleNetwork, forward_tasks
from tests.captures import foreign_network, small_network, some_tasks, state_of
from tests.networks_tried import Shared, Tied

TASKS = some_tasks(2, dtype=torch.float32)
ALL = Adaptation(("*",), inner_lr=0.1, steps=1)


def seeded(make):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return make()


class InPlace(nn.Module):
    """Works in place on what it is given, counts its calls and keeps its last output."""

    def __init__(self, fails_at=None):
        super().__init__()
        self.body, self.norm, self.head = nn.Conv2d(1, 4, 3, stride=4), nn.BatchNorm2d(4), nn.Linear(4, 3)
        self.calls, self.fails_at = 0, fails_at

    def forward(self, x):
        self.calls += 1
        if self.calls == self.fails_at:
            self.norm.eval()
            self.extra = nn.Linear(2, 2)
            raise KeyError("in the middle")
        self.last = x.mul_(0.5).add_(1)
        return self.head(self.norm(self.body(x)).relu_().mean((2, 3)))


def test_a_forward_in_place_changes_neither_the_tasks_nor_a_frozen_body(tmp_path):
    network, tasks = seeded(InPlace), copy.deepcopy(TASKS)
    held, attributes = state_of(network), set(vars(network))
    head = Adaptation(("head",), 0.1, 1)
    out = probe.capture(network, None, tasks, out=tmp_path / "s.h5", adaptation=head, layers="body,head")
    freeze_module(network, None, tasks, head, nil_head=True)
    for part in ("support", "query"):
        assert torch.equal(getattr(tasks, part).images, getattr(TASKS, part).images)
    assert (state_of(network), set(vars(network)), network.calls) == (held, attributes, 0)
    rows = similarity(out, measures_named(["cka"]), replicates=0, permutations=0).rows
    assert {row.layer: row.value for row in rows if row.measure == "linear_cka"}["body"] == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("call", range(1, 9))
def test_an_exception_in_the_middle_leaves_everything_as_it_was(tmp_path, call):
    network = seeded(lambda: InPlace(call))
    held, attributes = state_of(network), set(vars(network))
    with pytest.raises(KeyError, match="in the middle"):
        probe.capture(network, None, TASKS, out=tmp_path / "s.h5", adaptation=ALL)
    assert (state_of(network), set(vars(network)), network.calls) == (held, attributes, 0)
    with pytest.raises(KeyError, match="in the middle"):
        freeze_module(network, None, TASKS, ALL)
    assert (state_of(network), set(vars(network)), list(tmp_path.iterdir())) == (held, attributes, [])


@pytest.mark.parametrize("make", [Tied, Shared])
def test_a_state_dict_with_two_names_for_one_parameter_is_taken_and_the_layer_has_both(tmp_path, make):
    network, other = seeded(make), make()
    held, weights = state_of(network), other.state_dict()
    pattern, name = ("same", "act") if make is Shared else ("again", "again")
    out = probe.capture(
        network, weights, TASKS, out=tmp_path / "s.h5", adaptation=ALL, layers=f"{pattern},head", raw=True
    )
    assert state_of(network) == held
    with probe.open_store(out) as store:
        assert store.layers == ((name, "act#1", "head") if make is Shared else (name, "head"))
        x = TASKS.query.images[:1]
        expected = query_logits(other, dict(other.named_parameters()), TASKS.support[:1], TASKS.query[:1])
        assert np.allclose(store.activations("head", 0, 0), expected[0].detach().numpy(), atol=1e-6) and len(x) == 1
    two = [key for key in weights if key in ("act.weight", "same.weight", "encode.weight", "again.weight")]
    weights[two[1]] = weights[two[1]] + 1
    with pytest.raises(MetaprobeError, match=f"'{two[0]}' and '{two[1]}' are one parameter in the network"):
        freeze_module(network, weights, TASKS, ALL)


def test_a_tied_weight_is_frozen_under_either_name():
    network = seeded(Tied)
    sets = [(), ("encode.weight",), ("again.weight",)]
    losses = [row.value for row in freeze_module(network, None, TASKS, ALL, frozen=sets).rows if row.measure == "loss"]
    assert losses[1] == losses[2] != losses[0]


def convolution(channels=1, way=3):
    return nn.Sequential(nn.Conv2d(channels, 4, 3, stride=4), nn.Flatten(), nn.Linear(64, way))


def arrays():
    return {name: value.detach().numpy() for name, value in convolution().state_dict().items()}


MISFITS = {
    "a head of fewer classes": (lambda: convolution(way=2), None, r"tells 2 classes apart, a task has 3"),
    "a head of none": (lambda: nn.Sequential(nn.Conv2d(1, 3, 3)), None, r"\(6, 3, 14, 14\) of 6 images, expected"),
    "half": (lambda: convolution().half(), None, r"computes in float16, the images of the tasks are float32"),
    "double": (lambda: convolution().double(), None, r"float64, .* give tasks of dtype=torch.float64"),
    "data parallel": (lambda: nn.DataParallel(convolution()), None, r"spreads a batch over devices.*\.module"),
    "lazy": (lambda: nn.Sequential(nn.Flatten(), nn.LazyLinear(3)), None, r"1.weight has no shape .* call the lazy"),
    "numpy weights": (convolution, arrays, r"'0.weight' is numpy.ndarray, expected a torch tensor"),
    "weights in half": (convolution, lambda: convolution().half().state_dict(), r"'0.weight' is torch.float16"),
    "other channels": (lambda: convolution(3), None, r"images, \(1, 16, 16\) in float32: .*3 channels"),
    "another size": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(784, 3)), None, r"cannot take .*multiplied"),
    "no module": (lambda: convolution, None, r"a network is a torch.nn.Module; got function"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISFITS)
def test_what_does_not_fit_is_one_sentence(tmp_path, name):
    make, weights, match = MISFITS[name]
    network, given = seeded(make), weights() if weights else None
    for attempt in (
        lambda: probe.capture(network, given, TASKS, out=tmp_path / "s.h5", adaptation=ALL),
        lambda: probe.capture(network, given, iter([TASKS]), n_tasks=2, out=tmp_path / "s.h5", adaptation=ALL),
        lambda: freeze_module(network, given, TASKS, ALL),
    ):
        with pytest.raises(MetaprobeError, match=match) as told:
            attempt()
        assert "\n" not in str(told.value)
    assert list(tmp_path.iterdir()) == []


def test_a_head_of_more_classes_is_told(tmp_path):
    with pytest.warns(UserWarning, match="the head of Sequential tells 5 classes apart, a task has 3"):
        freeze_module(seeded(lambda: convolution(way=5)), None, TASKS, ALL)


def test_a_store_that_has_nothing_to_tell_is_as_it_always_was(tmp_path):
    out = probe.capture(foreign_network(), None, some_tasks(1), out=tmp_path / "s.h5", adaptation=ALL)
    from metaprobe.probe.store.metadata import metadata_to_json

    with probe.open_store(out) as store:
        told = metadata_to_json(store.metadata)
    assert "left_out" not in told and "part" not in told
    assert small_network().layer_names[0] == "conv1"


class TwoNames(nn.Module):
    """Works in place on its input, and has one layer under two names."""

    def __init__(self):
        super().__init__()
        self.body = nn.Linear(16, 16)
        self.again = self.body
        self.head = nn.Linear(16, 3)

    def forward(self, images):
        return self.head(self.again(torch.relu(self.body(images.sub_(0.5).flatten(1)))))


def test_an_imported_network_gets_copies_of_the_images_and_keeps_its_names():
    torch.manual_seed(0)
    plain, images = TwoNames(), torch.rand(2, 4, 1, 4, 4)
    network, before = ModuleNetwork(copy.deepcopy(plain), "transductive", 1, 4, "mine"), images.clone()
    stacked = {name: torch.stack([value, 2 * value]) for name, value in network.named_parameters()}
    found = forward_tasks(network, stacked, images)
    assert torch.equal(images, before)
    for task, scale in enumerate((1, 2)):
        other = copy.deepcopy(plain)
        other.load_state_dict({name: scale * value for name, value in plain.state_dict().items()})
        torch.testing.assert_close(found[task], other(images[task].clone()))
    assert network.inner.again is network.inner.body
