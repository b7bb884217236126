"""The demo: a run that ships with the package is put where it is wanted, measured, and told on a page."""

import dataclasses

import pytest

from metaprobe.probe.cli import main
from metaprobe.reports import demo
from metaprobe.reports.page.files import read_tables
from metaprobe.reports.study.run import report_runs
from metaprobe.trainers.checkpoint import load_checkpoint
from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.run import RunFolder


def test_the_demo_measures_the_shipped_run_and_keeps_what_is_done(tmp_path, monkeypatch, capsys):
    def few(*arguments, **how):
        return report_runs(*arguments, **how | {"tasks": 12, "capture_tasks": 6, "jobs": 1})

    monkeypatch.setattr(demo, "report_runs", few)
    out = tmp_path / "demo"
    assert main(["demo", "--out", str(out)]) == 0
    shipped = load_checkpoint(RunFolder(out / demo.RUN).checkpoint("last"))
    assert shipped.config.data == "glyphs" and shipped.config.algorithm == "maml"
    told = capsys.readouterr().out
    assert {line.split("\t")[0] for line in told.splitlines() if line[:1] in "RG"} == {"R1", "R2", "R9"}
    assert f"metaprobe inspect {out / demo.RUN}" in told
    rows = read_tables(out / "tables").rows
    cost = next(
        r for r in rows if r.measure == "accuracy_difference" and r.learner == "maml" and r.frozen.count(",") == 3
    )
    assert cost.high < -20  # conv4 is relearned on these data, as the page of the whole demo says
    measured = {path: path.stat().st_mtime_ns for path in (out / demo.RUN / "measured").iterdir()}
    assert main(["demo", "--out", str(out)]) == 0
    assert {path: path.stat().st_mtime_ns for path in measured} == measured


def test_another_run_in_its_place_is_left_alone(tmp_path):
    other = RunFolder(tmp_path / demo.RUN)
    other.claim(dataclasses.replace(RunFolder(demo.SHIPPED).read_config(), seed=1))
    before = other.config_file.read_bytes()
    with pytest.raises(MetaprobeError, match="another run than the demo's; name another folder with --out"):
        demo.run_demo(tmp_path)
    assert other.config_file.read_bytes() == before
