"""Several checkpoints as one learner: the mean of their logits, against logits computed one task at a time."""

import dataclasses
import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from metaprobe.analyses.testing import TestPlan
from metaprobe.analyses.testing.accuracy import accuracy_of
from metaprobe.analyses.testing.ensemble import ensemble_accuracy
from metaprobe.probe.cli import main
from metaprobe.trainers.adapt import adapt_as, query_logits
from metaprobe.trainers.checkpoint import load_checkpoint
from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.evaluate import sampler_for
from metaprobe.trainers.networks.heads import nil_log_probabilities
from metaprobe.trainers.otherwise import Otherwise
from metaprobe.trainers.outer_loop import train
from metaprobe.trainers.run import RunFolder
from tests.test_training import tiny

PLAN = TestPlan(tasks=4, n_query=3, chunk=3, per_task=True)


@pytest.fixture(scope="module")
def runs(tmp_path_factory, toy):
    root = tmp_path_factory.mktemp("ensemble")
    options = {"outer_lr": 0.01, "update_rule": "lslr"}
    train(tiny(**options), toy, root / "maml")
    train(tiny("anil", seed=1, norm="non-transductive"), toy, root / "anil")
    return [RunFolder(root / name) for name in ("maml", "anil")]


def logits_of(checkpoint, tasks, head="own"):
    """Of each task, alone."""
    found = []
    for place in range(len(tasks)):
        one, transductive = tasks[place : place + 1], checkpoint.config.norm == "transductive"
        how = checkpoint.adaptation if head == "own" else dataclasses.replace(checkpoint.adaptation, steps=0)
        params = adapt_as(checkpoint.network(), checkpoint.start(), one.support, how).params
        if head == "nil":
            found.append(nil_log_probabilities(checkpoint.network(), params, one, transductive))
        else:
            found.append(query_logits(checkpoint.network(), params, one.support, one.query, transductive=transductive))
    return torch.cat(found).detach()


@pytest.mark.parametrize("head", ["own", "nil"])
def test_an_ensemble_classifies_by_the_mean_of_its_logits(head, runs, toy):
    checkpoints = [load_checkpoint(runs[0].checkpoint(name)) for name in ("third", "last")]
    checkpoints.append(load_checkpoint(runs[1].checkpoint("last")))
    tasks = sampler_for(checkpoints[0], toy, n_query=3).batch(range(4))
    logits = sum(logits_of(one, tasks, head) for one in checkpoints) / 3
    right = (logits.argmax(-1) == tasks.query.labels).double().mean(1).numpy()
    losses = [float(F.cross_entropy(one, labels)) for one, labels in zip(logits, tasks.query.labels, strict=True)]
    rows = ensemble_accuracy(checkpoints, toy, PLAN, head=head).rows
    assert rows[0].value == pytest.approx(100 * right.mean(), abs=1e-4)
    assert rows[1].value == pytest.approx(np.mean(losses), abs=1e-5)
    assert [row.value for row in rows[2:]] == pytest.approx(list(100 * right), abs=1e-4)
    assert rows[0].checkpoint == "+".join(one.fingerprint[:12] for one in checkpoints)
    assert (rows[0].algorithm, rows[0].seed, rows[0].iteration) == ("maml+anil", None, None)
    assert rows[0].reason.startswith("mean of the logits of 3 checkpoints")
    again = ensemble_accuracy(checkpoints[::-1], toy, PLAN, head=head).rows
    assert again[0].value == rows[0].value


def test_an_ensemble_of_one_is_that_one(runs, toy):
    one = load_checkpoint(runs[0].checkpoint("last"))
    assert ensemble_accuracy([one], toy, PLAN).rows == accuracy_of(one, toy, PLAN).rows
    options = {"frozen": ("conv1",), "inner_steps": 4}
    assert ensemble_accuracy([one], toy, PLAN, **options).rows == accuracy_of(one, toy, PLAN, **options).rows


def test_what_is_no_ensemble_is_refused(runs, toy, tmp_path):
    one = load_checkpoint(runs[0].checkpoint("last"))
    with pytest.raises(MetaprobeError, match=f"{one.fingerprint[:12]} stands in the ensemble twice; name each once"):
        ensemble_accuracy([one, one], toy, PLAN)
    with pytest.raises(MetaprobeError, match="at least one checkpoint"):
        ensemble_accuracy([], toy, PLAN)
    wider = train(tiny(n_way=4, iterations=1), toy, tmp_path / "wider")
    with pytest.raises(MetaprobeError, match=f"n_way differs: {one.fingerprint[:12]} 3, {wider.fingerprint[:12]} 4"):
        ensemble_accuracy([one, wider], toy, PLAN)
    both = dataclasses.replace(PLAN, otherwise=Otherwise(n_way=5))  # heads are new in both
    assert ensemble_accuracy([one, wider], toy, both).rows[0].n == 4


def test_the_command_line_takes_several_and_wants_to_know_how(runs, toy, monkeypatch, capsys):
    monkeypatch.setattr("metaprobe.probe.cli.training.load_data", lambda *_, **__: toy)
    paths = [str(runs[0].checkpoint(name)) for name in ("third", "last")]
    few = ["--tasks", "4", "--n-query", "3", "--json"]
    assert main(["evaluate", *paths, *few]) == 2
    assert "got 2 checkpoints; test one at a time, or with --ensemble all as one learner" in capsys.readouterr().err
    assert main(["evaluate", *few]) == 2
    assert "at least one CHECKPOINT" in capsys.readouterr().err
    assert main(["evaluate", *paths, "--ensemble", *few]) == 0
    told = json.loads(capsys.readouterr().out)[0]
    found = ensemble_accuracy([load_checkpoint(path) for path in paths], toy, PLAN).rows[0]
    assert (told["checkpoint"], told["value"]) == (found.checkpoint, found.value)
    assert (told["algorithm"], told["seed"]) == ("maml", 0)
