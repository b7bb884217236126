"""Limits of gradients: elements of inner ones, elements and norm of the outer one."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F

from metaprobe.trainers.adaptation import Adaptation
from metaprobe.trainers.algorithms import ALGORITHMS, check_options, meta_gradient
from metaprobe.trainers.config import TrainConfig
from metaprobe.trainers.conventions import completed
from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.learner import Learner
from metaprobe.trainers.outer_loop import train
from metaprobe.trainers.run import RunFolder
from tests.reference_networks import logits
from tests.test_meta_gradients import TOLERANCE, problem, worst
from tests.test_training import tiny

LIMIT = 0.02


def unrolled(params, tasks, names, steps, rate):
    """Loss and gradient of MAML with held inner gradients, by plain autograd."""
    loss, held = torch.zeros((), dtype=torch.float64), 0
    for task in range(len(tasks)):
        now = dict(params)
        for _ in range(steps):
            inner = F.cross_entropy(logits(now, tasks.support.images[task], "max-pool"), tasks.support.labels[task])
            found = torch.autograd.grad(inner, [now[name] for name in names], create_graph=True)
            held += sum(int((gradient.abs() > LIMIT).sum()) for gradient in found)
            moved = {n: now[n] - rate * g.clip(-LIMIT, LIMIT) for n, g in zip(names, found, strict=True)}
            now = now | moved
        loss = loss + F.cross_entropy(logits(now, tasks.query.images[task], "max-pool"), tasks.query.labels[task])
    trained = list(params)
    found = torch.autograd.grad(loss, [params[name] for name in trained])
    return float(loss.detach()), dict(zip(trained, found, strict=True)), held


@pytest.mark.parametrize("sweep", [False, True], ids=["unrolled", "sweep"])
@pytest.mark.parametrize("layers", [("conv1", "conv2", "conv3", "conv4", "head"), ("head",)], ids=["all", "head"])
def test_the_meta_gradient_goes_through_held_inner_gradients(layers, sweep):
    network, params, tasks = problem(n_tasks=2)
    ours = meta_gradient(network, params, tasks, Adaptation(layers, 0.3, 3, inner_clip=LIMIT), True, sweep)
    names = [name for name in params if name.partition(".")[0] in layers]
    loss, theirs, held = unrolled(params, tasks, names, 3, 0.3)
    assert held > 10  # it matters
    assert float(ours.loss) == pytest.approx(loss, abs=TOLERANCE)
    assert worst(ours.gradients, {name: theirs[name] for name in ours.gradients}) < TOLERANCE
    free = meta_gradient(network, params, tasks, Adaptation(layers, 0.3, 3), True, sweep)
    assert worst(ours.gradients, free.gradients) > 1e-4


def test_the_outer_gradient_is_held_by_element_and_by_norm():
    params = {name: torch.zeros(3, requires_grad=True) for name in ("a", "b", "c")}
    learner = Learner(params, None, None, Adaptation(("a",), 0.1, 1), {})
    begun = {"a": torch.tensor([3.0, 0.0, -4.0]), "b": torch.tensor([0.0, 12.0, 0.0])}  # c has none in this step

    def held(*limits):
        for name, value in begun.items():
            params[name].grad = value.clone()
        learner.clip(*limits)
        assert params["c"].grad is None
        return torch.stack([grad for name in "ab" if (grad := params[name].grad) is not None])

    whole = torch.stack(list(begun.values()))
    assert torch.equal(held(None, None), whole) and torch.equal(held(None, 13.1), whole)
    torch.testing.assert_close(held(None, 0.26), whole * 0.02)
    assert torch.equal(held(3.5, None), whole.clamp(-3.5, 3.5))


def test_training_steps_by_a_held_gradient(toy, tmp_path):
    norms, clip = [], Learner.clip

    def watched(self, element, norm):
        before = [value.grad.norm() for value in self.params.values() if value.grad is not None]
        clip(self, element, norm)
        after = [value.grad.norm() for value in self.params.values() if value.grad is not None]
        norms.append([float(torch.stack(one).norm()) for one in (before, after)])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Learner, "clip", watched)
        train(tiny(iterations=1, val_every=1, clip_norm=1e-3), toy, tmp_path / "run")
    ((before, after),) = norms
    assert before > 1e-2 and after == pytest.approx(1e-3, rel=1e-3)
    assert RunFolder(tmp_path / "run").read_config().clip_norm == 1e-3


def test_published_limits_are_the_defaults_of_their_algorithms():
    none = completed(TrainConfig("maml", "toy"), lambda name: False)
    assert none.clip_norm is None and none.inner_clip is None
    assert completed(TrainConfig("meta_lstm", "toy"), lambda name: False).clip_norm == 0.25
    mmaml = completed(TrainConfig("mmaml", "toy"), lambda name: False)
    assert ALGORITHMS["mmaml"].adaptation(mmaml, ("conv1", "head")).inner_clip == 20.0
    told = completed(TrainConfig("mmaml", "toy", inner_clip=3.0), lambda name: name == "inner_clip")
    assert told.inner_clip == 3.0
    before = ALGORITHMS["mmaml"].adaptation(TrainConfig("mmaml", "toy"), ("conv1", "head"))
    assert before.inner_clip == 0.0  # of runs that an earlier version made
    with pytest.raises(MetaprobeError, match="--inner-clip is an option of mmaml; maml has none"):
        check_options(ALGORITHMS["maml"], dataclasses.replace(none, inner_clip=1.0))
    off = completed(TrainConfig("mmaml", "toy", inner_clip=0.0, clip_norm=0.0), lambda name: "clip" in name)
    assert ALGORITHMS["mmaml"].adaptation(off, ("conv1", "head")).inner_clip == off.clip_norm == 0.0
    with pytest.raises(MetaprobeError, match="--clip-norm"):
        TrainConfig("maml", "toy", clip_norm=-1.0)
    with pytest.raises(MetaprobeError, match="inner_clip is 0 or above"):
        Adaptation(("head",), 0.1, 1, inner_clip=-1.0)
