"""Pickles of few-shot data sets: read without executing anything, converted to class folders."""

from __future__ import annotations

import collections
import contextlib
import os
import pickle
import re
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metaprobe.probe.cli import main
from metaprobe.trainers.errors import UnreadableInput
from metaprobe.trainers.formats.array_pickle import read_array_pickle
from metaprobe.trainers.tasks import load_imageset


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METAPROBE_CACHE", str(tmp_path / "cache"))


def dump(path: Path, content: Any, protocol: int = 2) -> Path:
    path.write_bytes(pickle.dumps(content, protocol))
    return path


def images(count: int, seed: int = 0, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 8, 8, channels), dtype=np.uint8)


def mini(path: Path, classes: list[str], protocol: int = 2) -> np.ndarray:
    """Write a pickle as mini-imagenet-cache-train.pkl is: two images a class."""
    pixels = images(2 * len(classes), len(classes))
    dump(path, {"image_data": pixels, "class_dict": {n: [2 * i, 2 * i + 1] for i, n in enumerate(classes)}}, protocol)
    return pixels


# --- reading ---


@pytest.mark.parametrize("protocol", range(6))
def test_every_protocol_gives_what_was_pickled(tmp_path: Path, protocol: int) -> None:
    content = {
        "image_data": images(3), "text": "é", b"bytes": b"\0\xff", 3: [1.5, -2, 2**70, None, True, False],
        "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)), "names": np.array(["ab", "c"]),
        "big-endian": np.arange(3, dtype=">i4"), "scalar": np.int64(4), "empty": [[], {}, np.zeros((0, 3))],
        "ordered": collections.OrderedDict(a=[1]), "default": collections.defaultdict(list, b=[2]),
        "tuple": (1, (2, 3, 4)),
    }  # fmt: skip
    found = read_array_pickle(dump(tmp_path / "x.pkl", content, protocol))
    assert list(found) == list(content)
    for name in ("image_data", "fortran", "names", "big-endian", "scalar"):
        np.testing.assert_array_equal(found[name], content[name])
        assert found[name].dtype == content[name].dtype
    assert found[3] == content[3]
    assert (found["text"], found[b"bytes"], found["tuple"]) == ("é", b"\0\xff", [1, [2, 3, 4]])
    assert (found["ordered"], found["default"]) == ({"a": [1]}, {"b": [2]})


def test_a_pickle_of_python_2_is_read(tmp_path: Path) -> None:
    r"""As Python 2 wrote it: arrays and keys are of its strings of bytes."""
    pixels = np.arange(6, dtype=np.uint8)
    said = (
        b"\x80\x02}q\x00U\x04dataq\x01cnumpy.core.multiarray\n_reconstruct\nq\x02cnumpy\nndarray\nq\x03K\x00\x85U\x01b"
    )
    said += (
        b"\x87Rq\x04(K\x01K\x06\x85cnumpy\ndtype\nq\x05U\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff"
    )
    said += b"\xff\xffK\x00tb\x89U\x06" + pixels.tobytes() + b"tbs."
    (tmp_path / "x.pkl").write_bytes(said)
    np.testing.assert_array_equal(read_array_pickle(tmp_path / "x.pkl")["data"], pixels)


