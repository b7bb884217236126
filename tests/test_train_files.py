"""`metaprobe train --config` and `--tensorboard`: options from a file, and metrics for TensorBoard."""

import dataclasses
import shlex
import sys

import numpy as np
import pytest
import tomli_w
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from metaprobe.probe.cli import main
from metaprobe.probe.cli.config_file import _ALWAYS, ConfigFile
from metaprobe.trainers.algorithms import ALGORITHMS
from metaprobe.trainers.command import train_command
from metaprobe.trainers.config import TrainConfig, to_mapping
from metaprobe.trainers.conventions import completed
from metaprobe.trainers.outer_loop import _Run, train
from metaprobe.trainers.run import RunFolder
from metaprobe.trainers.tasks import DATASETS, Dataset

SMALL = {"n_way": 3, "n_query": 2, "iterations": 4, "meta_batch": 2, "inner_steps": 2, "filters": 4, "val_tasks": 4}
SMALL |= {"val_every": 2, "chunk": 1, "gradient": "unrolled", "val_query": 2}


@pytest.fixture(autouse=True)
def toy_set(monkeypatch, toy):
    monkeypatch.setitem(DATASETS, "toy", Dataset("toy", lambda request: toy, "noise", "here", "MIT"))


def words(options):
    return [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", str(value))]


@pytest.fixture
def asked(monkeypatch):
    """What the command line asks `train` for; nothing is trained."""
    found = []

    class Trained(Exception):
        """Training would begin."""

    def stop(config, data, folder, tensorboard=False):
        found.append(config)
        raise Trained

    monkeypatch.setattr("metaprobe.trainers.outer_loop.train", stop)

    def ask(*line):
        with pytest.raises(Trained):
            main(["train", *map(str, line)])
        return found[-1]

    return ask


def told_otherwise():
    """Runs of each algorithm with defaults of its own: with all of them, and with each set back to the option's."""
    for name, entry in ALGORITHMS.items():
        whole = completed(TrainConfig(name, "toy"), lambda option: False)
        for option in (own := entry.defaults(whole)):
            back = {option: getattr(TrainConfig, option)}
            back |= {"outer_lr_floor": None} if option == "schedule" else {}  # which a constant rate cannot have
            yield {"algorithm": name} | {n: getattr(whole, n) for n in own} | back
        yield {"algorithm": name} | {n: getattr(whole, n) for n in own}
    for like in ("finn2017", "arnold2021", "antoniou2019"):
        for adapt_norm in (False, True):
            yield {"algorithm": "maml", "like": like, "adapt_norm": adapt_norm, "activation": None}
            yield {"algorithm": "mmaml", "like": like, "adapt_norm": adapt_norm, "activation": "leaky-relu"}


@pytest.mark.parametrize("told", [*told_otherwise()], ids=lambda told: ",".join(f"{n}={v}" for n, v in told.items()))
def test_a_train_command_makes_the_run_that_it_is_of(told, asked):
    config = TrainConfig(data="toy", **told)
    assert asked(*shlex.split(train_command(config, "out"))[2:]) == config


@pytest.fixture
def base(toy, tmp_path):
    """A checkpoint of other way and norm than the options' own defaults."""
    train(TrainConfig("maml", "toy", **SMALL | {"iterations": 1}, norm="non-transductive"), toy, tmp_path / "base")
    return str(RunFolder(tmp_path / "base").checkpoint("last"))


@pytest.mark.parametrize("told", [{}, {"n_way": 3, "norm": "non-transductive"}, {"n_way": 4}], ids=str)
def test_a_train_command_says_what_a_base_would_else_decide(told, base, asked):
    """So the command is the run's wherever its base is not at hand; a way and norm that are the defaults count, too."""
    config = TrainConfig("maml", "toy", **told, filters=4, base=base)
    line = train_command(config, "out")
    assert f"--n-way {config.n_way} " in line and f"--norm {config.norm} " in line
    assert asked(*shlex.split(line)[2:]) == config


def test_a_train_command_leaves_out_what_the_algorithm_does_anyway():
    whole = completed(TrainConfig("maml_pp", "glyphs"), lambda option: False)
    assert train_command(whole, "out") == "metaprobe train maml_pp --data glyphs --out out"
    without = dataclasses.replace(whole, update_rule="sgd", multi_step_loss=0, step_norms=False, activation=None)
    told = "--activation relu --update-rule sgd --multi-step-loss 0 --no-step-norms"
    assert train_command(without, "out") == f"metaprobe train maml_pp --data glyphs {told} --out out"


def test_a_runs_own_config_makes_the_same_run(tmp_path, capsys):
    line = ["train", "maml_pp", "--data", "toy", "--no-step-norms", *words(SMALL)]
    assert main([*line, "--out", str(tmp_path / "a")]) == 0
    capsys.readouterr()
    assert main(["train", "--config", str(tmp_path / "a"), "--out", str(tmp_path / "b")]) == 0
    a, b = (RunFolder(tmp_path / name) for name in "ab")
    assert a.config_file.read_bytes() == b.config_file.read_bytes()
    assert a.checkpoint("last").read_bytes() == b.checkpoint("last").read_bytes()
    told = capsys.readouterr().err.splitlines()[0]
    assert told.startswith(f"{a.config_file}: taken algorithm maml_pp, data toy, n_way 3, ")
    assert "update_rule lslr" in told and "given here" not in told and "n_shot" not in told  # a default


def test_what_is_given_wins_and_is_told(tmp_path, asked, capsys):
    file = tmp_path / "mine.toml"
    file.write_text('algorithm = "anil"\ndata = "toy"\nn_way = 4\ncompile = true\nlinnet = [8, 4]\ninner_lr = 1\n')
    config = asked("--config", file, "--n-way", 3, "--no-compile")
    assert (config.algorithm, config.data, config.n_way, config.compile) == ("anil", "toy", 3, False)
    assert (config.linnet, config.inner_lr, config.n_query, config.val_query) == ((8, 4), 1.0, 15, 15)
    taken = "taken algorithm anil, data toy, linnet 8,4, inner_lr 1.0"
    assert capsys.readouterr().err == f"{file}: {taken}; given here instead: n_way 3, compile False\n"
    assert asked("--config=" + str(file), "--n-query", 5).val_query == 5  # a part of a run: the rest is as ever


def test_a_file_may_leave_out_what_must_be_given(tmp_path, asked, capsys):
    file = tmp_path / "part.toml"
    file.write_text("n_way = 1\n")  # which no run can have, and the command line puts right
    assert asked("maml", "--data", "toy", "--config", file, "--n-way", 3).n_way == 3
    with pytest.raises(SystemExit) as stopped:
        main(["train", "--config", str(file)])
    assert stopped.value.code == 2
    assert "ALGORITHM" in capsys.readouterr().err
    assert main(["train", "maml", "--data", "toy", "--config", str(file)]) == 2
    assert "n-way" in capsys.readouterr().err.replace("_", "-")


def test_a_file_of_another_algorithm_is_told(tmp_path, asked, capsys):
    file = tmp_path / "config.toml"
    config = TrainConfig("maml", "toy", **SMALL)
    file.write_text(tomli_w.dumps(to_mapping(config)))
    assert set(to_mapping(config)) >= _ALWAYS
    found = asked("maml_pp", "--config", file)
    assert (found.algorithm, found.schedule, found.update_rule) == ("maml_pp", "constant", "lslr")
    told = capsys.readouterr().err
    assert "given here instead: algorithm maml_pp. The file is of maml, and what it says is maml_pp's now" in told
    assert "against its own defaults (" in told and "schedule cosine" in told
    assert asked("--config", file) == config  # of its own


def test_of_a_runs_folder_its_own_file_is_taken(tmp_path, capsys):
    config = TrainConfig("maml", "toy", **SMALL, base="other.safetensors")
    (tmp_path / "config.toml").write_text(tomli_w.dumps(to_mapping(config)))
    assert ConfigFile.read(tmp_path) == ConfigFile.read(tmp_path / "config.toml")
    assert ConfigFile.read(tmp_path).values["base"] == str(tmp_path / "other.safetensors")
    (tmp_path / "empty").mkdir()
    assert main(["train", "--config", str(tmp_path / "empty")]) == 3
    told = f"--config {tmp_path / 'empty'} is a folder without config.toml; name a run, or a TOML file"
    assert capsys.readouterr().err == f"error: {told}\n"


def test_a_base_is_named_from_the_files_folder(tmp_path, monkeypatch, capsys):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "mine.toml").write_text('algorithm = "maml"\ndata = "toy"\nbase = "../nowhere.safetensors"\n')
    assert main(["train", "--config", str(tmp_path / "runs" / "mine.toml")]) == 3
    assert f"{tmp_path / 'nowhere.safetensors'}: cannot be opened" in capsys.readouterr().err


