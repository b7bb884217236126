"""Captures against activations computed independently, and what they must leave alone."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from metaprobe import probe
from metaprobe.trainers.adapt import adapt
from metaprobe.trainers.checkpoint import load_checkpoint, save_checkpoint
from metaprobe.trainers.config import TrainConfig
from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.networks import build_network
from metaprobe.trainers.outer_loop import train
from metaprobe.trainers.tasks.episodes import EpisodeSampler
from tests.captures import (
    ADAPTATION,
    rows,
    sampler,
    small_network,
    some_tasks,
    state_of,
)
from tests.conftest import make_imageset
from tests.reference_maml import conv4
from tests.several_starts import NETWORK, checkpoint_of, nearest, own_start, two_starts


def stepped(forward, params, names, images, labels, adaptation):
    """Plain gradient descent on one task: the parameters at every step."""
    trajectory = [params]
    for _ in range(adaptation.steps):
        leaves = {name: value.detach().requires_grad_() for name, value in trajectory[-1].items()}
        loss = F.cross_entropy(forward(leaves, images), labels)
        gradients = torch.autograd.grad(loss, [leaves[name] for name in names])
        moved = {n: leaves[n] - adaptation.inner_lr * g for n, g in zip(names, gradients, strict=True)}
        trajectory.append({name: value.detach() for name, value in (leaves | moved).items()})
    return trajectory


def conv4_layers(params, images, n_context=None):
    """The network written out again, one layer after the other."""
    found, x = {}, images
    for i in (1, 2, 3, 4):
        x = F.conv2d(x, params[f"conv{i}.conv.weight"], padding=1)
        context = x[:n_context]
        mean = context.mean(dim=(0, 2, 3), keepdim=True)
        variance = ((context - mean) ** 2).mean(dim=(0, 2, 3), keepdim=True)
        scale, shift = (params[f"conv{i}.norm.{name}"].view(1, -1, 1, 1) for name in ("weight", "bias"))
        x = F.max_pool2d(F.relu((x - mean) / (variance + 1e-5).sqrt() * scale + shift), 2)
        found[f"conv{i}"] = x
    found["head"] = x.flatten(1) @ params["head.weight"].T + params["head.bias"]
    return found


def conv4_logits(params, images):
    return conv4_layers(params, images)["head"]


def assert_moments(found, x, y):
    z = np.concatenate([rows(x), rows(y)], axis=1)
    centred = z - z.mean(axis=0)
    size = np.abs(centred).max() ** 2 * len(z) + 1e-12
    assert found.n == len(z)
    assert found.split == rows(x).shape[1]
    np.testing.assert_allclose(found.mean, z.mean(axis=0), rtol=0, atol=1e-10)
    np.testing.assert_allclose(found.scatter, centred.T @ centred, rtol=0, atol=1e-10 * size)


@pytest.mark.parametrize("norm", ["transductive", "non-transductive"])
def test_moments_are_those_of_activations_computed_independently(tmp_path, norm):
    network, tasks = small_network(norm=norm), some_tasks(5)
    transductive = norm == "transductive"
    out = probe.capture(
        network,
        None,
        tasks,
        out=tmp_path / "s.h5",
        adaptation=ADAPTATION,
        steps="all",
        transductive=transductive,
        chunk=2,
    )
    params = {name: p.detach() for name, p in network.named_parameters()}
    with probe.open_store(out) as store:
        assert store.steps == (1, 2)
        assert store.layers == network.layer_names
        assert store.metadata.normalisation == norm
        assert [store.layer(name).samples for name in store.layers] == ["positions"] * 4 + ["images"]
        for task in range(5):
            support, query = tasks.support.images[task], tasks.query.images[task]
            labels = tasks.support.labels[task]
            trajectory = stepped(conv4_logits, params, list(params), support, labels, ADAPTATION)
            images, context = (query, None) if transductive else (torch.cat([support, query]), len(support))
            drop = context or 0
            before = conv4_layers(params, images, context)
            for step in store.steps:
                after = conv4_layers(trajectory[step], images, context)
                for layer in store.layers:
                    assert_moments(store.moments(layer, step, task), before[layer][drop:], after[layer][drop:])


@pytest.mark.parametrize("norm", ["transductive", "non-transductive"])
def test_a_checkpoint_brings_its_own_way_to_adapt(tmp_path, norm):
    imageset = make_imageset(n_classes=15, per_class=20)
    small = {"n_way": 3, "n_query": 3, "iterations": 2, "meta_batch": 2, "filters": 4, "val_tasks": 2, "val_every": 2}
    config = TrainConfig("anil", "toy", inner_steps=3, norm=norm, **small)
    trained = train(config, imageset, tmp_path / "run")
    path = tmp_path / "run" / "checkpoints" / "last.safetensors"
    out = probe.capture_checkpoint(path, imageset, tmp_path / "s.h5", tasks=5, n_query=4, steps="all", seed=7)
    again = probe.capture_checkpoint(path, imageset, tmp_path / "t.h5", tasks=5, n_query=4, steps="all", seed=7)
    assert out.read_bytes() == again.read_bytes()
    with probe.open_store(out) as store:
        meta = store.metadata
        assert store.fingerprint == trained.fingerprint
        assert meta.checkpoint is not None
        assert meta.checkpoint.iteration == 2
        assert meta.adaptation == trained.adaptation
        assert (meta.normalisation, meta.split, meta.task_seed, meta.steps) == (norm, "test", 7, (1, 2, 3))
        assert meta.data_fingerprint == imageset.fingerprint
        assert store.task_indices == (0, 1, 2, 3, 4)
        pooled = store.pooled("conv1", 3)
        assert pooled.n == 5 * 12 * 14 * 14
        # ANIL moves the head alone, so the body says the same before and after, and the head does not.
        np.testing.assert_array_equal(pooled.scatter[:4, :4], pooled.scatter[4:, 4:])
        head = store.pooled("head", 3)
        assert not np.allclose(head.scatter[:3, :3], head.scatter[3:, 3:])
    with pytest.raises(MetaprobeError, match="trained on images of 1 × 28 × 28; toy has 3 × 16 × 16"):
        probe.capture_checkpoint(path, make_imageset(size=16, channels=3), tmp_path / "u.h5")


def test_of_several_initialisations_pre_is_the_tasks_own(tmp_path):
    """Float64, against the capture of a plain network with that initialisation, one task at a time."""
    source, network = sampler(size=8), build_network(NETWORK, 0).double()
    clusters = two_starts(source, 5, dtype=torch.float64)
    tasks, held = source.batch(range(5)), state_of(network)
    places = [nearest(clusters, tasks[i : i + 1].support) for i in range(5)]
    assert set(places) == {0, 1}
    options = {"adaptation": clusters.moves.adaptation, "steps": "all", "raw": True}
    out = probe.capture(network, clusters, tasks, out=tmp_path / "s.h5", chunk=3, **options)
    again = probe.capture(network, clusters, tasks, out=tmp_path / "t.h5", chunk=3, **options)
    assert out.read_bytes() == again.read_bytes()
    assert state_of(network) == held
    with probe.open_store(out) as store:
        for i in range(5):
            one, alone = tasks[i : i + 1], build_network(NETWORK, 1).double()
            alone.load_state_dict(own_start(clusters, one.support))
            path = probe.capture(alone, None, one, out=tmp_path / f"{i}.h5", **options)
            with probe.open_store(path) as plain:
                for layer in store.layers:
                    for step in (0, 1, 2):
                        found, expected = store.activations(layer, step, i), plain.activations(layer, step, 0)
                        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10)
                    for step in (1, 2):
                        a, b = store.moments(layer, step, i), plain.moments(layer, step, 0)
                        np.testing.assert_allclose(a.mean, b.mean, rtol=0, atol=1e-10)
                        np.testing.assert_allclose(a.scatter, b.scatter, rtol=0, atol=1e-10 * np.abs(b.scatter).max())


def test_a_checkpoint_of_several_initialisations_is_captured_from_them(tmp_path):
    source = EpisodeSampler(make_imageset(n_classes=12, per_class=8, size=8), "test", 3, 2, 4, 7)
    clusters = two_starts(source, 5)
    saved = checkpoint_of(clusters)
    save_checkpoint(tmp_path / "a.safetensors", saved)
    before = (tmp_path / "a.safetensors").read_bytes()
    out = probe.capture_checkpoint(
        tmp_path / "a.safetensors", make_imageset(n_classes=12, per_class=8, size=8), tmp_path / "s.h5", tasks=5,
        n_query=4, seed=7, raw=True,
    )  # fmt: skip
    assert (tmp_path / "a.safetensors").read_bytes() == before
    with probe.open_store(out) as store:
        assert store.fingerprint == saved.fingerprint == load_checkpoint(tmp_path / "a.safetensors").fingerprint
        assert store.metadata.checkpoint.fingerprint == saved.fingerprint
        for i in range(5):
            one = source.batch([i])
            start = own_start(clusters, one.support)
            params = adapt(build_network(NETWORK, 0), start, one.support, inner_lr=0.3, steps=2).params
            own = {name: value[0] for name, value in params.items()}
            for step, weights in ((0, start), (2, own)):
                expected = conv4(weights, one.query.images[0], "stride").detach().numpy()
                np.testing.assert_allclose(store.activations("head", step, i), expected, rtol=0, atol=2e-5)


def test_importing_probe_and_reading_a_store_need_no_torch(tmp_path):
    out = probe.capture(small_network(), None, some_tasks(2), out=tmp_path / "s.h5", adaptation=ADAPTATION)
    code = (
        "import sys, json, probe, probe.store\n"
        "store = probe.open_store(sys.argv[1])\n"
        "print(json.dumps([store.pooled('head', 2).n, 'torch' in sys.modules]))"
    )
    ended = subprocess.run([sys.executable, "-c", code, str(out)], capture_output=True, text=True, check=True)
    assert json.loads(ended.stdout) == [24, False]
    assert "capture" in dir(probe)
    with pytest.raises(AttributeError, match="no attribute 'captures'"):
        _ = probe.captures
