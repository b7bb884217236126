"""Tasks that ask for numbers: the loss and its gradients, sinusoids, and what makes no sense for them."""

import dataclasses
import json
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from metaprobe.analyses.freezing import TestPlan, accuracy_of, freeze
from metaprobe.analyses.testing.learned import learned_table
from metaprobe.analyses.testing.module_freezing import freeze_module
from metaprobe.analyses.testing.reuse import reuse_table
from metaprobe.probe import capture, open_store
from metaprobe.probe.cli import main
from metaprobe.trainers.adapt import adapt
from metaprobe.trainers.algorithms import ALGORITHMS
from metaprobe.trainers.checkpoint import load_checkpoint, metadata_for, write_tensors
from metaprobe.trainers.config import Adaptation, NetworkConfig, TrainConfig
from metaprobe.trainers.errors import MetaprobeError, UnreadableInput
from metaprobe.trainers.losses import output_errors, task_losses
from metaprobe.trainers.networks import build_network, forward_tasks
from metaprobe.trainers.outer_loop import train
from metaprobe.trainers.run import RunFolder, task_metric
from metaprobe.trainers.task_kinds import REGRESSION
from metaprobe.trainers.tasks import load_data, load_imageset
from metaprobe.trainers.tasks.given import tasks_of_arrays
from metaprobe.trainers.update_rules import SGD

CONFIG = NetworkConfig("mlp", 1, 1, 1, 6, "none", "transductive", 2)
RUN = TrainConfig(
    "maml", "sinusoid", 1, 5, 5, iterations=4, meta_batch=3, inner_lr=0.01, inner_steps=2, val_tasks=3, val_every=2,
    chunk=2, gradient="unrolled", loss="mse", filters=8,
)  # fmt: skip


def network64(config=CONFIG):
    network = build_network(config, 0).double()
    with torch.no_grad():  # biases start at 0, where all kinks of the first layer would be at x = 0
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)).double())
    return network


def tasks64(count=3, outputs=1, features=1):
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(count, 9, size, generator=generator).double() for size in (features, outputs))
    return tasks_of_arrays(x[:, :4], y[:, :4], x[:, 4:], y[:, 4:])


def plain(params, x):
    """The mlp of one task, written out."""
    for layer in ("hidden1", "hidden2"):
        x = torch.relu(x @ params[f"{layer}.weight"].T + params[f"{layer}.bias"])
    return x @ params["head.weight"].T + params["head.bias"]


def meta_gradient_by_autograd(params, tasks, moving, rate, steps):
    """Gradient, loss and squared error summed over tasks, by plain unrolled autograd with torch's own loss."""
    total = 0.0
    for task in range(len(tasks)):
        own = dict(params)
        for _ in range(steps):
            loss = F.mse_loss(plain(own, tasks.support.images[task]), tasks.support.labels[task])
            found = torch.autograd.grad(loss, [own[name] for name in moving], create_graph=True)
            own |= {name: own[name] - rate * gradient for name, gradient in zip(moving, found, strict=True)}
        total = total + F.mse_loss(plain(own, tasks.query.images[task]), tasks.query.labels[task])
    return dict(zip(params, torch.autograd.grad(total, list(params.values())), strict=True)), total.detach()


@pytest.mark.parametrize("sweep", [False, True])
@pytest.mark.parametrize(("algorithm", "layers"), [("maml", None), ("anil", ("head",))])
@pytest.mark.parametrize("outputs", [1, 3])
def test_meta_gradient_is_that_of_plain_autograd(algorithm, layers, outputs, sweep):
    config = dataclasses.replace(CONFIG, n_way=outputs, channels=2)
    network, tasks = network64(config), tasks64(outputs=outputs, features=2)
    params = dict(network.named_parameters())
    layers = layers or network.layer_names
    moving = [name for name in params if name.split(".")[0] in layers]
    theirs, loss = meta_gradient_by_autograd(params, tasks, moving, 0.05, 3)
    adaptation = Adaptation(layers, 0.05, 3)
    ours = ALGORITHMS[algorithm].meta_gradient(network, params, tasks, adaptation, True, sweep)
    assert float(ours.loss) == pytest.approx(float(loss), rel=1e-12)
    assert float(ours.score) == pytest.approx(float(loss), rel=1e-12)  # the metric is the loss
    for name, gradient in theirs.items():
        torch.testing.assert_close(ours.gradients[name], gradient, rtol=1e-9, atol=1e-12)