@pytest.mark.parametrize(("text", "told"), [
    ("n_wy = 3", "mine.toml: unknown option 'n_wy'. Did you mean n_way"),
    ("n_way = '3'", "mine.toml: option n_way is '3', expected int"),
    ("schedule = 'linear'", "mine.toml: option schedule is 'linear', expected 'constant' or 'cosine'\n"),
    ("[train]\nn_way = 3", "unknown option 'train'"),
    ("n_way = ", "not TOML"),
])  # fmt: skip
def test_what_no_run_has_is_refused(tmp_path, capsys, text, told):
    file = tmp_path / "mine.toml"
    file.write_text(text)
    assert main(["train", "maml", "--data", "toy", "--config", str(file)]) == 3
    said = capsys.readouterr().err
    assert said.startswith(f"error: {file}: ") and told in said and said.count("\n") == 1


def read_back(folder):
    """Return what TensorBoard reads: scalars as (iteration, value), histograms as (iteration, numbers in all)."""
    found = EventAccumulator(str(folder), {"scalars": 0, "histograms": 0}).Reload()
    scalars = {n: [(one.step, one.value) for one in found.Scalars(n)] for n in found.Tags()["scalars"]}
    tasks = {n: [(one.step, one.histogram_value) for one in found.Histograms(n)] for n in found.Tags()["histograms"]}
    return scalars, tasks


