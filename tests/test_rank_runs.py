"""Runs shared by ranks: the same meta-gradient, runs that repeat and resume to the byte, a rank that dies, the CLI."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from metaprobe.probe.cli import main
from metaprobe.trainers.checkpoint import load_checkpoint
from metaprobe.trainers.engine import read_engine
from metaprobe.trainers.run import CHECKPOINT_NAMES, RunFolder
from tests.rank_processes import NAMES, ROOT, SECONDS, run_ranks

_GRADIENT = """
import dataclasses, json, sys
import torch
from tests import reference_maml as reference
from tests import reference_mamlpp
from tests.test_step_norms import case as all_parts, names_of
from tests.test_meta_gradients import problem, worst
from metaprobe.trainers.algorithms import ALGORITHMS
from metaprobe.trainers.config import TrainConfig
from metaprobe.trainers.engine import Engine
from metaprobe.trainers.executor import Executor
from metaprobe.trainers.parallel import TaskWorkers
from metaprobe.trainers.ranks import Ranks
found = {}
for name in ("maml", "fomaml", "anil"):
    for norm in ("transductive", "non-transductive"):
        network, params, tasks = problem(norm=norm, n_tasks=5)
        config = TrainConfig(name, "toy", inner_lr=0.2, inner_steps=2)
        adaptation = ALGORITHMS[name].adaptation(config, network.layer_names)
        theirs = reference.meta_gradient(
            params, tasks, [p for p in params if p.split(".")[0] in adaptation.layers], 0.2, 2, name == "fomaml",
            "max-pool", norm == "transductive",
        )[1]
        with Ranks.here() as ranks, TaskWorkers(network) as workers:
            mine = ranks.slice_of(len(tasks))
            executor = Executor(ALGORITHMS[name], adaptation, norm == "transductive", workers)
            for gradient in ("unrolled", "sweep"):
                part = executor.gradient(params, tasks[mine.start : mine.stop], Engine(2, gradient, ranks=ranks.size))
                sums = dict(zip(params, ranks.sum(list(part.gradients.values()))))
                found[f"{name} {norm} {gradient}"] = worst(sums, theirs)
network, params, tasks, adaptation = all_parts(2, "maml", "lslr", n_tasks=5, activation="leaky-relu")
adaptation = dataclasses.replace(adaptation, loss_weights=(0.4, 0.6))
options = {"weights": (0.4, 0.6), "slope": 0.01}
theirs = reference_mamlpp.meta_gradient(params, tasks, names_of(params), 0.2, 2, **options)[2]
with Ranks.here() as ranks, TaskWorkers(network) as workers:
    mine = ranks.slice_of(len(tasks))
    for gradient in ("unrolled", "sweep"):
        executor = Executor(ALGORITHMS["maml"], adaptation, True, workers)
        part = executor.gradient(params, tasks[mine.start : mine.stop], Engine(2, gradient, ranks=ranks.size))
        sums = dict(zip(part.gradients, ranks.sum(list(part.gradients.values()))))
        found[f"maml_pp {gradient}"] = worst(sums, theirs)
print(json.dumps(found))
"""


def test_three_ranks_give_the_reference_meta_gradient():
    """Five tasks, so that shares differ; two ranks give that of one below."""
    for status, out, err in run_ranks(3, _GRADIENT):
        assert status == 0, err
        found = json.loads(out)
        assert len(found) == 14
        assert max(found.values()) < 1e-10


OPTIONS = ["maml", "--data", "glyphs", "--n-way", "3", "--n-query", "2", "--iterations", "40", "--meta-batch", "3"]
OPTIONS += ["--inner-steps", "1", "--filters", "4", "--val-tasks", "5", "--val-every", "10", "--chunk", "1"]


def command(folder, workers=2):
    arguments = ["train", *OPTIONS, "--out", str(folder), "--workers", str(workers)]
    return [sys.executable, "-m", "metaprobe", *arguments]


def environment():
    return {name: value for name, value in os.environ.items() if name not in NAMES}


def start(folder):
    return subprocess.Popen(command(folder), cwd=ROOT, env=environment(), text=True, stdout=-1, stderr=-1)


def finish(folder, workers=2):
    return subprocess.run(command(folder, workers), cwd=ROOT, env=environment(), text=True, capture_output=True)


def until_iteration(folder, iteration):
    """Wait until the run has recorded an iteration; return the process ids of its ranks."""
    end = time.monotonic() + SECONDS
    while len(RunFolder(folder).read_metrics()) < iteration:
        assert time.monotonic() < end
        time.sleep(0.01)


def ranks_of(process):
    """The process ids of a launcher's ranks, in their order."""
    listing = f"/proc/{process.pid}/task/{process.pid}/children"
    with open(listing, encoding="ascii") as file:
        return [int(word) for word in file.read().split()]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """A run of two ranks that nobody disturbed, and what it said."""
    folder = tmp_path_factory.mktemp("ranks") / "alone"
    process = start(folder)
    out, err = process.communicate(timeout=2 * SECONDS)
    assert process.returncode == 0, err
    return folder, out, err


