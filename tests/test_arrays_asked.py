"""Similarity of arrays on the command line: what is asked in vain is refused or told, never passed over."""

import re

import numpy as np
import pytest

from metaprobe.analyses.table import Table
from metaprobe.probe.cli import main

FEW = ("--measures", "linear_cka", "--replicates", "39", "--permutations", "0")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    generator = np.random.default_rng(0)
    for name, shape in {"x": (40, 6), "y": (40, 5), "maps": (40, 3, 4, 4)}.items():
        np.save(tmp_path / f"{name}.npy", generator.normal(size=shape))
    np.save(tmp_path / "large.npy", 1e200 * np.load(tmp_path / "x.npy"))
    np.save(tmp_path / "one.npy", np.zeros(40, np.int64))
    monkeypatch.chdir(tmp_path)


def only_row(*words):
    assert main(["similarity", *words, "--csv", "out.csv"]) == 0
    (row,) = Table.read_csv("out.csv").rows
    return row


@pytest.mark.parametrize(
    ("words", "status", "told"),
    [
        (("x.npy", "large.npy"), 3, "large.npy: among samples 0 to 39 an entry is .*e\\+200 in size, above 1e\\+70"),
        (("maps.npy", "x.npy", "--samples", "images", "--channel-axis", "2"), 2, "and a sample is the whole of an"),
        (("x.npy", "y.npy", "--channel-axis", "9"), 2, "--channel-axis 9 .* and no array has more than two axes"),
        (("x.npy", "y.npy", "--measures", "cka,linear_cka"), 2, "cka, linear_cka: the same measure more than once"),
        (("x.npy", "y.npy", "--measures", "cka,cka"), 2, "cka,cka has cka more than once; name each once"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(words, status, told, folder, capsys):
    assert main(["similarity", words[0], words[1], *FEW, *words[2:]]) == status
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert re.search(told, err), err


def test_a_missing_interval_and_rows_that_do_not_belong_together_say_why(folder):
    row = only_row("x.npy", "y.npy", *FEW, "--groups", "one.npy")
    assert (row.low, row.high, row.reason) == (None, None, "no interval: all samples are in one group")
    row = only_row("x.npy", "maps.npy", *FEW)
    assert "x.npy has one row a sample and maps.npy has 4 × 4 positions a sample" in row.reason
    nobody_asked = only_row("x.npy", "y.npy", *FEW, "--replicates", "0")
    assert (nobody_asked.low, nobody_asked.reason) == (None, None)
