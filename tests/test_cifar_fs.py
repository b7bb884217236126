"""CIFAR-FS, from class folders and from torchvision's files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from metaprobe.trainers.errors import UnreadableInput
from metaprobe.trainers.tasks import cifar_fs, load_imageset
from metaprobe.trainers.tasks.imageset import SPLITS
from tests.image_files import SHARED, fake_torchvision, needs_data, published, write_image


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METAPROBE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("METAPROBE_DATA", raising=False)


# --- CIFAR-FS ---


def _cifar_image(place: int, image: int) -> np.ndarray:
    return np.full((32, 32, 3), (place, image, 200), np.uint8)


def test_cifar_fs_from_class_folders(tmp_path: Path) -> None:
    for place, name in enumerate(cifar_fs.CLASSES):
        for image in range(2):
            write_image(tmp_path / "cifar100" / name / f"{image}.png", _cifar_image(place, image))
    made = load_imageset("cifar_fs", tmp_path)
    assert made.images.shape == (200, 3, 32, 32)
    assert [len(made.classes_of(split)) for split in SPLITS] == [64, 16, 20]
    assert len(set(made.groups)) == 20
    assert all(made.groups.count(group) == 5 for group in made.groups)
    assert made.images[:, :, 0, 0].tolist() == [[place, image, 200] for place in range(100) for image in range(2)]
    assert load_imageset("cifar_fs", tmp_path, image_size=16).image_size == 16
    (tmp_path / "cifar100/wolf/0.png").unlink()
    (tmp_path / "cifar100/wolf/1.png").unlink()
    with pytest.raises(UnreadableInput, match="no image in class folder 'wolf'"):
        load_imageset("cifar_fs", tmp_path)


def test_cifar_fs_from_torchvision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Published:
        """torchvision's CIFAR100 with one image a class and part, its classes in an order of their own."""

        def __init__(self, root: str, train: bool, download: bool) -> None:
            assert (root, download) == (str(tmp_path), False)
            self.classes = cifar_fs.CLASSES[::-1]
            self.targets = list(range(100))
            self.data = np.stack([_cifar_image(99 - label, int(train)) for label in self.targets])

    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    for part in ("train", "test", "meta"):
        (folder / part).write_bytes(b"never read here")
    fake_torchvision(monkeypatch, "CIFAR100", Published)
    made = load_imageset("cifar_fs", tmp_path)
    assert made.images[:, :, 5, 5].tolist() == [[place, part, 200] for place in range(100) for part in (1, 0)]
    fake_torchvision(monkeypatch, "CIFAR100", lambda *_: pytest.fail("read twice"))
    assert load_imageset("cifar_fs", tmp_path).fingerprint == made.fingerprint


def test_hostile_cifar_batches_are_not_unpickled(tmp_path: Path) -> None:
    """The real torchvision: batches whose MD5 sum is not the published one are refused before they are read."""
    pytest.importorskip("torchvision")
    mark = tmp_path / "executed"
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    for part in ("train", "test", "meta"):
        (folder / part).write_bytes(b"cos\nsystem\n(S'touch " + str(mark).encode() + b"'\ntR.")
    with pytest.raises(UnreadableInput, match=r"CIFAR-100 in .*corrupted"):
        load_imageset("cifar_fs", tmp_path)
    assert not mark.exists()


@needs_data
def test_cifar_fs_split_and_superclasses_are_the_published_ones() -> None:
    for split in SPLITS:
        own = {name for name in cifar_fs.CLASSES if cifar_fs.split_of(name) == split}
        assert own == set(published(f"cifar_fs/{split}.txt"))
    lines = (SHARED / "splits/cifar100_superclasses.txt").read_text().splitlines()
    listed = {group: tuple(names.split(",")) for group, _, names in (line.partition("\t") for line in lines)}
    assert listed == cifar_fs.SUPERCLASSES
