"""What a study may be asked for, and what the command line makes of it."""

import dataclasses
import shlex
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metaprobe.probe.cli import main, reporting
from metaprobe.reports.registry import STUDIES, study_named
from metaprobe.reports.study.run import plan_study
from metaprobe.trainers.command import train_command
from metaprobe.trainers.config import TrainConfig
from metaprobe.trainers.errors import MetaprobeError
from tests.tiny_study import THIRD, working_in, write_pictures

RAGHU2020, ZHOU2021 = STUDIES["raghu2020"], STUDIES["zhou2021"]


def parsed(command):
    """What the command line makes of a study's command."""
    asked = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reporting, "_run", lambda study, found: asked.append((study, found)) or 0)
        assert main(shlex.split(command)[1:]) == 0
    return asked[0]


count = st.integers(1, 10**6)


@settings(max_examples=12, deadline=None)
@given(st.data(), st.sampled_from([RAGHU2020, ZHOU2021]), st.sampled_from(["quick", "full"]))
def test_the_command_on_the_page_asks_for_the_same_again(data, study, preset):
    asked = {
        "data": st.sampled_from(["glyphs", "class_folder:my 'old' pictures", "class_folder:$HOME;x", "class_folder:é"]),
        "iterations": count,
        "val_tasks": st.integers(2, 10**6),
        "inner_lr": st.floats(1e-12, 1e6),
        "norm": st.sampled_from(["transductive", "non-transductive"]),
        "image_size": count,
        "device": st.sampled_from(["cpu", "cuda:1"]),
    }
    own = {
        "raghu2020": {"head_steps": st.lists(count, unique=True).map(tuple), "subsets": st.booleans()},
        "zhou2021": {"sweep": st.just((7, 1)), "large": st.booleans(), "pretraining": st.just("cosine")},
    }[study.name]
    default = study.preset(preset)
    options = dataclasses.replace(default, **data.draw(st.fixed_dictionaries({}, optional=asked | own)))
    found, asked_for = parsed(options.command(study.name, default))
    assert (found, asked_for.options) == (study, options)


def test_a_bare_command_is_the_quick_preset_in_a_folder_of_its_own():
    quick = RAGHU2020.preset("quick")
    assert quick.command("raghu2020", quick) == "metaprobe study raghu2020 --data glyphs --preset quick"
    _, asked = parsed("metaprobe study raghu2020")
    assert (asked.options, asked.out, asked.data_root, asked.download, asked.jobs) == (quick, None, None, False, 1)
    _, asked = parsed("metaprobe study zhou2021 --preset=full --tasks 7 --jobs 2 --download --dry-run --out a/b")
    assert asked.options == dataclasses.replace(ZHOU2021.preset("full"), tasks=7)
    assert (str(asked.out), asked.jobs, asked.download, asked.dry_run) == ("a/b", 2, True, True)


def test_help_is_of_the_study_and_the_preset(capsys):
    for command, said, unsaid in (
        ("zhou2021 --help", "--sweep N,N,… Numbers of clusters", "--head-steps"),
        ("zhou2021 --help --preset full", "(default: 40000)", "(default: 240)"),
        ("raghu2020 --help", "(default: 140)", "--sweep"),
        ("--help", STUDIES["zhou2021"].summary, "--tasks"),
    ):
        with pytest.raises(SystemExit):
            main(["study", *command.split()])
        told = " ".join(capsys.readouterr().out.replace("│", " ").split())
        assert said in told and unsaid not in told


