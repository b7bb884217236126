"""Parquet files of images and labels, as the Hugging Face Hub keeps them."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from metaprobe.trainers.errors import MetaprobeError, UnreadableInput
from metaprobe.trainers.tasks import load_imageset
from metaprobe.trainers.tasks.class_folder import split_by_hash
from metaprobe.trainers.tasks.imageset import ImageSet

NAMES = ["apple", "bus", "cat", "dog"]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METAPROBE_CACHE", str(tmp_path / "cache"))


def png(value: int, size: int = 8) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.full((size, size, 3), (value, 0, 200), np.uint8)).save(stream, "png")
    return stream.getvalue()


def write(path: Path, labels: list[int | str | None], names: list[str] | None = NAMES, **columns: list[object]) -> Path:
    """Write rows whose images have the row's number in red, with the Hub's note of what labels are called."""
    path.parent.mkdir(parents=True, exist_ok=True)
    images: list[object] = [{"bytes": png(row), "path": f"{row}.png"} for row in range(len(labels))]
    table = pa.table({"image": images, "label": labels, **columns})
    if names:
        features = {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, path, row_group_size=3)
    return path


def load(path: Path | str, size: int | None = None) -> ImageSet:
    return load_imageset(f"parquet:{path}", image_size=size)


def splits_of(made: ImageSet) -> dict[str, str]:
    return dict(zip(made.class_names, made.splits, strict=True))


def test_labels_have_their_names_and_one_split_is_split_by_hash(tmp_path: Path) -> None:
    write(tmp_path / "data/train-00000-of-00002.parquet", [2, 0, 2, 3, 1])
    write(tmp_path / "data/train-00001-of-00002.parquet", [0, 1])
    write(tmp_path / "data/test-00000-of-00001.parquet", [0, 1, 2])
    made = load(f"{tmp_path}/data/train-*.parquet")
    assert splits_of(made) == split_by_hash(NAMES)
    assert made.images[:, 0, 0, 0].tolist() == [1, 0, 4, 1, 0, 2, 3]  # apple, bus, cat, dog; in the order of rows
    assert made.images.shape == (7, 3, 8, 8)
    assert load(tmp_path / "data/train-00001-of-00002.parquet", 16).images.shape == (2, 3, 16, 16)
    assert load(f"{tmp_path}/data/train-*.parquet").fingerprint == made.fingerprint
    with pytest.raises(UnreadableInput, match=r"class 'apple' is in .*train-0.*Name the files of one split, such as"):
        load(tmp_path / "data")


@pytest.mark.parametrize("place", ["{}-00000.parquet", "{}/0000.parquet", "deep/{}.parquet"])
def test_files_of_splits_of_classes(tmp_path: Path, place: str) -> None:
    for split, labels in (("train", ["a", "b"]), ("validation", ["c"]), ("test", ["d", "d"])):
        write(tmp_path / "set" / place.format(split), labels, None)
    assert splits_of(load(tmp_path / "set")) == {"a": "train", "b": "train", "c": "val", "d": "test"}


def test_lists_decide(tmp_path: Path) -> None:
    write(tmp_path / "set/all.parquet", [0, 1, 2, 3])
    (tmp_path / "set/train.txt").write_text("cat\ndog/\n")
    (tmp_path / "set/test.txt").write_text("bus\n")
    assert splits_of(load(tmp_path / "set")) == {"bus": "test", "cat": "train", "dog": "train"}


def test_rows_without_a_label_are_left_out_and_told(tmp_path: Path) -> None:
    path = write(tmp_path / "all.parquet", [0, -1, 1, None])
    with pytest.warns(UserWarning, match=r"left out rows without a label: 2 \(2 in all\.parquet\)"):
        assert load(path).images[:, 0, 0, 0].tolist() == [0, 2]


def test_another_column_may_hold_the_labels(tmp_path: Path) -> None:
    path = write(tmp_path / "all.parquet", [0, 1], coarse=["x", "x"])
    assert load(f"{path}#coarse").class_names == ("x",)
    with pytest.raises(UnreadableInput, match="no column 'coarser'; it has image, label, coarse"):
        load(f"{path}#coarser")


def test_images_may_be_bare_bytes(tmp_path: Path) -> None:
    pq.write_table(pa.table({"img": [png(7)], "fine_label": ["a"]}), tmp_path / "x.parquet")
    assert load(tmp_path / "x.parquet").images[0, 0, 0, 0] == 7


@pytest.mark.parametrize(
    ("columns", "match"),
    [
        ({"image": [{"bytes": None, "path": "elsewhere.png"}], "label": [0]}, r"row 0 holds no image but at most"),
        ({"image": [{"bytes": b"nothing", "path": ""}], "label": [0]}, r"x\.parquet, row 0 is damaged or not an image"),
        ({"image": ["a.png"], "label": [0]}, r"expected one column of images .*; found none"),
        ({"a": [b"1"], "b": [b"2"], "label": [0]}, r"found a, b"),
        ({"image": [b"1"], "what": [0]}, r"no column label, .*PATH#COLUMN"),
        ({"image": [b"1"], "label": ["a\x1b[31m"]}, r"which can name no class"),
        ({"image": [b"1"], "label": [1.5]}, r"has 1\.5, which can name no class"),
        ({"image": [b"1"], "label": [["a"]]}, r"which can name no class"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*left out")
def test_what_is_no_image_folder_is_a_sentence(tmp_path: Path, columns: dict[str, list[object]], match: str) -> None:
    pq.write_table(pa.table(columns), tmp_path / "x.parquet")
    with pytest.raises(UnreadableInput, match=match):
        load(tmp_path / "x.parquet")


@pytest.mark.parametrize("keep", [0, 3, 100, -5])
def test_damaged_files_are_a_sentence(tmp_path: Path, keep: int) -> None:
    path = write(tmp_path / "x.parquet", [0, 1])
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UnreadableInput, match=r"x\.parquet: cannot be read as Parquet"):
        load(path)


def test_no_files_and_no_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in (tmp_path, tmp_path / "none", f"{tmp_path}/none/*.parquet"):
        with pytest.raises(UnreadableInput, match="looked for Parquet files at"):
            load(place)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MetaprobeError, match=r"need pyarrow: pip install 'metaprobe\[parquet\]'"):
        load(tmp_path)


def test_it_may_be_part_of_a_mixture(tmp_path: Path) -> None:
    path = write(tmp_path / "birds.parquet", [0, 1])
    mixed = load_imageset(f"mixture:glyphs,parquet:{path}", image_size=28)
    assert mixed.domain_names == ("glyphs", "birds.parquet")
