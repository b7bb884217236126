"""Reports of one's own runs: which study they are of, what is read and measured, what is refused."""

import dataclasses
import re
import shutil
from pathlib import Path

import pytest

from metaprobe.analyses.table import Table
from metaprobe.probe.cli import main
from metaprobe.reports.registry import STUDIES
from metaprobe.reports.study.cache import read_note
from metaprobe.reports.study.given import finished_runs, run_labels, runs_as
from metaprobe.reports.study.run import report_runs
from metaprobe.trainers.algorithms import ALGORITHMS
from metaprobe.trainers.checkpoint import load_checkpoint, save_checkpoint
from metaprobe.trainers.command import train_command
from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.run import RunFolder
from tests.page_checks import commands_of
from tests.tiny_study import THIRD, files_of, made_once, make_third, without_pdf, working_in

RUNS = ("maml-seed0", "nil-seed0", "maml_head-nil-seed0")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder to work in, with the third study made in it."""
    base = tmp_path_factory.mktemp("report")
    shutil.copytree(made_once(tmp_path_factory, "third", make_third), base, dirs_exist_ok=True)
    (base / "made").rename(base / "first")
    return base


@pytest.fixture
def work(place):
    """A copy of its runs, to be harmed; the working folder."""
    shutil.copytree(place / "first", place / "work")
    with working_in(place) as patch:
        without_pdf(patch)
        yield Path("work")
    shutil.rmtree(place / "work")


def report(*runs, out="page/runs.html", more=("--study", "third")):
    return main(["report", *map(str, runs), "--out", out, *more])


def test_a_report_of_a_studys_runs_reads_what_was_measured_and_prints_what_makes_it_again(place, work):
    before = {name: path.stat().st_mtime_ns for name, path in files_of(work).items()}
    assert report(*(work / run for run in reversed(RUNS))) == 0
    assert {name: path.stat().st_mtime_ns for name, path in files_of(work).items()} == before
    for path in (place / "first" / "tables").glob("*.csv"):
        shown, wanted = ((place / where / "tables" / path.name).read_text().splitlines() for where in ("page", "first"))
        assert sorted(shown) == sorted(wanted), path
    page = commands_of(place / "page" / "runs.html")
    for run in RUNS:
        config = RunFolder(work / run).read_config()
        base = config.base and config.base.removeprefix("work/")  # where the folder lies now
        assert train_command(dataclasses.replace(config, base=base), run) in page
    text = re.sub(r"<[^>]+>", "", page)
    assert f"metaprobe report {' '.join(RUNS)} --out runs.html --study third --tasks 4 --capture-tasks 3\n" in text
    assert "with what the runs were measured with before: head steps" not in text  # as the full preset has them
    assert "seen from the folder in which the command is given" in page


def test_as_many_tasks_as_all_runs_were_measured_with_or_as_asked_for(work, capsys):
    assert report(work / "maml-seed0", more=("--study", "third", "--tasks", "5")) == 0
    assert read_note(work / "maml-seed0", "accuracy")["tasks"] == 5
    assert read_note(work / "maml-seed0", "capture-last")["tasks"] == 3
    (work / "nil-seed0" / "measured" / "options.json").unlink()
    assert report(*(work / run for run in RUNS)) == 0
    assert read_note(work / "maml-seed0", "accuracy")["tasks"] == THIRD.presets["full"].tasks
    assert report(work / "maml-seed0", more=("--study", "third", "--tasks", "0")) == 2
    assert "--tasks must be at least 1 and at most 1,000,000; got 0" in capsys.readouterr().err


def test_a_learner_that_the_study_does_not_train_may_be_among_them(work, place):
    config = dataclasses.replace(RunFolder(work / "maml-seed0").read_config(), algorithm="fomaml")
    assert main(train_command(config, "work/fomaml-seed0").split()[1:]) == 0
    assert report(work / "maml-seed0", work / "fomaml-seed0") == 0
    rows = Table.read_csv(work / "fomaml-seed0" / "measured" / "accuracy.csv").rows
    assert {row.algorithm for row in rows} == {"fomaml"}


def test_the_study_is_the_one_that_the_runs_fit(work, capsys):
    assert report(*(work / run for run in RUNS), more=()) == 2
    told = "these runs fit more than one study, which ask and measure different things: raghu2020 ({}), third ({}); say"
    summaries = (STUDIES[name].summary for name in ("raghu2020", "third"))
    assert f"{told.format(*summaries)} which with --study NAME" in capsys.readouterr().err
    finished = report_runs((THIRD, STUDIES["zhou2021"]), [work / run for run in RUNS], Path("page/one.html"))
    assert set(finished.judgements) == {"T1", "T2", "T3"}


def test_clustered_runs_are_told_apart_by_their_clusters(work, tmp_path):
    """Learners of one algorithm are told apart by the settings in which they differ, and by what they begin with."""
    last = finished_runs([work / "maml-seed0"])
    (found,) = last.values()
    study = STUDIES["zhou2021"]

    def run(name, algorithm, **settings):
        base = {"base": found.fingerprint} if settings.get("base") else {}
        config = dataclasses.replace(found.config, algorithm=algorithm, **settings)
        provenance = found.provenance | base
        fingerprint = found.fingerprint if name == "maml" else name
        return {tmp_path / name: _Told(config, provenance, fingerprint, found.network_config)}

    runs = run("maml", "maml") | run("big", "maml", blocks=6, filters=12, iterations=6)
    runs |= run("m2", "tsa_maml", base="b", clusters=2) | run("m1", "tsa_maml", base="b", clusters=1)
    options = study.preset("full").of_runs([one.config for one in runs.values()])
    assert options.sweep == (2, 1)
    assert not options.symmetric
    keys = {one.folder.name: one.learner.key for one in runs_as(study, options, runs)}
    assert keys == {"maml": "base", "m2": "m2", "m1": "m1", "big": "large"}
    even = runs | run("even", "tsa_maml", base="b", clusters=2, symmetric_head=True, schedule="cosine")
    more = study.preset("full").of_runs([one.config for one in even.values()])
    assert (more.sweep, more.symmetric, more.pretraining) == ((2, 1), True, found.config.schedule)
    keys = {one.folder.name: one.learner.key for one in runs_as(study, more, even)}
    assert keys["even"] == "m2-symmetric" and keys["m2"] == "m2"
    with pytest.raises(
        MetaprobeError, match=r"m2 begins with checkpoint .* the last of no run given here of base; give"
    ):
        runs_as(study, options, {folder: one for folder, one in runs.items() if folder.name != "maml"})
    with pytest.raises(
        MetaprobeError, match=r"runs of maml, tsa_maml, .*; .*m4 was trained by tsa_maml with 4 clusters"
    ):
        runs_as(study, options, runs | run("m4", "tsa_maml", base="b", clusters=4))


@dataclasses.dataclass(frozen=True)
class _Told:
    """What is asked of a last checkpoint."""

    config: object
    provenance: dict
    fingerprint: str
    network_config: object


def test_what_a_run_was_not_told_is_as_its_network_has_it(work, tmp_path):
    """Modulated learners, trained by their own defaults, stand beside MAML: nothing is to be told for a report."""
    (found,) = finished_runs([work / "maml-seed0"]).values()
    assert found.config.norm_affine is None and found.network_config.norm_affine == "both"
    runs = {tmp_path / "maml": found}
    for name in ("mmaml", "hsml", "imaml", "meta_lstm"):
        own = ALGORITHMS[name].defaults(found.config)
        config = dataclasses.replace(found.config, algorithm=name, **own)
        runs[tmp_path / name] = _Told(config, found.provenance, name, found.network_config)
    study = STUDIES["zhou2021"]
    options = study.preset("full").of_runs([one.config for one in runs.values()])
    keys = {one.folder.name: one.learner.key for one in runs_as(study, options, runs)}
    assert keys == {"maml": "base", "mmaml": "mmaml", "hsml": "hsml", "imaml": "imaml", "meta_lstm": "meta_lstm"}
    told = dataclasses.replace(found.config, norm_affine="both", seed=1)  # as the others are anyway
    more = runs | {tmp_path / "told": _Told(told, found.provenance, "told", found.network_config)}
    assert len(runs_as(study, options, more)) == 6
    bare = dataclasses.replace(found.network_config, norm_affine="shift")
    more = runs | {tmp_path / "bare": _Told(dataclasses.replace(told, norm_affine="shift"), {}, "bare", bare)}
    with pytest.raises(MetaprobeError, match=r"must agree in norm_affine; got both in .*, shift in .*bare"):
        runs_as(study, options, more)


# --- what is refused ---


def test_runs_that_do_not_belong_together_are_refused(work, capsys):
    maml, nil, head = (work / run for run in RUNS)
    config = RunFolder(maml).read_config()
    assert main(train_command(dataclasses.replace(config, seed=1, n_way=2), "work/other").split()[1:]) == 0
    shutil.copytree(maml, work / "copy")
    for runs, told in (
        ((maml, work / "other"), r"must agree in n_way; got 3 in .*maml-seed0, 2 in .*other"),
        ((maml, work / "nil-seed0" / ".." / "maml-seed0"), r"maml-seed0 is given twice"),
        ((maml, work / "copy"), r"maml-seed0 and .*copy are both maml with seed 0; leave one out"),
        ((maml, head), r"is a head on the body of checkpoint \w{12} .* which is the last of no run given here"),
        ((), r"give at least one RUN; got none"),
    ):
        assert report(*runs, out="no/report.html") == 2
        assert re.search(told, capsys.readouterr().err), told
    assert report(nil, out="no/report.html", more=("--study", "zhou2021")) == 2
    told = capsys.readouterr().err
    assert "a report is of runs of maml, tsa_maml, fomaml, reptile, imaml, matching, meta_lstm, mmaml, hsml; " in told
    assert "; work/nil-seed0 was trained by nil: leave it out" in told
    assert report("pictures", out="no/report.html") == 3
    assert "is no run" in capsys.readouterr().err
    for given, names in (
        ((maml,), "RUN"),
        (
            ("--tasks", "4", "--jobs", "2", "--scheduler", "slurm", "--slurm", "a=b"),
            "--jobs, --tasks, --scheduler, --slurm",
        ),
        (("--study", "third", "--data", "glyphs", "--network", "a:b"), "--study, --data, --network"),
        (("--capture-tasks", "4", "--data-root", "."), "--capture-tasks, --data-root"),
    ):
        assert report(out="no/report.html", more=("--from-tables", "first/tables", *map(str, given))) == 2
        assert f"and measures nothing; leave out {names}\n" in capsys.readouterr().err
    assert not Path("no").exists()


def test_an_unfinished_run_is_refused_with_what_finishes_it(work):
    run = RunFolder(work / "maml-seed0")
    last = load_checkpoint(run.checkpoint("last"))
    save_checkpoint(run.checkpoint("last"), dataclasses.replace(last, iteration=2))
    told = r"unfinished, at iteration {} of 3; `metaprobe train maml .* --out .*maml-seed0`"
    with pytest.raises(MetaprobeError, match=told.format(2)):
        finished_runs([run.path])
    run.checkpoint("last").unlink()
    with pytest.raises(MetaprobeError, match=told.format(0)):
        finished_runs([run.path])


def test_labels_of_runs_tell_them_apart(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run_labels([Path("a/maml"), Path("a/anil")]) == ("maml", "anil")
    assert run_labels([Path("a/maml"), Path("b/maml")]) == ("a/maml", "b/maml")
    assert run_labels([Path()]) == (tmp_path.name,)