def assert_same(folder, other):
    for name in CHECKPOINT_NAMES:
        assert RunFolder(folder).checkpoint(name).read_bytes() == RunFolder(other).checkpoint(name).read_bytes()
    assert RunFolder(folder).metrics_digest() == RunFolder(other).metrics_digest()


def test_a_run_of_two_ranks_says_so_once_and_keeps_their_number(alone, capsys):
    folder, out, err = alone
    assert out.count("40 iterations done") == 1
    assert err.count("engine: chunks of 1 task, unrolled, 2 ranks") == 1
    assert read_engine(RunFolder(folder).engine_file).ranks == 2
    assert main(["train", *OPTIONS, "--out", str(folder)]) == 2
    assert "was begun with 2 rank(s), now there are 1" in capsys.readouterr().err


def test_ranks_change_only_the_rounding(alone, tmp_path):
    assert main(["train", *OPTIONS, "--out", str(tmp_path / "one")]) == 0
    first, shared = (RunFolder(folder).read_metrics()[0] for folder in (tmp_path / "one", alone[0]))
    assert first["train_loss"] == pytest.approx(shared["train_loss"], rel=1e-5)


@pytest.mark.skipif(not os.path.exists("/proc/self/task"), reason="finds the ranks through Linux's /proc")
def test_a_run_that_is_interrupted_or_loses_a_rank_is_saved_and_the_same_command_goes_on(alone, tmp_path):
    process = start(tmp_path / "run")
    until_iteration(tmp_path / "run", 5)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 130, err
    assert "everything is saved" in err
    for victim, iteration in ((1, 12), (0, 25)):
        process = start(tmp_path / "run")
        until_iteration(tmp_path / "run", iteration)
        os.kill(ranks_of(process)[victim], signal.SIGKILL)
        _, err = process.communicate(timeout=SECONDS)
        assert process.returncode == 1
        assert f"rank {victim} of 2 was killed by SIGKILL" in err
        assert "the same command goes on" in err
        if victim == 1:  # rank 0 saved what was done
            assert load_checkpoint(RunFolder(tmp_path / "run").checkpoint("last")).iteration >= 12
    assert finish(tmp_path / "run").returncode == 0
    assert_same(tmp_path / "run", alone[0])


def test_ranks_with_unequal_shares_choose_one_engine(tmp_path):
    # nine tasks on two ranks, four and five: left to themselves they would try different chunks
    options = [*OPTIONS[:-2], "--meta-batch", "9", "--iterations", "2"]
    arguments = [sys.executable, "-m", "metaprobe", "train", *options, "--out", str(tmp_path / "run"), "--workers", "2"]
    done = subprocess.run(
        arguments, cwd=ROOT, env=environment() | {"OMP_NUM_THREADS": "1"}, text=True, capture_output=True
    )
    assert done.returncode == 0, done.stderr
    assert "engines tried, seconds an iteration by chunk: 1 " in done.stderr
    assert len(RunFolder(tmp_path / "run").read_metrics()) == 2


def test_ranks_that_find_different_runs_are_told(tmp_path):
    places = [str(tmp_path / "a"), str(tmp_path / "b")]
    assert main(["train", *OPTIONS, "--out", places[1]]) == 0
    for status, _, err in run_ranks(2, _APART, *places):
        assert status == 0, err


_APART = """
import os, sys
from pathlib import Path
import pytest
from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.outer_loop import train
from metaprobe.trainers.run import RunFolder
from metaprobe.trainers.tasks import load_imageset
config = RunFolder(Path(sys.argv[2])).read_config()
with pytest.raises(MetaprobeError, match="the ranks do not begin alike.*need one --out folder"):
    train(config, load_imageset("glyphs"), sys.argv[1 + int(os.environ["RANK"])])
"""


def test_more_ranks_than_tasks_are_refused_before_anything_is_written(tmp_path):
    told = finish(tmp_path / "run", workers=4)
    assert told.returncode == 2
    assert "--workers 4 cannot share --meta-batch 3; each needs a task" in told.stderr
    assert not (tmp_path / "run").exists()
