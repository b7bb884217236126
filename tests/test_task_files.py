"""Tasks from a .npz file: what is read, what is refused, and what the commands make of them."""

import io
import json

import numpy as np
import pytest
import torch

from metaprobe.probe.cli import main
from metaprobe.trainers.errors import MetaprobeError, UnreadableInput
from metaprobe.trainers.tasks import load_data
from metaprobe.trainers.tasks.data import task_sampler
from metaprobe.trainers.tasks.given import tasks_of_arrays


def arrays(tasks=12, ways=2, shots=2, queries=3, shape=(4,), regression=False, seed=0):
    generator = np.random.default_rng(seed)
    found = {}
    for part, each in (("support", shots), ("query", queries)):
        y = np.tile(np.repeat(np.arange(ways), each), (tasks, 1))
        found[f"{part}_x"] = generator.normal(size=(tasks, ways * each, *shape)) + y.reshape(
            *y.shape, *[1] * len(shape)
        )
        found[f"{part}_y"] = generator.normal(size=(*y.shape, 3)) if regression else y
    return found


def written(path, **changes):
    np.savez(path, **(arrays() | changes))
    return path


def test_tasks_are_those_of_the_file(tmp_path):
    given, split = arrays(), np.array(["train"] * 5 + ["val"] * 3 + ["test"] * 4)
    data = load_data(f"tasks:{written(tmp_path / 't.npz', split=split)}")
    assert (data.loss, data.input_shape, dict(data.settings)) == (
        "cross-entropy", (4,), {"n_way": 2, "n_shot": 2, "n_query": 3}
    )  # fmt: skip
    tasks = task_sampler(data, "test", 2, 2, 3, seed=7).batch([0, 3])
    np.testing.assert_array_equal(tasks.support.images.numpy(), given["support_x"][[8, 11]].astype(np.float32))
    np.testing.assert_array_equal(tasks.query.labels.numpy(), given["query_y"][[8, 11]])
    train = task_sampler(data, "train", 2, 2, 3, seed=0)
    first = [int(train.batch([index]).support.ids[0, 0]) for index in range(10)]
    assert set(first[:5]) == set(first[5:]) and len(set(first)) == 5 and first[:5] != first[5:]
    with pytest.raises(MetaprobeError, match="has 3 val tasks, and more were asked for; give --val-tasks 3 or fewer"):
        task_sampler(data, "val", 2, 2, 3, seed=0).batch([3])
    with pytest.raises(MetaprobeError, match="have n_way 2; got 5"):
        task_sampler(data, "test", 5, 2, 3, seed=0)
    other = load_data(f"tasks:{written(tmp_path / 'u.npz', support_x=given['support_x'] + 1)}")
    assert len(data.fingerprint) == 64 and data.fingerprint != other.fingerprint
    with pytest.raises(MetaprobeError, match="has no train tasks; add an array `split`"):
        task_sampler(other, "train", 2, 2, 3, seed=0)


def _unbalanced():
    y = arrays()["support_y"]
    y[3] = [0, 0, 0, 1]
    return y


def _unfinite():
    x = arrays()["query_x"]
    x[2, 1, 0] = np.inf
    return x


REFUSED = {
    "samples": (
        {"support_y": arrays(shots=3)["support_y"]},
        r"support_y has shape \(12, 6\) and support_x \(12, 4, 4\)",
    ),
    "tasks": ({key: arrays(tasks=5)[key] for key in ("query_x", "query_y")}, "first 1 axes must agree: task"),
    "unlike": ({"query_x": arrays(shape=(5,))["query_x"]}, "samples must be of one kind and shape"),
    "unfinite": ({"query_x": _unfinite()}, "query_x holds NaN or infinite entries, the first in task 2"),
    "unbalanced": ({"support_y": _unbalanced()}, "support_y has from 1 to 3 samples of a class in a task"),
    "negative": ({"support_y": arrays()["support_y"] - 1}, "count classes from 0 on"),
    "objects": ({"support_x": np.array([{}] * 12, dtype=object)}, "holds Python objects"),
    "other": ({"weights": np.ones(3)}, "holds an array 'weights', which tasks do not have"),
    "split": ({"split": np.array(["dev"] * 12)}, "split must hold one of train, val, test"),
    "text": ({"support_y": np.full((12, 4), "a")}, "support_y is str.* expected numbers"),
}


