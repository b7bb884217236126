"""Linear layers before a head, softmax regression, and both collapsed to one layer."""

import dataclasses

import numpy as np
import pytest
import torch

from metaprobe.analyses.testing import TestPlan
from metaprobe.analyses.testing.accuracy import accuracy_of
from metaprobe.probe.cli import main
from metaprobe.trainers.adapt import adapt, is_linear_head
from metaprobe.trainers.algorithms import ALGORITHMS, check_options
from metaprobe.trainers.checkpoint import load_checkpoint, save_checkpoint
from metaprobe.trainers.collapse import collapsed, collapsed_weights
from metaprobe.trainers.config import NetworkConfig, TrainConfig
from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.evaluate import sampler_for
from metaprobe.trainers.limits import parameters_of
from metaprobe.trainers.networks import build_network, forward_tasks
from metaprobe.trainers.outer_loop import train
from metaprobe.trainers.run import RunFolder
from tests.test_training import tiny

SHAPE = NetworkConfig("conv4", 3, 1, 8, 4, "stride", "transductive", blocks=2, linnet=(6, 5))
SOFTMAX = dataclasses.replace(SHAPE, blocks=0, downsample="none")


def drawn(shape, tasks=2, samples=4):
    network = build_network(shape, 0).double()
    images = torch.rand(tasks, samples, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return network, dict(network.named_parameters()), images


@pytest.mark.parametrize("shape", [SHAPE, SOFTMAX, dataclasses.replace(SOFTMAX, linnet=())])
def test_outputs_are_those_of_plain_matrix_products(shape):
    network, params, images = drawn(shape)
    assert network.layer_names[-1] == "head"
    body = tuple(name for name in network.layer_names if name.startswith("conv"))
    maps = forward_tasks(network, params, images, layers=body) if body else images
    wanted = (maps.mean((-2, -1)) if body else maps.flatten(2)).detach().numpy()
    for name in network.layer_names[len(body) :]:
        weight, bias = (params[f"{name}.{part}"].detach().numpy() for part in ("weight", "bias"))
        assert not np.any(bias)
        wanted = wanted @ weight.T + bias
    np.testing.assert_allclose(forward_tasks(network, params, images).detach().numpy(), wanted, rtol=1e-10, atol=1e-12)
    head = network.layer_names[-1]
    assert is_linear_head(network, [f"{head}.weight", f"{head}.bias"])


def test_each_task_adapts_through_the_linear_layers_as_plain_autograd_does():
    network, params, images = drawn(SOFTMAX)
    labels = torch.tensor([[0, 1, 2, 0], [2, 1, 0, 1]])
    from metaprobe.trainers.tasks.episodes import Examples

    support = Examples(images, labels, torch.arange(8).reshape(2, 4))
    found = adapt(network, params, support, inner_lr=0.3, steps=2).params
    for task in range(2):
        own = {name: value.detach().clone().requires_grad_() for name, value in params.items()}
        for _ in range(2):
            x = images[task].flatten(1)
            for name in network.layer_names:
                x = x @ own[f"{name}.weight"].T + own[f"{name}.bias"]
            loss = torch.nn.functional.cross_entropy(x, labels[task])
            grads = torch.autograd.grad(loss, list(own.values()))
            own = {
                name: (value - 0.3 * grad).detach().requires_grad_()
                for (name, value), grad in zip(own.items(), grads, strict=True)
            }
        for name, value in own.items():
            torch.testing.assert_close(found[name][task], value.detach(), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    "shape", [SHAPE, SOFTMAX, dataclasses.replace(SHAPE, name="mlp", image_size=1, downsample="none")]
)
def test_sizes_are_known_before_anything_is_made(shape):
    own = sum(value.numel() for value in build_network(shape, 0).parameters())
    assert parameters_of(shape) == own


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"linnet": (0,)}, "linnet takes at most 64 widths from 1 to 65536; got 0"),
        ({"linnet": (3,) * 65}, "linnet takes at most 64 widths"),
        ({"blocks": 65}, "blocks must be from 0 to 64; got 65"),
        ({"blocks": 0, "head_input": "mean"}, "without blocks the head reads all pixels"),
    ],
)
def test_what_does_not_fit_is_a_sentence(changes, told):
    with pytest.raises(MetaprobeError, match=told):
        dataclasses.replace(SHAPE, **changes)


def test_scales_of_arnold2021_are_drawn_from_the_unit_interval(toy, tmp_path):
    train(tiny(like="arnold2021", linnet=(5,), blocks=2, iterations=1), toy, tmp_path / "r")
    start = load_checkpoint(RunFolder(tmp_path / "r").checkpoint("start"))
    scales = torch.cat([value for name, value in start.params.items() if name.endswith("norm.weight")])
    assert 0 <= scales.min() < scales.max() <= 1 and scales.std() > 0.1
    assert start.network_config.told.endswith("linear layers of 5")
    again = tiny(like="arnold2021", linnet=(5,), blocks=2, iterations=1)
    assert again == dataclasses.replace(again, linnet=(5,))
    one = dataclasses.replace(start.network_config, norm_scale_start="ones")
    assert torch.equal(build_network(one, 0).conv1.norm.weight, torch.ones(4))


