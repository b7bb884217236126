"""`metaprobe similarity` of two stores."""

import json

import pytest

from metaprobe.probe.cli import main
from tests.captures import some_tasks
from tests.compared_stores import TASKS, capture


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    base = tmp_path_factory.mktemp("compare")
    return tuple(capture(base / f"{name}.h5", seed) for name, seed in (("a", 1), ("b", 2)))


def cli(capsys, *words):
    status = main(["similarity", "--over", "tasks", *map(str, words)])
    out, err = capsys.readouterr()
    return status, out, err


def test_the_command_compares_every_two_stores(stores, capsys, tmp_path):
    third = capture(tmp_path / "c.h5", 3)
    csv, figure = tmp_path / "t.csv", tmp_path / "t.svg"
    words = (
        *stores,
        third,
        "--measures",
        "cka",
        "--phases",
        "pre-pre",
        "--csv",
        csv,
        "--figure",
        figure,
        "--json",
        "--replicates",
        "39",
        "--permutations",
        "2",
    )
    status, out, _ = cli(capsys, *words)
    found = json.loads(out)
    assert status == 0
    assert len(found) == 3 * (25 + 5) == len(csv.read_text().splitlines()) - 1
    assert {row["phase"] for row in found} == {"pre-pre"}
    assert len({(row["checkpoint"], row["other_checkpoint"]) for row in found}) == 3
    assert figure.read_text().startswith("<svg") and "Before adaptation" in figure.read_text()


def test_each_store_by_itself_as_before(stores, capsys):
    status, out, _ = cli(capsys, *stores, "--each", "--measures", "cka", "--permutations", "2")
    assert status == 0
    lines = [line.split("\t") for line in out.splitlines()]
    assert "other_layer" not in lines[0]
    assert {row[lines[0].index("phase")] for row in lines[1:]} == {"pre-post"}


def test_matching_layers_and_a_pdf(stores, capsys, tmp_path):
    figure = tmp_path / "t.pdf"
    few = ("--replicates", "39", "--permutations", "2")
    status, out, _ = cli(capsys, *stores, "--measures", "cka", "--layers", "matching", "--figure", figure, *few)
    assert status == 0
    assert figure.read_bytes().startswith(b"%PDF")
    assert len(out.splitlines()) == 1 + 2 * 5 * 2


@pytest.mark.parametrize(
    ("words", "status", "what"),
    [
        (["{a}", "{a}"], 2, "a.h5 is given twice; name each store once, or compare with itself by --each"),
        (["{a}", "{b}", "--phases", "pre"], 2, "unknown phase 'pre'. Did you mean pre-pre"),
        (["{a}", "{b}", "--phases", ""], 2, "give at least one phase after --phases; got none"),
        (["{a}", "{b}", "--figure", "x.gif"], 2, "by the file's ending, .svg, .pdf or .png; got x.gif"),
        (["{a}", "{b}", "--each", "--phases", "pre-pre"], 2, "--phases is for comparing stores with each other"),
        (["{a}", "missing.h5"], 3, "missing.h5"),
        (["{a}", "{text}"], 3, "text.h5"),
    ],
)  # fmt: skip
def test_bad_input_is_told_in_one_line(stores, capsys, tmp_path, words, status, what):
    text = tmp_path / "text.h5"
    text.write_text("no store")
    given = [word.format(a=stores[0], b=stores[1], text=text) for word in words]
    code, out, err = cli(capsys, *given, "--measures", "cka")
    assert (code, out) == (status, "")
    assert err.count("\n") == 1 and what in err


def test_a_store_and_its_copy_are_told_whatever_is_compared(stores, capsys, tmp_path):
    """Rows name stores by their bytes: those of a copy, and its map, would be taken for the other's."""
    copy = tmp_path / "copy.h5"
    copy.write_bytes(stores[0].read_bytes())
    told = f"error: {copy} is a copy of {stores[0]}, byte for byte; name each store once"
    assert cli(capsys, *stores, copy, "--measures", "cka") == (2, "", f"{told}, or compare with itself by --each\n")
    assert cli(capsys, *stores, copy, "--each", "--measures", "cka") == (2, "", f"{told}\n")


def test_another_task_set_is_told_in_one_line(stores, capsys, tmp_path):
    other = capture(tmp_path / "o.h5", 2, some_tasks(TASKS, n_query=5))
    status, out, err = cli(capsys, stores[0], other)
    assert (status, out) == (2, "")
    assert "were not captured on the same tasks: query images in a task: expected 12" in err and err.count("\n") == 1