def test_what_is_asked_for_is_what_runs_are_trained_with():
    options = dataclasses.replace(RAGHU2020.preset("full"), n_way=20, inner_lr=0.5, norm="non-transductive",
                                  head_input="mean", head_start="normal")  # fmt: skip
    config = options.config("anil", 2)
    assert (config.head_input, config.head_start) == ("mean", "normal")
    assert (config.algorithm, config.seed, config.iterations, config.val_every) == ("anil", 2, 30_000, 1500)
    assert (config.n_way, config.inner_lr, config.norm, config.gradient) == (20, 0.5, "non-transductive", "unrolled")
    assert options.config("nil", 0, iterations=100, val_every=25).val_every == 25


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        *(
            (f"raghu2020 --{name} 0", f"--{name} must be at least 1 and below 2³¹; got 0")
            for name in ("seeds", "chunk")
        ),
        ("zhou2021 --group-tasks -3", "--group-tasks must be at least 1 and at most 1,000,000; got -3"),
        ("raghu2020 --val-tasks 1", "--val-tasks must be at least 2 and at most 1,000,000; got 1"),
        ("raghu2020 --n-way 1", "--n-way must be at least 2 and below 2³¹; got 1"),
        ("raghu2020 --replicates 38", "--replicates must be at least 39 and below 2³¹; got 38"),
        ("raghu2020 --inner-lr nan", "--inner-lr must be above 0 and finite; got nan"),
        ("raghu2020 --tasks 4 --capture-tasks 6", "--capture-tasks 6 is more than --tasks 4: what is measured on"),
        ("raghu2020 --tasks 4", "--capture-tasks 24 is more than --tasks 4"),
        ("zhou2021 --sweep 1,3", "--sweep 1,3: the first number of clusters"),
        ("raghu2020 --jobs 0", "--jobs must be at least 1; got 0"),
        ("raghu2020 --preset quik", "unknown preset 'quik'. Did you mean quick? Known: quick, full, paper"),
        ("raghu2021", "unknown study 'raghu2021'. Did you mean raghu2020"),
    ],
)
def test_what_cannot_be_is_told_before_any_work(asked, told, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["study", *asked.split()]) == 2
    assert told in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", ["3,,1", "3,3", "0", "3.5", "²", "-1"])
def test_numbers_are_different_and_whole(text, capsys):
    try:
        status = main(["study", "zhou2021", f"--sweep={text}", "--dry-run"])
    except SystemExit as stopped:
        status = stopped.code
    assert status == 2
    assert "--sweep" in capsys.readouterr().err


def test_unknown_studies_are_named():
    with pytest.raises(MetaprobeError, match=r"unknown study 'raghu2021'\. Did you mean raghu2020.*Known: raghu2020"):
        study_named("raghu2021")


def test_what_runs_were_measured_with_is_read_back_unless_it_is_of_another_version():
    options = dataclasses.replace(THIRD.preset("quick"), tasks=7, head_steps=(2, 3))
    full = THIRD.preset("full")
    found = full.with_amounts(options.amounts())
    assert found == dataclasses.replace(full, tasks=7, head_steps=(2, 3), capture_tasks=3)
    for other in (
        None,
        [],
        {},
        options.amounts() | {"more": 1},
        options.amounts() | {"tasks": "7"},
        options.amounts() | {"tasks": 0},
    ):
        assert full.with_amounts(other) is None


def test_a_train_command_names_only_what_is_no_default():
    command = train_command(TrainConfig("maml", "glyphs", adapt_norm=False, clip=10.0, seed=2), "my runs")
    assert command == "metaprobe train maml --data glyphs --seed 2 --clip 10.0 --no-adapt-norm --out 'my runs'"


def test_tasks_that_are_too_few_to_cluster_or_embed_are_told_before_any_work(monkeypatch, tmp_path):
    images = SimpleNamespace(domain_names=("a", "b"), input_shape=(1, 28, 28), tokens=False)
    monkeypatch.setattr("metaprobe.reports.study.run.load_for", lambda *_, **__: images)
    monkeypatch.setattr("metaprobe.reports.study.run.task_sampler", lambda *_, **__: None)
    options = ZHOU2021.preset("quick")
    plan_study(ZHOU2021, dataclasses.replace(options, capture_tasks=16), tmp_path)
    with pytest.raises(MetaprobeError, match=r"700 clusters cannot be found in 600 tasks; .* raise --cluster-tasks"):
        plan_study(ZHOU2021, dataclasses.replace(options, sweep=(3, 700)), tmp_path)
    with pytest.raises(MetaprobeError, match=r"30 tasks are too few to embed: .* at least 31 of all domains"):
        plan_study(ZHOU2021, dataclasses.replace(options, capture_tasks=15), tmp_path)


def test_splits_without_enough_classes_or_images_are_told_before_any_work(tmp_path, capsys):
    write_pictures(tmp_path)
    with working_in(tmp_path):
        assert main(["study", "third", "--n-shot", "4", "--out", "out", "--dry-run"]) == 2
    assert "has 18 images; n_shot=4 + n_query=15 needs 19; lower one of them" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