@pytest.mark.parametrize(("changes", "told"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused_is_one_sentence(tmp_path, changes, told):
    path = written(tmp_path / "t.npz", **changes)
    with pytest.raises(UnreadableInput, match=told) as caught:
        load_data(f"tasks:{path}")
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_other_files_are_refused(tmp_path, monkeypatch):
    stream = io.BytesIO()
    np.save(stream, np.ones(3))
    (tmp_path / "t.npz").write_bytes(stream.getvalue())
    np.savez(tmp_path / "u.npz", support_x=np.ones((2, 2, 2)))
    for name, told in (("t", "expected a .npz file with the arrays"), ("u", "lacks the array support_y")):
        with pytest.raises(UnreadableInput, match=told):
            load_data(f"tasks:{tmp_path / name}.npz")
    with pytest.raises(UnreadableInput, match="cannot be opened"):
        load_data("tasks:/nowhere.npz")
    with pytest.raises(MetaprobeError, match=r"expected tasks:FILE\.npz"):
        load_data("tasks")

    class Memory:
        total = 4000

    monkeypatch.setattr("metaprobe.trainers.tasks.task_file.psutil.virtual_memory", Memory)
    with pytest.raises(UnreadableInput, match="more than a quarter of this machine's memory"):
        load_data(f"tasks:{written(tmp_path / 'v.npz')}")


def test_tasks_in_memory_are_checked_too():
    given = arrays(regression=True)
    tasks = tasks_of_arrays(**{name: torch.from_numpy(value) for name, value in given.items()}, indices=range(5, 17))
    assert tasks.support.labels.dtype == torch.float64 and tasks.indices[0] == 5
    assert len(set(torch.cat([tasks.support.ids, tasks.query.ids], dim=1).flatten().tolist())) == 12 * 10
    pixels = arrays(shape=(3, 8, 8))
    pixels |= {name: np.full(pixels[name].shape, 255, np.uint8) for name in ("support_x", "query_x")}
    assert float(tasks_of_arrays(**pixels).support.images.max()) == 1.0
    with pytest.raises(
        MetaprobeError, match=r"support_x is torch.float64 \(12, 4\); expected numbers \(task, sample, …\)"
    ):
        tasks_of_arrays(**(given | {"support_x": given["support_x"][..., 0]}))


def test_commands(tmp_path, capsys):
    split = np.array(["train"] * 6 + ["val"] * 2 + ["test"] * 4)
    vectors = f"tasks:{written(tmp_path / 't.npz', split=split)}"
    run = ("--iterations", "2", "--meta-batch", "2", "--chunk", "2", "--gradient", "unrolled", "--inner-steps", "1")
    out = str(tmp_path / "run")
    assert main(["train", "anil", "--data", vectors, "--val-tasks", "2", "--filters", "5", "--out", out, *run]) == 0
    assert "validation accuracy" in capsys.readouterr().out
    last = f"{out}/checkpoints/last.safetensors"
    assert main(["evaluate", last, "--tasks", "4", "--head", "nil", "--json"]) == 0  # classes have it
    assert json.loads(capsys.readouterr().out)[0]["n"] == 4
    images = tmp_path / "i.npz"
    np.savez(images, **arrays(shape=(1, 16, 16)), split=split)
    words = ["--data", f"tasks:{images}", "--val-tasks", "2", "--filters", "4", "--out", str(tmp_path / "conv"), *run]
    assert main(["train", "maml", *words]) == 0
    tokens = tmp_path / "w.npz"
    ids = {name: np.ones_like(arrays()[name], dtype=np.int64) for name in ("support_x", "query_x")}
    np.savez(tokens, **(arrays() | ids), split=split)
    told = {
        ("evaluate", last): "has 4 test tasks, and more were asked for; give --tasks 4 or fewer",
        ("evaluate", last, "--tasks", "4", "--n-query", "9"): "have n_query 3; got 9",
        ("evaluate", last, "--data", f"tasks:{images}"): "trained on vectors of 4",
        ("evaluate", last, "--data", "sinusoid"): "trained on vectors of 4; sinusoid has 1",
        ("train", "maml", "--data", f"tasks:{tokens}", "--val-tasks", "2", "--out", out + "2"): "token ids",
        ("train", "maml", "--data", vectors, "--n-shot", "9", "--out", out + "3"): "n_shot 2; got --n-shot 9",
        ("train", "multiclass", "--data", vectors, "--out", out + "4"): "tasks alone",
        ("train", "tsa_maml", "--data", vectors, "--out", out + "5"): "--base",
        ("clusters", last): "",
    }
    capsys.readouterr()
    for command, sentence in told.items():
        assert main(list(command)) == 2, command
        err = capsys.readouterr().err
        assert sentence in err and "error: " in err, (command, err)
