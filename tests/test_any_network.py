"""Any network: layers at any depth, what a layer says, and a module that is left as it was whatever happens."""

import collections

import numpy as np
import pytest
import torch
from torch import nn

from metaprobe import probe
from metaprobe.analyses.freezing import freeze_module
from metaprobe.analyses.testing.ablation import contiguous_blocks
from metaprobe.analyses.testing.accuracy import narrowed
from metaprobe.trainers.adapt import adapt, adapt_as, layers_of
from metaprobe.trainers.config import Adaptation
from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.networks.naming import chosen_parameters, held_parameters, names_of, without
from tests.captures import small_network, some_tasks
from tests.networks_tried import Attending, Rows

TASKS = some_tasks(2, dtype=torch.float32)
ALL = Adaptation(("*",), inner_lr=0.1, steps=1)


class Deep(nn.Module):
    """A stem, two blocks in a list, a head."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3, stride=4)
        self.blocks = nn.ModuleList(nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)) for _ in range(2))
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        x = self.stem(x)
        for block in self.blocks:
            x = torch.relu(block(x))
        return self.head(x.mean((2, 3)))


class Wrapper(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model(x)


def seeded(make):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return make()


@pytest.mark.parametrize(
    ("layers", "moving"),
    [
        (("blocks.1",), ("blocks.1.0.weight", "blocks.1.0.bias", "blocks.1.1.weight", "blocks.1.1.bias")),
        (("blocks.0.1", "head.bias"), ("blocks.0.1.weight", "blocks.0.1.bias", "head.bias")),
        (("*.1.bias",), ("blocks.0.1.bias", "blocks.1.1.bias")),
        (("blocks.?.0",), tuple(f"blocks.{i}.0.{part}" for i in (0, 1) for part in ("weight", "bias"))),
        (("stem", "stem.*"), ("stem.weight", "stem.bias")),
    ],
)
def test_layers_at_any_depth_are_adapted_and_others_stay(layers, moving):
    network = seeded(Deep)
    assert chosen_parameters(network, layers) == moving
    found = adapt(network, dict(network.named_parameters()), TASKS.support, layers=layers, inner_lr=0.1, steps=1)
    own = dict(network.named_parameters())
    assert tuple(name for name, value in found.params.items() if value.shape != own[name].shape) == moving


def test_what_is_left_when_parts_are_frozen():
    network = seeded(Deep)
    assert without(network, ("stem", "blocks", "head"), ("blocks.0.1",)) == (
        "stem", "blocks.0.0", "blocks.1", "head",
    )  # fmt: skip
    assert without(network, ("*",), ("blocks.*", "head.bias")) == ("stem", "head.weight")
    assert without(network, ("blocks",), ("*",)) == ()
    ours = small_network()
    assert without(ours, ours.layer_names, ("conv2",)) == ("conv1", "conv3", "conv4", "head")
    assert without(ours, ours.layer_names, ("conv2.norm",))[:2] == ("conv1", "conv2.conv")
    with pytest.raises(MetaprobeError, match=r"unknown layer 'blocks.0.2'. Did you mean blocks.0.*Known: stem, blocks"):
        without(network, ("*",), ("blocks.0.2",))
    network.pool = nn.ReLU()
    with pytest.raises(MetaprobeError, match="layer 'pool' has no parameters, it neither adapts nor can be frozen"):
        without(network, ("*",), ("pool",))


def test_freezing_at_depth_is_the_inner_loop_without_those_parameters():
    network = seeded(Deep)
    table = freeze_module(network, None, TASKS, ALL, frozen=[(), ("blocks.0",), ("blocks.0.0", "blocks.0.1"), ("*",)])
    losses = [row.value for row in table.rows if row.measure == "loss"]
    assert losses[1] == losses[2] and len(set(losses)) == 3
    by_hand = narrowed(network, ALL, ("blocks.0",), 1)
    found = adapt_as(network, dict(network.named_parameters()), TASKS.support, by_hand).params
    assert {name for name, value in found.items() if value.ndim == network.get_parameter(name).ndim} == {
        name for name, _ in network.named_parameters() if name.startswith("blocks.0.")
    }


def test_a_wrapper_is_looked_into():
    network = Wrapper(Wrapper(seeded(Deep)))
    layers = tuple(f"model.model.{name}" for name in ("stem", "blocks", "head"))
    assert layers_of(network) == layers
    table = freeze_module(network, None, TASKS, Adaptation(("model",), 0.1, 1), nil_head=True)
    assert [row.frozen for row in table.rows if row.measure == "loss" and row.head == "own"] == [
        ",".join(block) for block in contiguous_blocks(layers)
    ]
    assert len({row.value for row in table.rows if row.measure == "loss"}) == 4
    assert layers_of(nn.Sequential(nn.Flatten(), nn.Linear(2, 2))) == ("1",)


def test_a_frozen_parameter_stays_unless_it_is_named():
    network = seeded(Deep)
    network.stem.requires_grad_(False)
    network.blocks[0][1].bias.requires_grad_(False)
    params = dict(network.named_parameters())
    told = r"stem.weight, stem.bias, blocks.0.1.bias of Deep stay as they are, by requires_grad=False"
    for layers in (None, ("*",)):
        with pytest.warns(UserWarning, match=told):
            found = adapt(network, params, TASKS.support, layers=layers, inner_lr=0.1, steps=1).params
        assert all(torch.equal(found[name], params[name]) for name in held_parameters(network, layers))
    assert held_parameters(network, ("blocks", "stem")) == ("blocks.0.1.bias",)  # a stem that is named is asked for
    moved = adapt(network, params, TASKS.support, layers=("stem", "blocks.0.1.bias"), inner_lr=0.1, steps=1).params
    assert not torch.equal(moved["stem.weight"][0], params["stem.weight"])
    assert names_of(network, ["blocks.0.1.weight", "blocks.0.0.weight", "blocks.0.0.bias"]) == ("blocks.0",)


class Branch(nn.Module):
    def __init__(self):
        super().__init__()
        self.used, self.idle = nn.Linear(256, 3), nn.Linear(256, 3)

    def forward(self, x):
        return self.used(x.flatten(1))


def test_a_parameter_that_the_output_does_not_use_takes_no_step_and_is_told(tmp_path):
    network = seeded(Branch)
    with pytest.warns(UserWarning, match=r"idle of Branch take no inner step: the output does not depend on them"):
        found = adapt(network, dict(network.named_parameters()), TASKS.support, inner_lr=0.1, steps=2).params
    assert torch.equal(found["idle.weight"][1], network.idle.weight)
    assert not torch.equal(found["used.weight"][1], network.used.weight)
    adaptation = Adaptation(("idle",), 0.1, 1)
    with pytest.warns(UserWarning, match="idle of Branch take no inner step"):
        out = probe.capture(network, None, TASKS, out=tmp_path / "s.h5", adaptation=adaptation, layers="used")
    with pytest.warns(UserWarning, match=r"the capture leaves out idle \(is not called\)"):
        probe.capture(network, None, TASKS, out=out, adaptation=Adaptation(("used",), 0.1, 1))
    with probe.open_store(out) as store:
        assert store.metadata.left_out == {"idle": "is not called"}


Named = collections.namedtuple("Named", "first second")


class Says(nn.Module):
    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def forward(self, x):
        return self.answer(x)


class Speaker(nn.Module):
    """Passes what it is given through a module that says something of its own."""

    def __init__(self, answer):
        super().__init__()
        self.says, self.head = Says(answer), nn.Linear(256, 3)

    def forward(self, x):
        self.says(x)
        return self.head(x.flatten(1))


@pytest.mark.parametrize(
    ("answer", "part", "shape"),
    [
        (lambda x: (x, 1), "[0]", (1, 16, 16)),
        (lambda x: {"size": 3, "maps": [x.flatten(1)]}, "['maps'][0]", (256,)),
        (lambda x: Named(None, x.flatten(2)), ".second", (1, 256)),
        (lambda x: x.flatten(2).permute(2, 0, 1), "", (256, 1)),
    ],
)
def test_the_first_tensor_is_taken_wherever_its_samples_are(tmp_path, answer, part, shape):
    out = probe.capture(seeded(lambda: Speaker(answer)), None, TASKS, out=tmp_path / "s.h5", adaptation=ALL, raw=True)
    with probe.open_store(out) as store:
        info = store.layer("says")
        assert (info.part, info.shape) == (part, shape)
        expected = TASKS.query.images[1].reshape(12, -1).numpy()
        assert np.array_equal(store.activations("says", 1, 1).reshape(12, -1), expected)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (lambda x: None, "gives no tensor"),
        (lambda x: x.argmax(1), "gives whole numbers"),
        (lambda x: x.sum(), r"gives \(\), whatever the number of samples"),
        (lambda x: x.mean((1, 2, 3)), "gives one number a sample, and no features"),
        (lambda x: x.flatten(0, 2), "gives 192 rows of 12 samples, which of them are whose is not known"),
        (lambda x: x.repeat(1, 1, 17, 17).flatten(1), "has 73984 features"),
    ],
)
def test_what_cannot_be_captured_is_left_out_with_its_reason_or_refused_where_it_is_named(tmp_path, answer, reason):
    network = seeded(lambda: Speaker(answer))
    with pytest.warns(UserWarning, match=rf"the capture leaves out says \({reason}"):
        out = probe.capture(network, None, TASKS, out=tmp_path / "s.h5", adaptation=ALL)
    with probe.open_store(out) as store:
        assert store.layers == ("head",) and list(store.metadata.left_out) == ["says"]
    with pytest.raises(MetaprobeError, match=rf"layer 'says' {reason}"):
        probe.capture(network, None, TASKS, out=tmp_path / "t.h5", adaptation=ALL, layers="says,head")


class Tokens(nn.Module):
    """Maps, then tokens, and back; a block of neither kind takes after what ran before."""

    def __init__(self):
        super().__init__()
        self.patch, self.act = nn.Conv2d(1, 6, 4, stride=4), nn.GELU()
        self.norm, self.mix, self.back = nn.LayerNorm(6), nn.Identity(), nn.Conv1d(6, 5, 1)
        self.out, self.head = nn.Identity(), nn.Linear(5, 3)

    def forward(self, x):
        x = self.act(self.patch(x))
        x = self.mix(self.norm(x.flatten(2).transpose(1, 2)))
        return self.head(self.out(self.back(x.transpose(1, 2))).mean(-1))


def test_features_lie_where_the_kind_of_layer_has_them_or_where_a_pattern_says(tmp_path):
    network = seeded(Tokens)
    out = probe.capture(network, None, TASKS, out=tmp_path / "s.h5", adaptation=ALL)
    with probe.open_store(out) as store:
        found = {name: (store.layer(name).channel_axis, store.layer(name).features) for name in store.layers}
    assert found == {"patch": (0, 6), "act": (0, 6), "norm": (1, 6), "mix": (1, 6), "back": (0, 5), "out": (0, 5)} | {
        "head": (0, 3)
    }
    axes = {"n*": 1, "act": -1}
    out = probe.capture(network, None, TASKS, out=tmp_path / "t.h5", adaptation=ALL, channel_axis=axes)
    with probe.open_store(out) as store:
        assert [store.layer(name).features for name in ("norm", "act", "mix")] == [16, 4, 6]
    with pytest.raises(MetaprobeError, match=r"channel_axis: 'nrom' is no captured layer of more than two axes; .*act"):
        probe.capture(network, None, TASKS, out=tmp_path / "u.h5", adaptation=ALL, channel_axis={"nrom": -1})


@pytest.mark.parametrize(("make", "layer", "shape"), [(Rows, "lstm", (16, 6)), (Attending, "attention", (16, 8))])
def test_what_reads_sequences_first_has_its_samples_in_front(tmp_path, make, layer, shape):
    network = seeded(make)
    out = probe.capture(network, None, TASKS, out=tmp_path / "s.h5", adaptation=ALL, raw=True, layers=layer)
    with probe.open_store(out) as store:
        info = store.layer(layer)
        assert (info.shape, info.channel_axis, info.part) == (shape, 1, "[0]")
        x = TASKS.query.images[0][:, 0].transpose(0, 1)
        x = network.lstm(x)[0] if layer == "lstm" else network.attention(*(network.embed(x),) * 3)[0]
        assert np.allclose(store.activations(layer, 0, 0), x.transpose(0, 1).detach().numpy(), atol=1e-6)