class Runs:
    """Whoever unpickles it runs what it says."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.made = function, arguments

    def __reduce__(self) -> Any:
        return self.made


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize(
    "attack",
    [
        lambda mark: Runs(os.system, f"touch {mark}"),
        lambda mark: Runs(eval, f"open({str(mark)!r}, 'w')"),
        lambda mark: Runs(getattr, str, "join"),
        lambda mark: Runs(np.load, str(mark)),
        lambda mark: np.array([Runs(os.system, f"touch {mark}")], dtype=object),
        lambda mark: np.zeros(2, dtype=[("a", "u1"), ("b", "f4")]),
        lambda mark: {1, 2},
        lambda mark: Path(mark),
        lambda mark: {(1, 2): 3},
        lambda mark: np.dtype("u1"),
    ],
)
def test_what_is_more_than_arrays_in_containers_is_refused(tmp_path: Path, attack: Any, protocol: int) -> None:
    mark = tmp_path / "executed"
    path = dump(tmp_path / "x.pkl", {"image_data": attack(mark), "class_dict": {}}, protocol)
    with pytest.raises(UnreadableInput, match=r"x\.pkl: .*; nothing of it was executed\."):
        read_array_pickle(path)
    assert not mark.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"", b".", b"}", b"\x80\x02}.trailing"[:-9], b"cnumpy\nndarray\n.", b"0.", b"s.", b"u.", b"h\x05.", b"(t",
        b"N\x85b.",
        b"\x8e" + struct.pack("<Q", 1 << 60) + b"x.",
        b"]" + b"]" * 5000 + b"a" * 5000 + b".", b"]q\x00h\x00a.", b"(\x88\x88R.", b"\x82\x01.", b"]Nb.",
        b"cnumpy.core.multiarray\n_reconstruct\n)R(K\x01K\xff\x85cnumpy\ndtype\nU\x02u1\x85R\x89U\x01xtb.",
        b"cnumpy.core.multiarray\n_reconstruct\n)R(K\x01J\xff\xff\xff\xff\x85cnumpy\ndtype\nU\x02u1\x85R\x89U\x00tb.",
        b"cnumpy\ndtype\nU\x0fi4,(1000000000)i4\x85R.", b"c_codecs\nencode\nK\x01\x85R.", b"cnumpy\ndtype\n)R.",
    ],
)  # fmt: skip
def test_damaged_and_hostile_instructions_are_a_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.pkl").write_bytes(content)
    with pytest.raises(UnreadableInput, match=r"x\.pkl: ") as caught:
        read_array_pickle(tmp_path / "x.pkl")
    assert "\n" not in str(caught.value)


def test_any_change_of_a_byte_ends_in_a_sentence_or_in_arrays(tmp_path: Path) -> None:
    good = pickle.dumps({"image_data": images(1), "class_dict": {"a": [0]}}, 2)
    path, generator = tmp_path / "x.pkl", np.random.default_rng(0)
    for _ in range(400):
        content = bytearray(good[:-192] if len(good) < 192 else good)
        for _ in range(int(generator.integers(1, 4))):
            content[int(generator.integers(0, len(content)))] = int(generator.integers(0, 256))
        path.write_bytes(
            content[: int(generator.integers(1, len(content) + 1))] if generator.random() < 0.2 else content
        )
        with contextlib.suppress(UnreadableInput):
            read_array_pickle(path)


# --- converting ---


def run(*words: object) -> int:
    return main([str(word) for word in words])


def test_mini_imagenet_becomes_class_folders_with_its_splits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pixels = {}
    for split, classes in (("train", ["n01", "n02"]), ("val", ["n03"]), ("test", ["n04", "n05"])):
        pixels[split] = mini(tmp_path / f"mini-imagenet-cache-{split}.pkl", classes)
    files = sorted(tmp_path.glob("*.pkl"))
    assert run("convert", *files, "--out", tmp_path / "mini") == 0
    assert capsys.readouterr().out.startswith("10 images of 5 classes in test, train, val\n")
    made = load_imageset(f"class_folder:{tmp_path / 'mini'}")
    found = dict(zip(made.class_names, made.splits, strict=True))
    assert found == {"n01": "train", "n02": "train", "n03": "val", "n04": "test", "n05": "test"}
    whole = np.concatenate([pixels["test"], pixels["train"], pixels["val"]])
    np.testing.assert_array_equal(made.images, np.moveaxis(whole, 3, 1))
    assert run("convert", *files, "--out", tmp_path / "mini") == 2
    assert "is there and is no empty folder" in capsys.readouterr().err


@pytest.mark.parametrize("labels", [[0, 2, 0, 2], np.array([0, 2, 0, 2]), [np.int64(0), np.int64(2)] * 2])
@pytest.mark.parametrize("named", [False, True])
def test_labels_beside_data_are_read_as_cifar_fs_has_them(tmp_path: Path, labels: Any, named: bool) -> None:
    more = {b"catname2label": {b"cat": 0, b"dog": 2}} if named else {}
    path = dump(tmp_path / "CIFAR_FS.pickle", {b"data": images(4, channels=1), b"labels": labels, **more})
    assert run("convert", path, "--out", tmp_path / "out") == 0
    names = ["cat", "dog"] if named else ["000", "002"]
    assert sorted(os.listdir(tmp_path / "out")) == names
    assert len(os.listdir(tmp_path / "out" / names[1])) == 2


@pytest.mark.parametrize(
    ("files", "match", "status"),
    [
        ({}, "at least one pickle", 2),
        ({"a.pkl": None, "b.pkl": None}, "the name of .* says no split", 2),
        ({"train.pkl": None, "my-train.pkl": None}, "are both of split train", 2),
        ({"x.pkl": [1, 2]}, "holds a list; expected a dict with 'image_data'", 3),
        ({"x.pkl": {"a": 1}}, "holds 'a'; expected", 3),
        ({"x.pkl": {"image_data": [1], "class_dict": {}}}, "expected images as uint8 .*; got list", 3),
        ({"x.pkl": {"image_data": np.zeros((2, 4, 4, 3)), "class_dict": {}}}, r"got float64 \(2, 4, 4, 3\)", 3),
        ({"x.pkl": {"image_data": images(2), "class_dict": {"a": [0]}}}, "a class for each of its 2 images", 3),
        ({"x.pkl": {"image_data": images(2), "class_dict": {"a": [0, 0]}}}, "or some twice", 3),
        ({"x.pkl": {"image_data": images(1), "class_dict": {"../../a": [0]}}}, "no folder can be called", 3),
        ({"x.pkl": {"image_data": images(1), "class_dict": {"": [0]}}}, "no folder can be called", 3),
        ({"x.pkl": {"data": images(1), "labels": ["a"]}}, "a class for each of its 1 images", 3),
    ],
)  # fmt: skip
def test_what_cannot_be_converted_is_a_sentence_and_leaves_nothing(
    tmp_path: Path, files: dict[str, Any], match: str, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, content in files.items():
        dump(tmp_path / name, content)
    before = sorted(os.listdir(tmp_path))
    assert run("convert", *(tmp_path / name for name in files), "--out", tmp_path / "out") == status
    assert re.search(match, capsys.readouterr().err)
    assert sorted(os.listdir(tmp_path)) == before