def test_closed_form_of_the_head_is_the_inner_loop():
    """ANIL's head has a recursion of its own, and under an update rule gradients of its own."""
    network, tasks = network64(), tasks64()
    params = dict(network.named_parameters())
    options = {"layers": ("head",), "inner_lr": 0.1, "steps": 4}
    closed = adapt(network, params, tasks.support, **options)
    ruled = adapt(network, params, tasks.support, rule=dataclasses.replace(SGD, name="another"), **options)
    general = {n: params[n].detach().expand(len(tasks), *params[n].shape) for n in ("head.weight", "head.bias")}
    losses = []
    for _ in range(4):
        general = {name: value.requires_grad_() for name, value in general.items()}
        outputs = forward_tasks(network, {**params, **general}, tasks.support.images)
        losses.append(task_losses(outputs, tasks.support.labels))
        found = torch.autograd.grad(losses[-1].sum(), list(general.values()))
        general = {n: (v - 0.1 * g).detach() for (n, v), g in zip(general.items(), found, strict=True)}
    for name in ("head.weight", "head.bias"):
        torch.testing.assert_close(closed.params[name], general[name], rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(ruled.params[name], general[name], rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(closed.support_loss, torch.stack(losses).detach())
    torch.testing.assert_close(ruled.support_loss, torch.stack(losses).detach())


def test_errors_are_the_gradient_of_the_loss():
    generator = torch.Generator().manual_seed(0)
    for labels in (torch.randn(2, 4, 3, generator=generator).double(), torch.tensor([[0, 1, 2, 1], [2, 2, 0, 1]])):
        outputs = torch.randn(2, 4, 3, generator=generator).double().requires_grad_()
        (gradient,) = torch.autograd.grad(task_losses(outputs, labels).sum(), outputs)
        torch.testing.assert_close(output_errors(outputs.detach(), labels), gradient)
    with pytest.raises(MetaprobeError, match=r"outputs of shape \(4,\) for a task's targets of shape \(4, 1\)"):
        task_losses(torch.zeros(2, 4), torch.zeros(2, 4, 1))  # would broadcast to (2, 4, 4)


def test_sinusoids_are_those_of_the_paper():
    data = load_data("sinusoid")
    tasks = data.sampler("train", 1, 500, 500, 0).batch(range(200))
    x, y = tasks.support.images.double()[..., 0], tasks.support.labels.double()[..., 0]
    assert -5 <= x.min() < -4.99 and 4.99 < x.max() <= 5
    # y = A sin x cos φ − A cos x sin φ: a linear fit gives both
    basis = torch.stack([x.sin(), x.cos()], dim=-1)
    found = torch.linalg.lstsq(basis, y.unsqueeze(-1))
    assert (basis @ found.solution - y.unsqueeze(-1)).abs().max() < 1e-5
    cosine, sine = found.solution[..., 0].T
    amplitude, phase = torch.hypot(cosine, sine), torch.atan2(-sine, cosine)
    assert 0.1 <= amplitude.min() < 0.4 and 4.7 < amplitude.max() <= 5.0001
    assert -1e-4 <= phase.min() < 0.1 and 3.0 < phase.max() <= math.pi + 1e-4
    sampler = data.sampler("test", 1, 5, 5, 0)
    torch.testing.assert_close(sampler.batch([7]).query.images, sampler.batch([3, 7]).query.images[1:], rtol=0, atol=0)
    assert not torch.equal(sampler.batch([7]).query.images, data.sampler("val", 1, 5, 5, 0).batch([7]).query.images)
    with pytest.raises(MetaprobeError, match="one number to tell, so n_way is 1; got 5"):
        data.sampler("train", 5, 1, 1, 0)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "sinusoid"
    train(RUN, load_data("sinusoid"), folder)
    return RunFolder(folder)


def test_a_run_notes_its_own_metric_and_keeps_its_kind(run):
    (*_, last) = run.read_metrics()
    assert last["val_mean_squared_error"] == pytest.approx(last["val_loss"])
    assert not any("accuracy" in name for name in last)
    assert [len(tasks) for tasks in run.read_tasks(task_metric(REGRESSION)).values()] == [3, 3]
    checkpoint = load_checkpoint(run.checkpoint("last"))
    assert (checkpoint.config.loss, checkpoint.network_config.name) == ("mse", "mlp")
    losses = {i["iteration"]: i["val_loss"] for i in run.read_metrics() if "val_loss" in i}
    assert load_checkpoint(run.checkpoint("best")).iteration == min(losses, key=losses.get)  # less is better


@pytest.mark.parametrize(("old", "new"), [('"mlp"', '"conv4"'), ('"image_size":1', '"image_size":9'), ("config", "")])
def test_a_file_that_contradicts_itself_is_unreadable(run, tmp_path, old, new):
    checkpoint = load_checkpoint(run.checkpoint("last"))
    metadata = metadata_for(checkpoint)
    config = dict(metadata.config) | ({"like": "finn2017"} if old == "config" else {})
    network = json.loads(json.dumps(dict(metadata.network), separators=(",", ":")).replace(old, new))
    path, changed = tmp_path / "c.safetensors", dataclasses.replace(metadata, config=config, network=network)
    write_tensors(path, checkpoint.tensors(), changed)
    with pytest.raises(UnreadableInput, match=str(path)):
        load_checkpoint(path)


def test_a_run_is_resumed_with_the_same_bytes(run, tmp_path):
    half = dataclasses.replace(RUN, iterations=2)
    train(half, load_data("sinusoid"), tmp_path / "a")
    config = tmp_path / "a" / "config.toml"
    config.write_text(config.read_text().replace("iterations = 2", "iterations = 4"))
    train(RUN, load_data("sinusoid"), tmp_path / "a")
    assert load_checkpoint(tmp_path / "a/checkpoints/last.safetensors").fingerprint == (
        load_checkpoint(run.checkpoint("last")).fingerprint
    )


def test_tests_of_a_regression_are_of_its_metric(run):
    checkpoint, data = load_checkpoint(run.checkpoint("last")), load_data("sinusoid")
    plan = TestPlan(tasks=12, n_query=6, per_task=True)
    (mean, *single) = accuracy_of(checkpoint, data, plan).rows
    tasks = data.sampler("test", 1, 5, 6, 0).batch(range(12))
    adapted = adapt(checkpoint.network(), checkpoint.params, tasks.support, inner_lr=0.01, steps=2).params
    errors = [
        F.mse_loss(plain({name: value[i] for name, value in adapted.items()}, tasks.query.images[i]), y).item()
        for i, y in enumerate(tasks.query.labels)
    ]
    assert (mean.measure, mean.n) == ("mean_squared_error", 12) and 0 <= mean.low < mean.value < mean.high
    assert [row.value for row in single] == pytest.approx(errors, rel=1e-4)
    table = freeze(run.checkpoint("last"), data, plan)
    assert {row.measure for row in table.rows} == {"mean_squared_error", "mean_squared_error_difference"}
    assert {row.frozen for row in table.rows} == {"", "hidden1", "hidden1,hidden2"}
    with pytest.raises(MetaprobeError, match="NIL head weighs the support set's classes"):
        accuracy_of(checkpoint, data, plan, head="nil")
    with pytest.raises(MetaprobeError, match="a regression has no NIL head"):
        reuse_table(table, ("hidden1", "hidden2"), 2)
    with pytest.raises(MetaprobeError, match="a regression has neither"):
        learned_table(table, 1, 2)


def test_commands(run, tmp_path, capsys):
    last, store = str(run.checkpoint("last")), str(tmp_path / "s.h5")
    assert main(["evaluate", last, "--tasks", "12", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["measure"] == "mean_squared_error"
    assert main(["capture", last, "--out", store, "--tasks", "12", "--n-query", "20"]) == 0
    assert main(["similarity", store, "--measures", "cka"]) == 0
    assert main(["distance", last, "--tasks", "12"]) == 0
    assert "hidden2" in capsys.readouterr().out
    told = {
        ("evaluate", last, "--head", "nil"): "test the learner's own head",
        ("evaluate", last, "--data", "glyphs"): "trained on vectors of 1; glyphs has images of 1 × 28 × 28",
        ("clusters", last): "",
        ("train", "nil", "--data", "sinusoid"): "nil needs classes",
        ("train", "maml", "--data", "sinusoid", "--n-way", "5"): "have n_way 1; got --n-way 5",
        ("train", "maml", "--data", "sinusoid", "--norm-affine", "none"): "--norm-affine is of convolutions",
        ("train", "maml", "--data", "sinusoid", "--image-size", "28"): "no images to resize",
        ("train", "maml", "--data", "mixture:glyphs,sinusoid"): "unknown",
        ("report", str(run.path), "--out", str(tmp_path / "r.html")): "",
    }
    for words, sentence in told.items():
        out = ("--out", str(tmp_path / "new")) if words[0] == "train" else ()
        assert main([*words, *out]) == 2, words
        err = capsys.readouterr().err
        assert sentence in err and err.startswith("error: ") and err.count("\n") == 1
    with pytest.raises(MetaprobeError, match="has no images"):
        load_imageset("sinusoid")


def test_the_python_way_takes_numbers_vectors_and_token_ids(tmp_path):
    generator = np.random.default_rng(0)
    body = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2)).double()
    x, y = generator.normal(size=(4, 9, 3)), generator.normal(size=(4, 9, 2))
    numbers = tasks_of_arrays(x[:, :4], y[:, :4], x[:, 4:], y[:, 4:])
    adaptation = Adaptation(("0", "2"), 0.05, 2)
    with open_store(capture(body, None, numbers, adaptation=adaptation, out=tmp_path / "a.h5")) as store:
        assert store.metadata.n_query == 5 and "0" in store.layers
    assert freeze_module(body, None, numbers, adaptation).rows[0].measure == "mean_squared_error"
    with pytest.raises(MetaprobeError, match="NIL head"):
        freeze_module(body, None, numbers, adaptation, nil_head=True)

    class Reader(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.head = nn.Embedding(11, 6), nn.Linear(6, 2)

        def forward(self, ids):
            return self.head(self.embed(ids).mean(dim=1))

    ids, classes = generator.integers(11, size=(4, 8, 5)), np.tile([0, 1], (4, 4))
    words = tasks_of_arrays(ids[:, :4], classes[:, :4], ids[:, 4:], classes[:, 4:])
    reader, adaptation = Reader(), Adaptation(("embed", "head"), 0.1, 2)
    capture(reader, None, words, adaptation=adaptation, out=tmp_path / "b.h5", layers="head")
    assert {row.measure for row in freeze_module(reader, None, words, adaptation).rows} >= {"accuracy", "loss"}
