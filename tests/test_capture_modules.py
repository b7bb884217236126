"""Captures of modules of one's own: hooks, buffers, dropout, in-place layers, and errors midway."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

from metaprobe import probe
from metaprobe.trainers.config import Adaptation
from tests.captures import (
    FOREIGN_ADAPTATION,
    foreign_network,
    some_tasks,
    state_of,
)
from tests.test_capture import assert_moments, stepped


@pytest.mark.parametrize("training", [True, False])
def test_a_foreign_module_with_in_place_layers_is_captured_and_left_as_it_was(tmp_path, training):
    network, tasks = foreign_network().train(training), some_tasks(3)
    held = state_of(network)
    out = probe.capture(network, None, tasks, out=tmp_path / "s.h5", adaptation=FOREIGN_ADAPTATION)
    assert state_of(network) == held
    params = {name: p.detach() for name, p in network.named_parameters()}
    buffers = {name: b.clone() for name, b in network.named_buffers()}

    def forward(p, x, until=5):
        copies = {name: b.clone() for name, b in buffers.items()}
        inputs = x.clone()
        for i in range(until):
            own = {k.removeprefix(f"{i}."): v for k, v in (p | copies).items() if k.startswith(f"{i}.")}
            inputs = F.relu(inputs) if i == 2 else functional_call(network[i], own, (inputs,))
        return inputs

    with probe.open_store(out) as store:
        assert store.layers == ("0", "1", "2", "3", "4")
        assert store.metadata.normalisation == f"as in {'train' if training else 'eval'} mode"
        for task in range(3):
            support, labels = tasks.support.images[task], tasks.support.labels[task]
            last = stepped(forward, params, list(params), support, labels, FOREIGN_ADAPTATION)[-1]
            for i, layer in enumerate(store.layers):
                query = tasks.query.images[task]
                with torch.no_grad():
                    x, y = forward(params, query, i + 1), forward(last, query, i + 1)
                assert_moments(store.moments(layer, 2, task), x, y)
    assert state_of(network) == held


class FailsLater(nn.Module):
    """Works for some calls, then breaks in the middle of a capture."""

    def __init__(self, calls):
        super().__init__()
        self.left = calls

    def forward(self, x):
        self.left -= 1
        if self.left < 0:
            raise RuntimeError("the module broke")
        return x


@pytest.mark.parametrize("calls", [0, 1, 3, 6])
def test_an_error_midway_leaves_module_hooks_and_disk_as_they_were(tmp_path, calls):
    network = nn.Sequential(*foreign_network().train(), FailsLater(calls))
    held = state_of(network)
    with pytest.raises(RuntimeError, match="the module broke"):
        probe.capture(network, None, some_tasks(3), out=tmp_path / "s.h5", adaptation=FOREIGN_ADAPTATION)
    assert state_of(network) == held
    assert list(tmp_path.iterdir()) == []


def test_dropout_drops_the_same_units_before_and_after_and_draws_nothing_from_the_global_generator(tmp_path):
    network = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(256, 3)).double()
    nothing = Adaptation((), inner_lr=0.1, steps=1)  # frozen: before and after are the same network
    held = state_of(network)
    out = probe.capture(network, None, some_tasks(2), out=tmp_path / "s.h5", adaptation=nothing, layers="1,2")
    assert state_of(network) == held
    with probe.open_store(out) as store:
        before, after = store.sketch("1", 0).rows, store.sketch("1", 1).rows
    np.testing.assert_array_equal(before, after)
    assert 0.4 < (before == 0).mean() < 0.7


def test_buffers_in_a_state_dict_are_used_and_the_modules_own_come_back(tmp_path):
    network, other = foreign_network(0).eval(), foreign_network(1).eval()
    other[1].running_mean += 3.0
    held = state_of(network)
    options = {"adaptation": FOREIGN_ADAPTATION}
    probe.capture(network, other.state_dict(), some_tasks(2), out=tmp_path / "a.h5", **options)
    probe.capture(other, None, some_tasks(2), out=tmp_path / "b.h5", **options)
    assert state_of(network) == held
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_token_sequences_have_their_features_last(tmp_path):
    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.head = nn.Linear(16, 5), nn.Linear(5, 3)

        def forward(self, x):
            return self.head(self.embed(x[:, 0]).mean(dim=1))

    adaptation = Adaptation(("embed", "head"), inner_lr=0.1, steps=1)
    tasks, network = some_tasks(2), Tokens().double()
    out = probe.capture(network, None, tasks, out=tmp_path / "s.h5", adaptation=adaptation, channel_axis=-1)
    with probe.open_store(out) as store:
        info = store.layer("embed")
        assert (info.features, info.positions, info.samples) == (5, 16, "positions")
        expected = network.embed(tasks.query.images[1][:, 0]).detach().reshape(-1, 5).numpy()
        np.testing.assert_allclose(store.moments("embed", 1, 1).mean[:5], expected.mean(axis=0), atol=1e-12)
