"""What a study may be asked for, and which runs a report takes."""

import dataclasses
import shlex
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.backends.backend_pdf import FigureCanvasPdf

from probe.cli import main, reporting
from reports.studies import PRESETS, StudyRequest, running, study_named
from reports.studies.request import train_command
from reports.studies.runs import run_labels
from reports.studies.steps import Results
from tests.study_runs import IMAGESET, PLAN, STUDY, measure_run, page_of, report, trained
from tests.test_training import tiny
from trainers.checkpoint import load_checkpoint, save_checkpoint
from trainers.config import TrainConfig
from trainers.errors import MetaprobeError
from trainers.outer_loop import train
from trainers.run import RunFolder


def parsed(command):
    """What the command line makes of a command."""
    asked = []

    def run(study, request, out, data_root, download, jobs):
        asked.append((request, str(out), data_root, download))
        return out, Results((), {})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(running, "run_study", run)
        patch.setattr(reporting, "_told", lambda page, results: 0)
        assert main(shlex.split(command)[1:]) == 0
    return asked[0]


optional = st.none() | st.integers(1, 10**6)
requests = st.builds(
    StudyRequest,
    data=st.sampled_from(
        ["glyphs", "omniglot", "class_folder:my 'old' pictures", "class_folder:$HOME;x", "class_folder:é"]
    ),
    preset=st.sampled_from(list(PRESETS)),
    iterations=optional,
    seeds=optional,
    tasks=optional,
    capture_tasks=optional,
    val_tasks=st.none() | st.integers(2, 10**6),
    more_iterations=optional,
    n_way=st.integers(2, 30),
    inner_lr=st.floats(1e-12, 1e6),
    norm=st.sampled_from(["transductive", "non-transductive"]),
    image_size=optional,
    device=st.sampled_from(["cpu", "cuda:1"]),
)


@settings(max_examples=12, deadline=None)
@given(requests)
def test_the_command_on_the_page_asks_for_the_same_again(request):
    assert parsed(request.command("raghu2020"))[0] == request.of(STUDY)


def test_a_bare_command_is_the_quick_preset_in_a_folder_of_its_own():
    command = StudyRequest().command("raghu2020")
    assert command == "metaprobe study raghu2020 --preset quick"
    assert StudyRequest(data="glyphs").command("raghu2020") == "metaprobe study raghu2020 --data glyphs --preset quick"
    assert parsed(command) == (StudyRequest().of(STUDY), "runs/raghu2020-glyphs-quick", None, False)
    assert parsed(command)[0].data == "glyphs"
    request, out, _, download = parsed("metaprobe study raghu2020 --data class_folder:a/b --download")
    assert (request.data, out, download) == ("class_folder:a/b", "runs/raghu2020-class_folder-quick", True)


def test_what_is_asked_for_replaces_the_preset():
    assert StudyRequest().amount(STUDY) == STUDY.presets["quick"]
    request = StudyRequest(preset="full", tasks=7).of(STUDY)
    amount = request.amount(STUDY)
    assert amount == dataclasses.replace(STUDY.presets["full"], tasks=7)
    config = dataclasses.replace(request, n_way=20, inner_lr=0.5, norm="non-transductive").run_config(amount, "anil", 2)
    assert (config.algorithm, config.seed, config.iterations) == ("anil", 2, STUDY.presets["full"].iterations)
    assert (config.n_way, config.inner_lr, config.norm, config.val_every) == (20, 0.5, "non-transductive", 1500)


