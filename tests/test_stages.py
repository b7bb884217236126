"""What changes while a run trains: losses after every step and their weights, first order first, a falling rate."""

import dataclasses
import math

import pytest
import torch

from metaprobe.trainers.algorithms import ALGORITHMS
from metaprobe.trainers.algorithms import meta_gradient as of_scheme
from metaprobe.trainers.checkpoint import save_checkpoint
from metaprobe.trainers.config import Adaptation, TrainConfig, to_mapping
from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.executor import Executor
from metaprobe.trainers.outer_loop import train
from metaprobe.trainers.run import CHECKPOINT_NAMES, RunFolder
from metaprobe.trainers.stages import heaviest_stage, loss_weights, stage_of
from tests import reference_mamlpp as reference
from tests.test_meta_gradients import TOLERANCE, problem, worst
from tests.test_training import tiny
from tests.test_update_rules import case, names_of

WEIGHTS = {1: (1.0,), 5: (0.3, 0.1, 0.25, 0.0, 0.35)}  # any will do, also one that is 0


@pytest.mark.parametrize("sweep", [False, True], ids=["unrolled", "sweep"])
@pytest.mark.parametrize("norm", ["transductive", "non-transductive"])
@pytest.mark.parametrize("steps", [1, 5])
@pytest.mark.parametrize(
    ("name", "rule"), [("maml", "sgd"), ("maml", "lslr"), ("anil", "sgd"), ("anil", "lslr"), ("fomaml", "lslr")]
)
def test_losses_after_every_step_equal_unrolled_autograd(name, rule, steps, norm, sweep):
    network, params, tasks, adaptation = case(rule, name, steps, norm=norm)
    adaptation = dataclasses.replace(adaptation, loss_weights=WEIGHTS[steps])
    ours = ALGORITHMS[name].meta_gradient(network, params, tasks, adaptation, norm == "transductive", sweep)
    options = {"weights": WEIGHTS[steps], "first_order": name == "fomaml"}
    loss, right, theirs = reference.meta_gradient(
        params, tasks, names_of(params, name), 0.2, steps, norm == "transductive", **options
    )
    assert float(ours.loss) == pytest.approx(loss, abs=TOLERANCE)
    assert float(ours.score) == pytest.approx(right, abs=TOLERANCE)  # of the last step alone
    assert set(ours.gradients) == set(theirs)
    assert worst(ours.gradients, theirs) < TOLERANCE
    assert max(float(value.abs().max()) for value in theirs.values()) > 1e-3


@pytest.mark.parametrize("sweep", [False, True], ids=["unrolled", "sweep"])
@pytest.mark.parametrize("layers", [(), ("conv3", "head")])
def test_losses_after_every_step_of_layers_that_stay(layers, sweep):
    network, params, tasks = problem()
    adaptation = Adaptation(layers, 0.3, 5, adapt_norm=False, loss_weights=WEIGHTS[5])
    ours = of_scheme(network, params, tasks, adaptation, True, sweep)
    names = [n for n in params if n.partition(".")[0] in layers and ".norm." not in n]
    weights = WEIGHTS[5] if layers else ()  # with nothing to adapt all losses are one
    loss, _, theirs = reference.meta_gradient(params, tasks, names, 0.3, 5 if layers else 1, weights=weights)
    assert float(ours.loss) == pytest.approx(loss, abs=TOLERANCE)
    assert worst(ours.gradients, theirs) < TOLERANCE


def test_weights_are_those_of_the_code_at_its_epochs():
    """few_shot_learning_system.py: epochs of 500 iterations, annealed over 10 of them, 5 steps."""
    assert loss_weights(5, 0, 5000) == pytest.approx([0.2] * 5)
    for epoch in range(10):
        decay, least = 1 / 5 / 10, 0.03 / 5
        before = max(1 / 5 - epoch * decay, least)
        last = min(1 / 5 + epoch * 4 * decay, 1 - 4 * least)
        assert loss_weights(5, 500 * epoch, 5000) == pytest.approx([*[before] * 4, last])
    assert loss_weights(5, 4999, 5000) == pytest.approx([*[0.006] * 4, 0.976])
    assert loss_weights(5, 5000, 5000) == loss_weights(1, 0, 5000) == loss_weights(5, 0, 0) == ()
    assert all(math.isclose(sum(loss_weights(3, step, 100)), 1) for step in range(100))


