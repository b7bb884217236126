"""How commands say things: names of blocks, values without intervals, defaults in help."""

import re

import pytest

from metaprobe.analyses.table import Row, Table
from metaprobe.probe.cli import main
from metaprobe.probe.cli.tables import readable
from metaprobe.reports.wording import block_name


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["freeze"], "CHECKPOINT"),
        (["distance"], "CHECKPOINT"),
        (["similarity"], "STORE"),
        (["report", "--out", "x.html"], "RUN"),
        (["similarity", "store.h5", "--measures", ""], "measure after --measures"),
    ],
)
def test_a_command_with_nothing_to_work_on_says_so(words, what, capsys):
    assert main(words) == 2
    assert capsys.readouterr().err == f"error: give at least one {what}; got none\n"


@pytest.mark.parametrize(
    ("frozen", "name"),
    [
        ("", "nothing"),
        ("conv1", "conv1"),
        ("conv1,conv2,conv3", "conv1–3"),
        ("conv3,conv4", "conv3–4"),
        ("conv1,conv3", "conv1, conv3"),
        ("conv4,head", "conv4, head"),
        ("head", "head"),
        ("conv9,conv10", "conv9–10"),
        ("conv01,conv2", "conv01, conv2"),
    ],
)
def test_names_of_blocks(frozen, name):
    assert block_name(frozen) == name


def test_a_value_without_interval_and_one_undefined_on_a_terminal():
    rows = (
        Row(measure="loss", value=0.123456, layer="conv1"),
        Row(measure="loss", value=None, status="undefined", reason="dead", layer="conv2"),
    )
    (grid,) = readable(Table(rows), "t")
    assert grid.columns == ("layer", "measure", "value")
    assert grid.rows == (("conv1", "loss", "0.123"), ("conv2", "loss", "undefined (1)"))
    assert grid.notes == ("(1) dead",)
    assert readable(Table(), "t")[0].rows == ()


@pytest.mark.parametrize(
    "command", ["train", "evaluate", "capture", "similarity", "distance", "freeze", "study", "report", "inspect"]
)
def test_help_tells_each_default_once_in_words(command, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([command, "--help"])
    assert stopped.value.code == 0
    told = " ".join(re.sub("[│╭╮╰╯─]", " ", capsys.readouterr().out).split())
    assert "None" not in told
    assert "(default: )" not in told
    assert not re.search(r"\(default[^)]*\)\.? \(default", told)
