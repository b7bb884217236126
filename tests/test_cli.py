"""The command line end to end, on tiny runs: what it prints, where it writes, how it exits."""

import io
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from metaprobe.probe.cli import main
from tests.conftest import make_imageset

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Class folders on disk and a run trained on them."""
    base = tmp_path_factory.mktemp("cli")
    imageset = make_imageset(15, 20, 28)
    lists = {"train": [], "val": [], "test": []}
    for class_id, name in enumerate(imageset.class_names):
        place = base / "pictures" / name
        place.mkdir(parents=True)
        lists[imageset.splits[class_id]].append(name)
        for number, image in enumerate(imageset.images_of(class_id)):
            Image.fromarray(imageset.images[image, 0]).save(place / f"{number}.png")
    for split, names in lists.items():
        (base / "pictures" / f"{split}.txt").write_text("\n".join(names) + "\n")
    assert train(base, "maml") == 0
    return base


def train(base, algorithm, *more, out=None):
    return main([
        "train", algorithm, "--data", f"class_folder:{base / 'pictures'}", "--out", str(out or base / algorithm),
        "--n-way", "3", "--n-query", "2", "--iterations", "4", "--meta-batch", "2", "--inner-steps", "2",
        "--filters", "4", "--val-tasks", "4", "--val-every", "2", *more,
    ])  # fmt: skip


def last(base):
    return str(base / "maml" / "checkpoints" / "last.safetensors")


def rows(text):
    lines = [line.split("\t") for line in text.splitlines()]
    return [dict(zip(lines[0], line, strict=True)) for line in lines[1:]]


def test_an_interrupt_while_the_command_line_is_imported_is_a_line():
    code = (
        "import sys, metaprobe.__main__ as start\n"
        "class Interrupt:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'tyro': raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupt())\n"
        "sys.exit(start.run())"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "error: interrupted\n")


def test_train_again_is_a_resume_that_changes_nothing(folder, capsys):
    before = Path(last(folder)).read_bytes()
    assert train(folder, "maml") == 0
    assert Path(last(folder)).read_bytes() == before
    assert "validation accuracy" in capsys.readouterr().out
    assert train(folder, "maml", "--inner-lr", "0.2") == 2
    assert "inner_lr: 0.1 there, 0.2 asked" in capsys.readouterr().err


def test_evaluate_normalises_queries_as_asked(folder, capsys):
    found = {}
    for norm in (None, "transductive", "non-transductive", "one-query"):
        words = [] if norm is None else ["--norm", norm]
        assert main(["evaluate", last(folder), "--tasks", "5", "--json", *words]) == 0
        found[norm] = {row["measure"]: row for row in json.loads(capsys.readouterr().out)}
    assert found[None] == found["transductive"]  # what it was trained with, of which a row says nothing
    losses = [found[norm]["loss"]["value"] for norm in ("transductive", "non-transductive", "one-query")]
    assert len(set(losses)) == 3
    assert "one by one, with the statistics of the support set" in found["one-query"]["accuracy"]["reason"]


def test_training_with_one_query_at_a_time_is_refused_in_a_sentence(tmp_path, capsys):
    words = ["train", "maml", "--data", "glyphs", "--norm", "one-query", "--out", str(tmp_path / "run")]
    assert main(words) == 2
    told = " ".join(capsys.readouterr().err.split())
    assert "--norm one-query is a way of testing" in told and "train with transductive or non-transductive" in told


def test_evaluate_own_nil_frozen(folder, capsys):
    for options in ((), ("--head", "nil"), ("--freeze", "conv1,conv2"), ("--inner-steps", "0")):
        assert main(["evaluate", last(folder), "--tasks", "5", *options]) == 0
        found = rows(capsys.readouterr().out)
        assert [row["measure"] for row in found] == ["accuracy", "loss"]
        assert float(found[0]["low"]) <= float(found[0]["value"]) <= 100.0
        assert found[0]["n"] == "5"


def test_freeze_pairs_its_columns_and_carries_the_random_row(folder, capsys, tmp_path):
    csv = tmp_path / "freezing.csv"
    assert main(["freeze", last(folder), "--tasks", "6", "--inner-steps", "2", "4", "--csv", str(csv)]) == 0
    found = rows(capsys.readouterr().out)
    accuracy = [row for row in found if row["measure"] == "accuracy"]
    assert {row["algorithm"] for row in accuracy} == {"maml", "random"}
    blocks = ["", "conv1", "conv1,conv2", "conv1,conv2,conv3", "conv1,conv2,conv3,conv4"]
    trained = [row for row in accuracy if row["algorithm"] == "maml" and row["inner_steps"] == "2"]
    assert [row["frozen"] for row in trained] == blocks
    assert [row["frozen"] for row in accuracy if row["inner_steps"] == "4"] == [blocks[0], blocks[-1]] * 2
    for row in (row for row in found if row["measure"] == "accuracy_difference"):
        assert row["minus"] == "frozen=none"
        same = [a for a in accuracy if all(a[k] == row[k] for k in ("algorithm", "inner_steps"))]
        value = {a["frozen"]: float(a["value"]) for a in same}
        assert float(row["value"]) == pytest.approx(value[row["frozen"]] - value[""])
    assert len(csv.read_text().splitlines()) == len(found) + 1
    assert main(["freeze", last(folder), "--tasks", "4", "--sets", "conv3,conv4", "--json"]) == 0
    assert {row["frozen"] for row in json.loads(capsys.readouterr().out)} == {"", "conv3,conv4"}


def test_capture_similarity_distance(folder, capsys, tmp_path):
    store = tmp_path / "store.h5"
    assert main(["capture", last(folder), "--out", str(store), "--tasks", "6", "--steps", "all"]) == 0
    capsys.readouterr()
    assert main(["similarity", str(store), "--measures", "cca,cka,debiased_cka"]) == 0
    found = rows(capsys.readouterr().out)
    assert {row["layer"] for row in found} == {"conv1", "conv2", "conv3", "conv4", "head"}
    assert {row["step"] for row in found} == {"1", "2"}
    nulls = {row["measure"] for row in found if row["measure"].endswith("_null")}
    assert nulls == {"mean_cca_null", "linear_cka_null", "debiased_cka_null"}
    conv1 = next(row for row in found if row["layer"] == "conv1" and row["measure"] == "linear_cka")
    assert 0.8 < float(conv1["value"]) <= 1.0
    assert main(["similarity", str(store), "--measures", "ckka"]) == 2
    assert "unknown measure 'ckka'. Did you mean" in capsys.readouterr().err
    assert main(["distance", last(folder), "--tasks", "4", "--device", "cpu"]) == 0
    found = rows(capsys.readouterr().out)
    head = next(row for row in found if row["layer"] == "head" and row["measure"] == "euclidean_distance")
    assert float(head["value"]) > 0


def test_inspect_and_diff_exit_status(folder, capsys):
    start = str(Path(last(folder)).with_name("start.safetensors"))
    assert main(["inspect", last(folder), "--json", "--stats"]) == 0
    assert json.loads(capsys.readouterr().out)
    assert main(["diff", last(folder), last(folder)]) == 0
    assert main(["diff", start, last(folder)]) == 1
    assert main(["inspect", str(folder / "nothing.safetensors")]) == 3
    assert main(["inspect", str(folder / "pictures" / "class00" / "0.png")]) == 3
    assert "Traceback" not in capsys.readouterr().err


def test_usage_errors_exit_2_and_damage_exits_3(folder, capsys, tmp_path):
    assert main(["train", "mamml", "--data", "glyphs"]) == 2
    assert "Did you mean maml" in capsys.readouterr().err
    assert main(["train", "maml", "--data", "omniglot", "--data-root", str(tmp_path)]) == 3
    told = capsys.readouterr().err
    assert str(tmp_path) in told
    assert "--download" in told
    assert train(folder, "maml", "--n-way", "9", out=tmp_path / "a") == 2
    assert "fewer than n_way=9" in capsys.readouterr().err
    assert train(folder, "maml", "--iterations", "0", out=tmp_path / "b") == 2
    assert main(["evaluate", last(folder), "--tasks", "3", "--freeze", "conv7"]) == 2
    assert "unknown layer 'conv7'" in capsys.readouterr().err
    damaged = tmp_path / "damaged.safetensors"
    content = bytearray(Path(last(folder)).read_bytes())
    content[-3] ^= 0x40
    damaged.write_bytes(content)
    assert main(["evaluate", str(damaged), "--tasks", "3"]) == 3
    assert "changed after the file was written" in capsys.readouterr().err
    assert main(["inspect", str(damaged)]) == 0  # without --stats no value is read
    assert main(["inspect", str(damaged), "--stats"]) == 3
    assert "not the ones that its fingerprint was taken of" in capsys.readouterr().err
    with pytest.raises(SystemExit) as stopped:
        main(["train", "maml", "--data", "glyphs", "--n-wy", "3"])
    assert stopped.value.code == 2


def test_a_damaged_image_is_named(tmp_path, capsys):
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
        Image.fromarray(np.zeros((28, 28), np.uint8)).save(tmp_path / name / "0.png")
    (tmp_path / "b" / "0.png").write_bytes(b"\x89PNG not really")
    assert main(["train", "maml", "--data", f"class_folder:{tmp_path}", "--out", str(tmp_path / "run")]) == 3
    assert str(tmp_path / "b" / "0.png") in capsys.readouterr().err


def test_a_closed_pipe_is_no_error(folder):
    done = subprocess.run(
        f"{sys.executable} -m metaprobe inspect {last(folder)} | head -1",
        shell=True, cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stderr == ""


def test_a_depth_below_zero_and_a_device_that_is_not_there(folder, capsys):
    assert main(["inspect", last(folder), "--depth", "-1"]) == 2
    assert "--depth must be at least 0; got -1" in capsys.readouterr().err
    for command in ("freeze", "distance", "capture", "evaluate"):
        more = ["--out", str(folder / "x.h5")] if command == "capture" else []
        assert main([command, last(folder), "--tasks", "2", "--device", "cuda:99", *more]) == 2
        assert "--device cuda:99 was asked for" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["distance", "capture"])
def test_an_out_that_cannot_be_written_is_named_as_it_was_asked_for(folder, capsys, tmp_path, command):
    place = tmp_path / "taken"
    place.mkdir()
    flag = "--csv" if command == "distance" else "--out"
    assert main([command, last(folder), "--tasks", "2", flag, str(place)]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"error: {place} is a folder") and told.count("\n") == 1
    assert ".part" not in told


@pytest.mark.parametrize(
    ("words", "closed", "status"),
    [("inspect {}", ">&-", 0), ("list measures", ">&-", 0), ("--help", ">&-", 0), ("inspect nothing", ">&- 2>&-", 3)],
)
def test_closed_streams_change_nothing_but_what_is_said(folder, words, closed, status):
    done = subprocess.run(
        f"{sys.executable} -m metaprobe {words.format(last(folder))} {closed}",
        shell=True, cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (status, "", "")


class Terminal(io.StringIO):
    """Standard output that says it is a terminal."""

    def isatty(self):
        return True


def on_terminal(monkeypatch, *words):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "25")
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr(sys, "stdout", Terminal())
    assert main(list(words)) == 0
    return sys.stdout.getvalue()


def test_tables_fit_a_terminal_of_80_columns(folder, monkeypatch, tmp_path):
    frozen = on_terminal(monkeypatch, "freeze", last(folder), "--tasks", "5", "--inner-steps", "2", "4")
    assert max(map(len, frozen.splitlines())) <= 80
    assert re.search(r"^ *post +conv1–3 +own +2 +accuracy +\d+\.\d", frozen, re.M)
    assert re.search(r"^ *post +none +own +2 +accuracy +\d+\.\d \[\S+, \S+\]", frozen, re.M)  # nothing cut off
    assert re.search(r"^ *post +conv1–4 − none +own +2 +accuracy_difference +-\d+\.\d \[\S+, \S+\]", frozen, re.M)
    assert re.search(r" nil +0 +reuse_index +undefined \(1\)", frozen)
    assert re.search(r"^\(1\) the gain over random features\s", frozen, re.M)
    learners = re.findall(r"· algorithm (\w+) · seed 0 · iteration (\d)", frozen)
    assert learners[:2] == [("maml", "4"), ("random", "0")]  # then, where it has a number, the reuse index
    store = tmp_path / "store.h5"
    assert main(["capture", last(folder), "--out", str(store), "--tasks", "4", "--steps", "all"]) == 0
    similar = on_terminal(monkeypatch, "similarity", str(store))
    assert max(map(len, similar.splitlines())) <= 80
    assert re.search(r"^ *conv1 +1 +positions +debiased_cka_null ", similar, re.M)
    assert re.search(r" \d,\d{3}\b", similar)
    assert "algorithm maml" in on_terminal(monkeypatch, "evaluate", last(folder), "--tasks", "4")
