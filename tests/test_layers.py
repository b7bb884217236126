"""Layer patterns and taps."""

import pytest
import torch
from torch import nn

from metaprobe.probe.layers import layers_chosen, modules_chosen, patterns_of, taps
from metaprobe.trainers.config import NetworkConfig
from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.networks import build_network

CONV4 = NetworkConfig("conv4", 5, 1, 28, 4, "stride", "transductive")


class Reused(nn.Module):
    """One ReLU called twice, and a branch that returns a tuple."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(3, 4), nn.Linear(4, 2)
        self.relu, self.pair, self.idle = nn.ReLU(inplace=True), Pair(), nn.Identity()

    def forward(self, x):
        x, _ = self.pair(self.relu(self.first(x)))
        return self.relu(self.second(x))


class Pair(nn.Module):
    def forward(self, x):
        return x, x


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ("*", ("conv1", "conv2", "conv3", "conv4", "head")),
        ("conv*", ("conv1", "conv2", "conv3", "conv4")),
        ("head, conv[12]", ("conv1", "conv2", "head")),
        (["conv3.norm", "head"], ("conv3.norm", "head")),
        ("conv*.conv", tuple(f"conv{i}.conv" for i in (1, 2, 3, 4))),
    ],
)
def test_patterns_choose_layers_in_the_networks_order(layers, expected):
    assert modules_chosen(build_network(CONV4, 0), patterns_of(layers)) == expected


def test_patterns_reach_every_named_submodule_of_a_foreign_module():
    network = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.ReLU(), nn.Linear(2, 2)))
    assert modules_chosen(network, ("*",)) == ("0", "1", "1.0", "1.1")
    assert modules_chosen(network, ("1.*",)) == ("1.0", "1.1")


@pytest.mark.parametrize("pattern", ["conv5", "conv1.pool", "CONV*"])
def test_a_pattern_that_matches_nothing_is_an_error_that_lists_the_layers(pattern):
    with pytest.raises(MetaprobeError, match=rf"layer pattern '{pattern.replace('*', '.')}.*Layers: conv1.*head"):
        modules_chosen(build_network(CONV4, 0), ("head", pattern))


def test_no_pattern_and_no_submodule_say_what_to_do():
    with pytest.raises(MetaprobeError, match=r"'\*' means all"):
        patterns_of(" , ")
    with pytest.raises(MetaprobeError, match=r"wrap it in torch\.nn\.Sequential"):
        modules_chosen(nn.Linear(2, 2), ("*",))


def test_calls_of_one_module_are_told_apart_and_in_place_operations_do_not_reach_what_was_taken():
    network, x = Reused(), torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    before = network.first(x)
    with taps(network, ("first", "second", "relu", "pair", "idle")) as taken:
        out = network(x)
    assert list(taken) == ["first", "relu", "pair", "second", "relu#1"]
    assert torch.equal(taken["pair"], taken["relu"])  # of a tuple the first tensor
    assert torch.equal(taken["first"], before)
    assert (before < 0).any()
    assert torch.equal(taken["relu"], before.relu())
    assert torch.equal(taken["relu#1"], out)


def test_outputs_are_chosen_by_module_or_by_call():
    outputs = ["first", "relu", "second", "relu#1"]
    assert layers_chosen(outputs, ("relu",)) == ("relu", "relu#1")
    assert layers_chosen(outputs, ("relu#1", "f*")) == ("first", "relu#1")
    with pytest.raises(MetaprobeError, match=r"'pair' gives no tensor.*Layers: first, relu, second, relu#1"):
        layers_chosen(outputs, ("*", "pair"))


def test_taps_come_off_after_an_error_and_leave_other_hooks_alone():
    network, seen = Reused(), []
    handle = network.relu.register_forward_hook(lambda *_: seen.append(1))
    with pytest.raises(RuntimeError, match="shapes"), taps(network, ("first", "relu")):
        network(torch.zeros(1, 99))
    with pytest.raises(AttributeError), taps(network, ("first", "absent")):
        pass
    assert [len(module._forward_hooks) for module in network.modules()] == [0, 0, 0, 1, 0, 0]
    network(torch.zeros(1, 3))
    assert seen == [1, 1]
    handle.remove()
