"""What a study does again, and what becomes of what is lost or fails, on the third study."""

import dataclasses
import html
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from metaprobe.analyses.learning_curves import learning_curves
from metaprobe.analyses.measurements import KINDS, Input
from metaprobe.analyses.table import Table
from metaprobe.probe.cli import main
from metaprobe.reports.study.cache import Measuring
from metaprobe.reports.study.engine import run_steps
from metaprobe.reports.study.run import run_study
from metaprobe.reports.study.study import Measurement
from metaprobe.trainers.errors import UnreadableInput
from metaprobe.trainers.run import RunFolder
from tests.tiny_study import (
    files_of,
    made_once,
    make_third,
    planned_third,
    without_pdf,
    working_in,
)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder to work in, with pictures in class folders, and the third study made in it."""
    base = tmp_path_factory.mktemp("studies")
    shutil.copytree(made_once(tmp_path_factory, "third", make_third), base, dirs_exist_ok=True)
    return base


@pytest.fixture
def work(place):
    """A copy of it, to be harmed; the working folder."""
    shutil.copytree(place / "made", place / "work")
    with working_in(place) as patch:
        without_pdf(patch)
        yield place / "work"
    shutil.rmtree(place / "work")


def again(jobs=1, **changes):
    """Run the copy, and return the names of the steps that are done now."""
    results = run_study(planned_third(Path("work"), **changes), jobs).results
    assert not results.missing()
    return {name for name, outcome in results.outcomes.items() if outcome.ending == "done"}


def test_only_what_depends_on_a_change_is_done_again(work):
    steps = {step.name for step in planned_third(Path("work")).steps}
    assert again() == set()
    tested = {step for step in steps if step.startswith(("accuracy", "freezing"))}
    assert again(tasks=5) == tested
    assert again(tasks=5, head_steps=(3,)) == {step for step in steps if step.startswith("freezing")}
    assert again(tasks=5, head_steps=(3,), capture_tasks=4) == {"capture of maml-seed0", "similarity of maml"}
    assert again(tasks=5, head_steps=(3,), capture_tasks=4, seeds=2) == {
        *(step.replace("seed0", "seed1") for step in steps if "seed0" in step),
        "similarity of maml",
    }


def test_a_table_that_was_changed_or_whose_note_is_damaged_is_measured_anew(work):
    measured = work / "maml-seed0" / "measured"
    Table(Table.read_csv(measured / "accuracy.csv").rows[:1]).write_csv(measured / "accuracy.csv")
    (measured / "freezing.json").write_bytes(b"[" * 100_000)
    os.truncate(measured / "freezing-third.json", 5 * 2**30)  # sparse: it takes no space
    assert again() == {f"{step} of maml-seed0" for step in ("accuracy", "freezing")} | {
        "freezing of maml-seed0 at third"
    }
    (measured / "accuracy.json").write_bytes(b"\xff\xfe")
    assert again() == {"accuracy of maml-seed0"}


def test_a_store_that_was_given_up_is_captured_anew(work):
    shutil.rmtree(work / "maml-seed0" / "captures")
    (work / "maml-seed0" / "measured" / "capture-last.json").unlink()
    assert again() == {"capture of maml-seed0"}


def test_another_checkpoint_or_other_metrics_under_what_was_measured_are_told(work, capsys):
    measured, third = work / "maml-seed0" / "measured", work / "maml-seed0" / "checkpoints" / "third.safetensors"
    before = third.read_bytes()
    shutil.copy(work / "nil-seed0" / "checkpoints" / "third.safetensors", third)
    assert main(["study", "third", "--out", "work"]) == 3
    assert "third.safetensors has changed since freezing-third.csv was made from it" in capsys.readouterr().err
    (measured / "freezing-third.json").unlink()
    assert again() == {"freezing of maml-seed0 at third"}
    third.write_bytes(before)
    (measured / "freezing-third.json").unlink()
    assert again() == {"freezing of maml-seed0 at third"}


def test_metrics_that_are_cut_doubled_or_changed_under_the_curves_are_told(work):
    run = RunFolder(work / "maml-seed0")
    last = Input(run.checkpoint("last"), "maml", 0, "maml")
    curves, data = Measuring("", run.path, "curves", Measurement("curves", ("maml",)), (last,)), SimpleNamespace()
    data.fingerprint = "d"
    curves.do(data)
    lines = run.metrics_file.read_text().splitlines(keepends=True)
    later = [line.replace('"seconds": ', '"seconds": 1') for line in lines]
    run.metrics_file.write_text("".join(later))
    assert curves.is_done(data)  # times are no two runs' own
    changed_line = lines[0].replace('loss": ', 'loss": 1', 1)
    cases = {
        r"metrics.jsonl has changed since curves.csv was made": [changed_line, *lines[1:]],
        r"metrics.jsonl has changed": lines[:-1],
        r"metrics.jsonl:\d+: iteration \d+, expected \d+; lines were lost": [*lines, lines[-1]],
    }
    for told, changed in cases.items():
        run.metrics_file.write_text("".join(changed))
        with pytest.raises(UnreadableInput, match=told):
            curves.is_done(data)
    run.metrics_file.write_text("".join(lines[:-1]))
    with pytest.raises(UnreadableInput, match=r"metrics.jsonl ends at iteration \d+; the run has taken \d+"):
        learning_curves(run)


def test_a_run_of_another_config_is_refused_before_anything_is_done(work):
    shutil.rmtree(work / "nil-seed0")
    assert main(["study", "third", "--out", "work", "--inner-lr", "0.3"]) == 2
    assert not (work / "nil-seed0").exists()


def test_interrupted_and_resumed_in_another_folder_it_gives_the_same(place, work):
    def stopped(on, **options):
        raise KeyboardInterrupt

    shutil.rmtree(work)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(KINDS, "capture", dataclasses.replace(KINDS["capture"], function=stopped))
        assert main(["study", "third", "--out", "work"]) == 130
    assert not (work / "report.html").exists()
    assert again() == {"capture of maml-seed0", "similarity of maml"}
    first, second = files_of(place / "made"), files_of(work)
    assert list(first) == list(second)
    for name in first:
        if "maml_head" not in name and not name.endswith("metrics.jsonl"):  # tells where the body lies; holds seconds
            assert first[name].read_bytes() == second[name].read_bytes(), name


def test_the_numbers_do_not_depend_on_the_number_of_jobs(place, work):
    shutil.rmtree(work)
    again(jobs=2)
    for path in (place / "made" / "tables").glob("*.csv"):
        if path.stem not in ("claims", "timing"):
            one, two = (Table.read_csv(place / out / "tables" / path.name).rows for out in ("made", "work"))
            # a store's hash names the number of threads that its run had
            same = [dataclasses.replace(row, source=None) for row in one]
            assert same == [dataclasses.replace(row, source=None) for row in two], path


@pytest.mark.parametrize("fate", ["is missing", "has changed since"])
def test_a_store_that_is_gone_is_named_and_the_page_does_not_shrink(work, capsys, fate):
    store = work / "maml-seed0" / "captures" / "last.h5"
    store.unlink() if fate == "is missing" else store.write_bytes(b"other")
    (work / "report.html").unlink()
    assert main(["study", "third", "--out", "work"]) == 3
    told = capsys.readouterr().err
    assert f"work/maml-seed0/captures/last.h5 {fate}" in told
    assert "capture-last.json too, to capture and measure again" in told
    assert not (work / "report.html").exists()


def test_a_step_that_fails_stands_on_the_page_and_the_rest_goes_on(place, work, capsys):
    def broken(on, **options):
        raise ZeroDivisionError(f"by nothing in {Path('work', 'maml-seed0')}")

    (work / "maml-seed0" / "measured" / "similarity-of-0.json").unlink()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(KINDS, "similarity", dataclasses.replace(KINDS["similarity"], function=broken))
        assert main(["study", "third", "--out", "work"]) == 1
    assert "failed: similarity of maml: ZeroDivisionError: by nothing" in capsys.readouterr().err
    assert "in broken" in (work / "failures" / "similarity-of-maml.txt").read_text()
    page = (work / "report.html").read_text(encoding="utf-8")
    assert "ZeroDivisionError: by nothing in maml-seed0" in page  # nobody who reads it has the folder
    assert (work / "tables" / "missing-steps.tex").is_file()
    assert main(["study", "third", "--out", "work"]) == 0
    assert (work / "report.html").read_bytes() == (place / "made" / "report.html").read_bytes()
    assert not (work / "tables" / "missing-steps.tex").exists()


def test_a_disk_that_is_full_leaves_no_note_of_what_is_not_there(work, monkeypatch):
    def full(*_):
        raise OSError("disk full")

    (work / "maml-seed0" / "measured" / "accuracy.json").unlink()
    with monkeypatch.context() as patch:
        patch.setattr(Table, "write_csv", full)
        planned = planned_third(Path("work"))
        results = run_steps(planned.steps, planned.images)
    assert dict(results.missing())["accuracy of maml-seed0"].reason == "OSError: disk full"
    assert not (work / "maml-seed0" / "measured" / "accuracy.json").exists()


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(
    ("name", "failed"),
    [("checkpoints/third.safetensors", "freezing of maml-seed0 at third"), ("config.toml", "train maml-seed0")],
)
def test_a_damaged_file_of_a_run_fails_its_steps_and_the_rest_goes_on(work, capsys, name, failed):
    cut(work / "maml-seed0" / name)
    for path in (work / "maml-seed0" / "measured").glob("freezing*.json"):
        path.unlink()  # so that it is not kept either
    assert main(["study", "third", "--out", "work", "--dry-run"]) == 0
    plan = capsys.readouterr().out
    assert "third" in name or all(told in plan for told in (f"{failed}\tfailed", "\tnot run", "steps failed\t1\n"))
    assert main(["study", "third", "--out", "work"]) == 1
    told = capsys.readouterr().err
    assert f"failed: {failed}: work/maml-seed0/{name}: " in told
    page = (work / "report.html").read_text(encoding="utf-8")
    assert failed in page and "NIL" in page


def test_a_damaged_last_checkpoint_is_trained_anew_from_its_resume_state(work, recwarn):
    last = work / "maml-seed0" / "checkpoints" / "last.safetensors"
    before = last.read_bytes()
    cut(last)
    assert main(["study", "third", "--out", "work"]) == 0
    assert last.read_bytes() == before


def test_a_checkpoint_that_is_damaged_after_it_was_measured_takes_no_page(work, monkeypatch):
    def damaging(*given):
        results = run_steps(*given)
        cut(work / "maml-seed0" / "checkpoints" / "third.safetensors")
        return results

    monkeypatch.setattr("metaprobe.reports.study.run.run_steps", damaging)
    assert main(["study", "third", "--out", "work"]) == 0
    page = html.unescape((work / "report.html").read_text(encoding="utf-8"))
    assert "cannot be read any more: work/maml-seed0/checkpoints/third.safetensors: not a readable" in page