@pytest.mark.parametrize(
    ("name", "value", "least"),
    [
        *(
            (name, 0, 1)
            for name in ("iterations", "seeds", "tasks", "capture_tasks", "n_shot", "n_query", "inner_steps")
        ),
        *((name, -3, 1) for name in ("meta_batch", "image_size", "chunk", "seeds")),
        ("val_tasks", 1, 2),
        ("n_way", 1, 2),
    ],
)
def test_what_cannot_be_is_told_before_any_work(name, value, least, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    flag = f"--{name.replace('_', '-')}"
    assert main(["study", "raghu2020", flag, str(value)]) == 2
    assert f"{flag} must be at least {least} and below 2³¹; got {value}" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_rate_that_cannot_be_is_told():
    with pytest.raises(MetaprobeError, match=r"--inner-lr must be above 0 and finite; got nan"):
        StudyRequest(inner_lr=float("nan"))


def test_unknown_studies_and_presets_are_named(capsys):
    with pytest.raises(MetaprobeError, match=r"unknown study 'raghu2021'\. Did you mean raghu2020.*Known: raghu2020"):
        study_named("raghu2021")
    with pytest.raises(MetaprobeError, match=r"unknown preset 'quik'\. Did you mean quick\? Known: quick, full"):
        StudyRequest(preset="quik")
    assert main(["study", "raghu2020", "--preset", "quik"]) == 2
    assert "Did you mean quick" in capsys.readouterr().err


def test_a_train_command_names_only_what_is_no_default():
    command = train_command(TrainConfig("maml", "glyphs", adapt_norm=False, clip=10.0, seed=2), "my runs")
    assert command == "metaprobe train maml --data glyphs --seed 2 --clip 10.0 --no-adapt-norm --out 'my runs'"
    assert trained(command)[0] == TrainConfig("maml", "glyphs", adapt_norm=False, clip=10.0, seed=2)


# --- reports of runs ---


def test_only_maml_brings_the_untrained_network(finished, tmp_path, monkeypatch):
    shutil.copytree(finished.path, tmp_path / "maml")
    for seed in (0, 1):
        folder = RunFolder(tmp_path / f"fomaml{seed}")
        train(tiny("fomaml", iterations=3, inner_steps=1, seed=seed), IMAGESET, folder.path)
        table = measure_run(folder, IMAGESET, PLAN)
        assert {row.algorithm for row in table.rows} == {"fomaml"}
    monkeypatch.setattr("trainers.tasks.load_imageset", lambda *_, **__: IMAGESET)
    monkeypatch.setattr(FigureCanvasPdf, "print_pdf", lambda *_, **__: None)  # half of the time, and not looked at
    runs = [tmp_path / name for name in ("maml", "fomaml0", "fomaml1")]
    report(runs, tmp_path / "page" / "report.html", 2, 2)
    assert "fomaml" in page_of(tmp_path / "page").lower()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A MAML run, not measured."""
    folder = RunFolder(tmp_path_factory.mktemp("finished") / "run")
    train(tiny(iterations=3, inner_steps=1), IMAGESET, folder.path)
    return folder


def test_runs_that_do_not_belong_together_are_refused(finished, tmp_path, capsys):
    other = tmp_path / "other"
    train(tiny(iterations=1, n_way=2, val_tasks=2, seed=1), IMAGESET, other)
    out = tmp_path / "page" / "report.html"
    run = finished.path
    with pytest.raises(MetaprobeError, match=r"must agree in n_way; got 3 in .*run, 2 in .*other"):
        report([run, other], out)
    with pytest.raises(MetaprobeError, match=r"a report needs at least one run"):
        report([], out)
    with pytest.raises(MetaprobeError, match=r"run is given twice"):
        report([run, run.parent / "." / "run"], out)
    shutil.copytree(run, tmp_path / "copy")
    with pytest.raises(MetaprobeError, match=r"run and .*copy are both maml with seed 0"):
        report([run, tmp_path / "copy"], out)
    assert main(["report", str(tmp_path), "--out", str(out)]) == 3
    assert "is no run" in capsys.readouterr().err
    assert not out.parent.exists()


def test_an_unfinished_run_is_refused_with_what_finishes_it(finished, tmp_path):
    run = RunFolder(shutil.copytree(finished.path, tmp_path / "run"))
    last = load_checkpoint(run.checkpoint("last"))
    save_checkpoint(run.checkpoint("last"), dataclasses.replace(last, iteration=2))
    with pytest.raises(MetaprobeError, match=r"unfinished, at iteration 2 of 3; `metaprobe train maml .* --out .*run`"):
        report([run.path], tmp_path / "report.html")
    run.checkpoint("last").unlink()
    with pytest.raises(MetaprobeError, match=r"unfinished, at iteration 0 of 3"):
        report([run.path], tmp_path / "report.html")


def test_labels_of_runs_tell_them_apart(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run_labels([Path("a/maml"), Path("a/anil")]) == ("maml", "anil")
    assert run_labels([Path("a/maml"), Path("b/maml")]) == ("a/maml", "b/maml")
    assert run_labels([Path()]) == (tmp_path.name,)