def test_stages_follow_each_other_and_the_heaviest_is_none_of_them():
    config = TrainConfig("maml", "toy", inner_steps=2, multi_step_loss=4, first_order_until=2)
    adaptation = ALGORITHMS["maml"].adaptation(config, ("head",))
    told = [(one.first_order, bool(one.loss_weights)) for one in (stage_of(config, adaptation, t) for t in range(6))]
    assert told == [(True, True)] * 2 + [(False, True)] * 2 + [(False, False)] * 2
    assert stage_of(config, adaptation, 4) == adaptation
    heaviest = heaviest_stage(config, adaptation)
    assert not heaviest.first_order and heaviest.loss_weights == (0.5, 0.5)
    fomaml = ALGORITHMS["fomaml"].adaptation(dataclasses.replace(config, algorithm="fomaml"), ("head",))
    assert stage_of(config, fomaml, 5).first_order and heaviest_stage(config, fomaml).first_order


def test_a_run_takes_the_stage_of_each_iteration_and_ends_with_the_same_bytes_when_killed(toy, tmp_path, monkeypatch):
    config = tiny(multi_step_loss=5, first_order_until=3, gradient="sweep")
    seen, gradient = [], Executor.gradient

    def spied(self, params, tasks, engine, adaptation=None):
        seen.append(adaptation)
        return gradient(self, params, tasks, engine, adaptation)

    monkeypatch.setattr(Executor, "gradient", spied)
    last = train(config, toy, tmp_path / "alone")
    assert seen == [stage_of(config, last.adaptation, step) for step in range(9)]
    assert "loss_weights" not in to_mapping(last.adaptation) and not last.adaptation.first_order
    folder, append = RunFolder(tmp_path / "killed"), RunFolder.append_metrics

    def killed(self, record):
        if record["iteration"] == 6:
            raise KeyboardInterrupt
        append(self, record)

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "append_metrics", killed)
        with pytest.raises(KeyboardInterrupt):
            train(config, toy, folder.path)
    train(config, toy, folder.path)
    for name in CHECKPOINT_NAMES:
        assert folder.checkpoint(name).read_bytes() == RunFolder(tmp_path / "alone").checkpoint(name).read_bytes()


def test_a_stage_may_be_never_and_then_is_not_said():
    assert TrainConfig("maml", "toy", multi_step_loss=0, first_order_until=0) == TrainConfig("maml", "toy")
    fields = {"multi_step_loss", "first_order_until", "outer_lr_floor", "activation"}
    assert not fields & set(to_mapping(TrainConfig("maml", "toy")))


def test_the_outer_rate_falls_to_its_floor(toy, tmp_path, monkeypatch):
    rates, step = [], torch.optim.Adam.step

    def spied(self):
        rates.append(self.param_groups[0]["lr"])
        return step(self)

    monkeypatch.setattr(torch.optim.Adam, "step", spied)
    train(tiny(schedule="cosine", outer_lr=1e-3, outer_lr_floor=1e-5), toy, tmp_path / "run")
    expected = [1e-5 + 0.5 * (1e-3 - 1e-5) * (1 + math.cos(math.pi * step / 9)) for step in range(9)]
    assert rates == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("maml", {"outer_lr_floor": 1e-4}, "--outer-lr-floor is what --schedule cosine falls to.*--schedule constant"),
        (
            "maml",
            {"outer_lr_floor": 1.0, "schedule": "cosine"},
            "--outer-lr-floor .* got --schedule cosine and 1,",
        ),
        ("maml", {"outer_lr_floor": 0.0, "schedule": "cosine"}, "--outer-lr-floor must be above 0"),
        ("maml", {"multi_step_loss": -1}, "--multi-step-loss must be at least 0"),
        ("maml", {"multi_step_loss": 3, "compile": True}, "--compile makes one program"),
        ("fomaml", {"first_order_until": 3}, "--first-order-until is an option of maml; fomaml has none"),
        ("nil", {"multi_step_loss": 3}, "--multi-step-loss is an option of maml; nil has none"),
        ("maml", {"first_order_until": 3, "update_rule": "t_nets"}, "t_nets is not for --first-order-until: an inner"),
    ],
)
def test_what_a_run_cannot_have_is_refused(name, options, told, toy, tmp_path):
    with pytest.raises(MetaprobeError, match=told):
        train(tiny(name, **options), toy, tmp_path / "run")


def test_a_file_that_says_that_its_learner_adapts_by_stages_is_refused(toy, tmp_path):
    last = train(tiny(iterations=1), toy, tmp_path / "run")
    false = dataclasses.replace(last, adaptation=dataclasses.replace(last.adaptation, loss_weights=(0.5, 0.5)))
    with pytest.raises(MetaprobeError, match=r"adaptation loss_weights is \[0.5, 0.5\], by its config \(\)"):
        save_checkpoint(tmp_path / "false.safetensors", false)
    with pytest.raises(MetaprobeError, match="2 weights of losses for 5 steps"):
        Adaptation(("head",), 0.1, 5, loss_weights=(0.5, 0.5))
