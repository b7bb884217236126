"""Data sets by name: what a folder becomes, and the error for each thing that can be wrong with one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from metaprobe.trainers.errors import MetaprobeError, UnreadableInput
from metaprobe.trainers.tasks import DATASETS, load_imageset


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METAPROBE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("METAPROBE_DATA", raising=False)


def test_importing_the_registry_brings_neither_torch_nor_an_image_library() -> None:
    late = "('torch', 'PIL', 'matplotlib', 'scipy')"
    code = f"import sys, metaprobe.trainers.tasks; print([m for m in {late} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[1], check=True
    )
    assert done.stdout.strip() == "[]"


def test_registry_entries_are_named_as_their_key_and_say_everything() -> None:
    assert {"glyphs", "omniglot", "cifar_fs", "class_folder"} <= set(DATASETS)
    for name, dataset in DATASETS.items():
        assert dataset.name == name
        assert all((dataset.summary, dataset.source, dataset.licence))


@pytest.mark.parametrize(
    ("spec", "size", "match"),
    [
        ("omniglt", None, "unknown data set 'omniglt'. Did you mean omniglot?.*glyphs"),
        ("omniglot:here", None, "'omniglot:here': expected omniglot"),
        ("class_folder", None, "'class_folder': expected class_folder:PATH"),
        ("class_folder:", None, "expected class_folder:PATH"),
        ("omniglot", 4, "image size 4 is not in 8 … 1024"),
        ("omniglot", 5000, "image size 5000"),
    ],
)
def test_bad_names_and_sizes(spec: str, size: int | None, match: str) -> None:
    with pytest.raises(MetaprobeError, match=match):
        load_imageset(spec, "nowhere", size)


@pytest.mark.parametrize("name", ["omniglot", "cifar_fs"])
def test_missing_data_say_what_where_and_how_to_get_them(name: str, tmp_path: Path) -> None:
    with pytest.raises(UnreadableInput, match=f"no data root.*METAPROBE_DATA.*--data {name}.*--download"):
        load_imageset(name)
    with pytest.raises(UnreadableInput, match=rf"looked for .* in {tmp_path}/.*not found.*--data {name}.*--download"):
        load_imageset(name, tmp_path)
    with pytest.raises(MetaprobeError, match=f"cannot download '{name}': no data root"):
        load_imageset(name, download=True)