@pytest.fixture(scope="module")
def deep(toy, tmp_path_factory):
    folder = tmp_path_factory.mktemp("linear") / "run"
    train(tiny(blocks=2, linnet=(6, 5), iterations=4, inner_lr=0.2), toy, folder)
    return RunFolder(folder).checkpoint("last")


def test_collapsed_layers_compute_the_same_and_adapt_as_one(deep, toy, tmp_path):
    checkpoint = load_checkpoint(deep)
    flat = collapsed(checkpoint)
    assert flat.network().layer_names == ("conv1", "conv2", "head") and flat.adaptation.layers[-1] == "head"
    tasks = sampler_for(checkpoint, toy, n_query=2).batch(range(3))
    for one, other in ((checkpoint, flat), (checkpoint.untrained(), flat.untrained())):
        outputs = [forward_tasks(each.network(), each.params, tasks.query.images) for each in (one, other)]
        torch.testing.assert_close(*outputs, rtol=1e-5, atol=1e-5)
    adapted = [adapt(c.network(), c.params, tasks.support, inner_lr=0.2, steps=2).params for c in (checkpoint, flat)]
    apart = [
        forward_tasks(c.network(), p, tasks.query.images) for c, p in zip((checkpoint, flat), adapted, strict=True)
    ]
    assert float((apart[0] - apart[1]).abs().max()) > 1e-3
    path = tmp_path / "flat.safetensors"
    save_checkpoint(path, flat)
    again = load_checkpoint(path)
    assert again.provenance["collapsed"] == checkpoint.fingerprint
    plan = TestPlan(tasks=4, n_query=2)
    assert accuracy_of(again, toy, plan).rows[0].value == accuracy_of(flat, toy, plan).rows[0].value


def test_anil_adapts_linear_layers_that_were_asked_for_and_no_others():
    ours, theirs = ("conv1", "linear1", "linear2", "head"), ("conv1", "linear1", "fc")
    for algorithm, linnet, layers, adapts in (
        ("anil", (6, 5), ours, ("linear1", "linear2", "head")),
        ("maml_head", (6, 5), ours, ("head",)),  # a new head on a body that stays
        ("anil", (), theirs, ("fc",)),  # of a network that others named
    ):
        config = tiny(algorithm, linnet=linnet)
        assert ALGORITHMS[algorithm].adaptation(config, layers).layers == adapts


def test_t_nets_need_every_layer_also_of_anil_with_linear_layers():
    config = tiny("anil", linnet=(6,), update_rule="t_nets")
    with pytest.raises(MetaprobeError, match="t_nets"):
        check_options(ALGORITHMS["anil"], config)


def test_collapsing_multiplies_matrices_in_float64():
    network, params, images = drawn(SOFTMAX)
    for value in params.values():
        value.data.uniform_(-1, 1, generator=torch.Generator().manual_seed(2))
    flat = build_network(dataclasses.replace(SOFTMAX, linnet=()), 0).double()
    one, other = forward_tasks(network, params, images), forward_tasks(flat, collapsed_weights(params), images)
    torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_what_cannot_be_collapsed_is_told(deep, toy, tmp_path, capsys):
    out = tmp_path / "flat.safetensors"
    assert main(["collapse", str(deep), "--out", str(out)]) == 0
    capsys.readouterr()
    assert main(["collapse", str(out), "--out", str(tmp_path / "again.safetensors")]) == 2
    assert "has no linear layers before its head: between its other layers stand activations" in capsys.readouterr().err
    train(tiny(blocks=1, linnet=(4,), iterations=1, update_rule="meta_sgd"), toy, tmp_path / "ruled")
    assert main(["collapse", str(tmp_path / "ruled"), "--out", str(tmp_path / "no.safetensors")]) == 2
    assert "parameters learned beside its weights belong to the layers" in capsys.readouterr().err
    assert not (tmp_path / "no.safetensors").exists()


def test_options_are_spelled_with_commas(tmp_path, capsys):
    from metaprobe.trainers.command import train_command

    config = TrainConfig("maml", "glyphs", linnet=(8, 4), update_rule="meta_sgd", rates_clamp=(0.0, 1.0))
    told = train_command(config, "out")
    assert "--linnet 8,4" in told and "--rates-clamp 0.0,1.0" in told
    few = ["--iterations", "1", "--val-tasks", "2", "--meta-batch", "2", "--chunk", "2", "--n-query", "1"]
    words = [*told.split()[1:-1], str(tmp_path / "run")]
    assert main([*words, *few]) == 0
    made = load_checkpoint(RunFolder(tmp_path / "run").checkpoint("last")).config
    assert (made.linnet, made.rates_clamp) == (config.linnet, config.rates_clamp)