def same_as_metrics(folder):
    scalars, tasks = read_back(folder.events_folder)
    records = folder.read_records()
    assert len(records) == 4
    wanted = {n: [] for record in records for n in record if n != "iteration"}
    for record in records:
        for name in wanted.keys() & record.keys():
            wanted[name].append((record["iteration"], record[name]))
    assert set(scalars) | set(tasks) == set(wanted)
    for name, points in scalars.items():
        np.testing.assert_allclose(points, wanted[name], rtol=1e-6)
    for name, points in tasks.items():
        assert [(step, one.num) for step, one in points] == [(step, len(each)) for step, each in wanted[name]]
        np.testing.assert_allclose([one.sum for _, one in points], [sum(each) for _, each in wanted[name]], rtol=1e-6)
    assert tasks and {"train_loss", "val_accuracy"} <= set(scalars)


def test_tensorboard_reads_what_metrics_say_after_a_kill_too(tmp_path, toy, monkeypatch):
    config, folder = TrainConfig("maml", "toy", **SMALL), RunFolder(tmp_path / "run")
    record = _Run._record

    def killed(self, numbers):
        record(self, numbers)
        if self.state.iteration == 3:
            raise SystemExit

    monkeypatch.setattr(_Run, "_record", killed)
    monkeypatch.setattr(
        "metaprobe.trainers.events.EventLog.close", lambda self: self.flush()
    )  # a killed process closes nothing
    with pytest.raises(SystemExit):
        train(config, toy, folder.path, tensorboard=True)
    monkeypatch.undo()
    scalars, _ = read_back(folder.events_folder)
    assert [step for step, _ in scalars["train_loss"]] == [1, 2, 3]  # and what was saved ends at 2
    train(config, toy, folder.path, tensorboard=True)
    same_as_metrics(folder)
    assert len(list(folder.events_folder.iterdir())) == 1


def test_tensorboard_may_be_asked_for_later_and_changes_no_byte(tmp_path, toy, capsys):
    config = TrainConfig("maml", "toy", **SMALL)
    with_it, without = RunFolder(tmp_path / "a"), RunFolder(tmp_path / "b")
    train(config, toy, with_it.path, tensorboard=True)
    train(config, toy, without.path)
    assert not without.events_folder.exists()
    assert with_it.checkpoint("last").read_bytes() == without.checkpoint("last").read_bytes()
    line = ["train", "maml", "--data", "toy", *words(SMALL), "--out", str(without.path), "--tensorboard"]
    assert main(line) == 0  # the run is done: its lines are written all the same
    same_as_metrics(without)
    same_as_metrics(with_it)


def test_without_the_package_it_is_a_sentence(monkeypatch, capsys, tmp_path):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    assert main(["train", "maml", "--data", "toy", "--tensorboard", "--out", str(tmp_path / "run")]) == 2
    told = capsys.readouterr().err
    assert "--tensorboard needs the tensorboard package" in told and "pip install 'metaprobe[tensorboard]'" in told
    assert not (tmp_path / "run").exists()
