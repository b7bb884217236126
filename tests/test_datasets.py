"""Data sets by name: what a folder becomes, and the error for each thing that can be wrong with one."""

from __future__ import annotations

import subprocess
import sys
import types
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trainers.errors import MetaprobeError, UnreadableInput
from trainers.tasks import DATASETS, cifar_fs, images, load_imageset, omniglot
from trainers.tasks.class_folder import split_by_hash
from trainers.tasks.imageset import SPLITS, ImageSet

SHARED = Path(__file__).parents[2] / "shared" / "data"
needs_data = pytest.mark.skipif(not SHARED.is_dir(), reason=f"real data not there: {SHARED}")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METAPROBE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("METAPROBE_DATA", raising=False)


def _write(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def _grey(value: int, height: int = 8, width: int = 8) -> np.ndarray:
    return np.full((height, width), value, np.uint8)


def _folder(root: Path, *names: str, per_class: int = 2) -> Path:
    for place, name in enumerate(names):
        for image in range(per_class):
            _write(root / name / f"{image}.png", _grey(10 * place + image))
    return root


def _read(name: str) -> list[str]:
    return (SHARED / "splits" / name).read_text().split()


# --- by name ---


def test_importing_the_registry_brings_neither_torch_nor_an_image_library() -> None:
    code = "import sys, trainers.tasks; print([m for m in ('torch', 'PIL', 'matplotlib', 'scipy') if m in sys.modules])"
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


# --- Omniglot ---


def _omniglot(root: Path) -> Path:
    """Four characters, each of one thick vertical stroke at the left, on white."""
    names = ("images_background/Greek/character01", "images_background/Hebrew/character02")
    for name in (*names, "images_evaluation/Angelic/character01", "images_evaluation/Tibetan/character03"):
        for drawing in range(2):
            pixels = np.full((105, 105), True)
            pixels[:, 15 : 30 + drawing] = False
            _write(root / "omniglot" / name / f"0001_{drawing}.png", pixels)
    return root


def test_omniglot_classes_groups_splits_and_rotations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METAPROBE_DATA", str(_omniglot(tmp_path)))
    with pytest.warns(UserWarning, match="has 4 of 1623 characters"):
        made = load_imageset("omniglot")
    assert made.images.shape == (32, 1, 28, 28)
    upright = ("Greek/character01", "Hebrew/character02", "Angelic/character01", "Tibetan/character03")
    assert made.class_names[:4] == upright
    assert made.class_names[4:8] == tuple(f"{name}/rot90" for name in upright)
    assert made.groups == ("Greek", "Hebrew", "Angelic", "Tibetan") * 4
    assert made.splits == ("train", "val", "train", "test") * 4
    picture = made.images[0, 0]
    assert picture[:, 4:8].min() >= 230  # ink is 255 …
    assert picture[:, 12:].max() <= 5  # … on 0
    widest = made.images[1, 0, 10]  # half a pixel wider than a whole number: an anti-aliased edge
    assert ((widest > 20) & (widest < 235)).any()
    for turns in (1, 2, 3):
        np.testing.assert_array_equal(made.images[made.images_of(4 * turns)[0], 0], np.rot90(picture, turns))


def test_omniglot_in_torchvisions_layout_from_archives(tmp_path: Path) -> None:
    source = _omniglot(tmp_path / "source") / "omniglot"
    for part in omniglot.PARTS:
        archive = tmp_path / "root" / "omniglot-py" / f"{part}.zip"
        archive.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(archive, "w") as bundle:
            for file in (source / part).rglob("*.png"):
                bundle.write(file, file.relative_to(source))
    with pytest.warns(UserWarning, match="4 of 1623"):
        made = load_imageset("omniglot", tmp_path / "root", image_size=14)
    assert made.images.shape == (32, 1, 14, 14)


def test_omniglot_damaged_drawing_is_named(tmp_path: Path) -> None:
    _omniglot(tmp_path)
    bad = tmp_path / "omniglot/images_background/Greek/character01/0001_1.png"
    bad.write_bytes(bad.read_bytes()[:60])
    with pytest.warns(UserWarning, match="4 of 1623"), pytest.raises(UnreadableInput, match=f"image {bad} is damaged"):
        load_imageset("omniglot", tmp_path)


def test_omniglot_without_drawings(tmp_path: Path) -> None:
    (tmp_path / "omniglot/images_background/Greek").mkdir(parents=True)
    with pytest.raises(UnreadableInput, match="holds no drawing; expected images_background/<alphabet>"):
        load_imageset("omniglot", tmp_path)


def _fake_torchvision(monkeypatch: pytest.MonkeyPatch, name: str, replacement: Callable[..., object]) -> None:
    module = types.ModuleType("torchvision.datasets")
    setattr(module, name, replacement)
    monkeypatch.setitem(sys.modules, "torchvision", types.ModuleType("torchvision"))
    monkeypatch.setitem(sys.modules, "torchvision.datasets", module)


def test_omniglot_is_downloaded_only_when_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, bool, bool]] = []

    def download(root: str, background: bool, download: bool) -> None:
        asked.append((root, background, download))
        (_omniglot(tmp_path / "net") / "omniglot").rename(tmp_path / "omniglot-py") if background else None

    _fake_torchvision(monkeypatch, "Omniglot", download)
    with pytest.raises(UnreadableInput, match="not found"):
        load_imageset("omniglot", tmp_path)
    assert not asked
    with pytest.warns(UserWarning, match="4 of 1623"):
        assert len(load_imageset("omniglot", tmp_path, download=True)) == 32
    assert asked == [(str(tmp_path), True, True), (str(tmp_path), False, True)]


def test_failed_downloads_are_one_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("no route to host")

    _fake_torchvision(monkeypatch, "Omniglot", fail)
    with pytest.raises(UnreadableInput, match=r"Omniglot could not be downloaded into .*no route to host"):
        load_imageset("omniglot", tmp_path, download=True)
    _fake_torchvision(monkeypatch, "CIFAR100", fail)
    with pytest.raises(UnreadableInput, match=r"CIFAR-100 in .*no route to host"):
        load_imageset("cifar_fs", tmp_path, download=True)


@needs_data
def test_omniglot_split_is_that_of_the_published_lists() -> None:
    listed = {name: split for split in SPLITS for name in _read(f"omniglot_vinyals/{split}.txt")}
    assert len(listed) == 1623
    assert {name: omniglot.split_of(*name.split("/")) for name in listed} == listed


@needs_data
def test_real_omniglot_drawings(tmp_path: Path) -> None:
    with zipfile.ZipFile(SHARED / "omniglot.zip") as bundle:
        chosen = [n for n in bundle.namelist() if "/Braille/character0" in n or "/Tibetan/character0" in n]
        bundle.extractall(tmp_path, [n for n in chosen if n.endswith(".png")])
    with pytest.warns(UserWarning, match="18 of 1623"):
        made = load_imageset("omniglot", tmp_path)
    assert made.images.shape == (18 * 20 * 4, 1, 28, 28)
    ink = made.images.mean() / 255
    assert 0.02 < ink < 0.2  # a few strokes on empty paper
    assert np.unique(made.images).size > 128  # grey edges, not two values


# --- CIFAR-FS ---


def _cifar_image(place: int, image: int) -> np.ndarray:
    return np.full((32, 32, 3), (place, image, 200), np.uint8)


def test_cifar_fs_from_class_folders(tmp_path: Path) -> None:
    for place, name in enumerate(cifar_fs.CLASSES):
        for image in range(2):
            _write(tmp_path / "cifar100" / name / f"{image}.png", _cifar_image(place, image))
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
    _fake_torchvision(monkeypatch, "CIFAR100", Published)
    made = load_imageset("cifar_fs", tmp_path)
    assert made.images[:, :, 5, 5].tolist() == [[place, part, 200] for place in range(100) for part in (1, 0)]
    _fake_torchvision(monkeypatch, "CIFAR100", lambda *_: pytest.fail("read twice"))
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
        assert own == set(_read(f"cifar_fs/{split}.txt"))
    lines = (SHARED / "splits/cifar100_superclasses.txt").read_text().splitlines()
    listed = {group: tuple(names.split(",")) for group, _, names in (line.partition("\t") for line in lines)}
    assert listed == cifar_fs.SUPERCLASSES


# --- class folders ---


def _load(path: Path, size: int | None = None) -> ImageSet:
    return load_imageset(f"class_folder:{path}", image_size=size)


def test_class_folder_names_groups_and_hash_split(tmp_path: Path) -> None:
    names = [f"{group}/{kind}" for group in ("bird", "fish") for kind in "abcdefghijkl"] + ["alone"]
    made = _load(_folder(tmp_path / "set", *names))
    assert made.class_names == ("alone", *sorted(names[:-1]))
    assert made.groups == ("", *["bird"] * 12, *["fish"] * 12)
    assert made.images.shape == (50, 1, 8, 8)
    assert [made.splits.count(split) for split in SPLITS] == [16, 4, 5]
    assert made.splits == tuple(split_by_hash(sorted(names, reverse=True))[name] for name in made.class_names)


def test_hash_split_shares() -> None:
    for n in (1, 3, 5, 100):
        counts = [list(split_by_hash([str(i) for i in range(n)]).values()).count(split) for split in SPLITS]
        assert counts == {1: [1, 0, 0], 3: [2, 0, 1], 5: [3, 1, 1], 100: [64, 16, 20]}[n]


def test_split_lists_decide_and_may_leave_classes_out(tmp_path: Path) -> None:
    folder = _folder(tmp_path / "set", "a", "g/b", "g/c", "d")
    (folder / "train.txt").write_text("g/b\na\n\n")
    (folder / "test.txt").write_text("d\n")
    with pytest.warns(UserWarning, match=r"left out images of classes in no list: 2 \(2 in g/c\)\."):
        made = _load(folder)
    assert dict(zip(made.class_names, made.splits, strict=True)) == {"a": "train", "g/b": "train", "d": "test"}
    (folder / "test.txt").write_text("d\ng/cc\n")
    with pytest.raises(UnreadableInput, match=r"test\.txt names 'g/cc', but .* holds no image. Did you mean 'g/c'"):
        _load(folder)
    (folder / "test.txt").write_text("a\n")
    with pytest.raises(UnreadableInput, match=r"test\.txt names 'a', which is in train\.txt, too"):
        _load(folder)
    (folder / "test.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(UnreadableInput, match=r"test\.txt is not UTF-8"):
        _load(folder)
    (folder / "test.txt").unlink()
    (folder / "train.txt").write_text("\n")
    with pytest.raises(UnreadableInput, match="name no class"):
        _load(folder)


def test_split_folders_are_splits_of_classes(tmp_path: Path) -> None:
    made = _load(_folder(tmp_path / "set", "train/a", "train/g/b", "test/c"))
    assert made.class_names == ("c", "a", "g/b")
    assert (made.splits, made.groups) == (("test", "train", "train"), ("", "", "g"))
    with pytest.raises(UnreadableInput, match=r"class 'a' is in .*splits are of classes"):
        _load(_folder(tmp_path / "leak", "train/a", "test/a"))


def test_image_size_resizes_the_short_side_and_crops_the_centre(tmp_path: Path) -> None:
    wide = np.zeros((20, 60, 3), np.uint8)
    wide[:, 20:40] = (255, 0, 0)
    _write(tmp_path / "set/a/wide.png", wide)
    _write(tmp_path / "set/a/tall.jpg", np.full((50, 10, 3), 255, np.uint8))
    _write(tmp_path / "set/b/grey.bmp", _grey(128, 40, 40))
    made = _load(tmp_path / "set", 10)
    assert made.images.shape == (3, 3, 10, 10)
    tall, crop, grey = made.images
    assert tall.min() >= 250
    assert crop[0, :, 1:-1].min() > 240
    assert not crop[1:].any()
    assert (grey == 128).all()


def test_sizes_that_differ_or_are_not_square_ask_for_image_size(tmp_path: Path) -> None:
    _folder(tmp_path / "set", "a")
    other = _write(tmp_path / "set/b/x.png", _grey(0, 9, 9))
    with pytest.raises(UnreadableInput, match=rf"differ in size: .* is 8×8, {other} is 9×9; pass --image-size"):
        _load(tmp_path / "set")
    _write(tmp_path / "flat/a/x.png", _grey(0, 4, 9))
    with pytest.raises(UnreadableInput, match=r"x\.png is 9×4, not square; pass --image-size"):
        _load(tmp_path / "flat")


def test_transparent_is_white_and_colour_makes_rgb(tmp_path: Path) -> None:
    clear = np.zeros((8, 8, 4), np.uint8)
    clear[0, 0] = (255, 0, 0, 255)
    _write(tmp_path / "set/a/clear.png", clear)
    made = _load(tmp_path / "set")
    assert made.images[0, :, 0, 0].tolist() == [255, 0, 0]
    assert made.images[0, :, 1, 1].tolist() == [255, 255, 255]


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"not an image", None])
def test_damaged_image_is_named(tmp_path: Path, content: bytes | None) -> None:
    _folder(tmp_path / "set", "a")
    bad = _write(tmp_path / "set/a/bad.png", np.random.default_rng(0).integers(0, 256, (8, 8), np.uint8))
    bad.write_bytes(bad.read_bytes()[:-40] if content is None else content)
    with pytest.raises(UnreadableInput, match=f"image {bad} is damaged or not an image"):
        _load(tmp_path / "set")


def test_images_that_cannot_be_used_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = _write(tmp_path / "deep/a/x.png", np.full((8, 8), 40_000, np.uint16))
    with pytest.raises(UnreadableInput, match=rf"{deep} has more than 8 bits a channel"):
        _load(tmp_path / "deep")
    bomb = _write(tmp_path / "bomb/a/x.png", _grey(0, 200, 200))
    monkeypatch.setattr(images, "MAX_PIXELS", 39_999)
    with pytest.raises(UnreadableInput, match=rf"image {bomb} is 200×200 pixels; at most 39,999"):
        _load(tmp_path / "bomb")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10_000)
    with pytest.raises(UnreadableInput, match=f"image {bomb} is too large to decode"):
        _load(tmp_path / "bomb")


def test_too_much_for_memory_is_said_before_it_is_taken(tmp_path: Path) -> None:
    folder = _folder(tmp_path / "set", "a", per_class=3)
    (folder / "a").rename(folder / "b")
    from trainers.tasks import decoding

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoding, "_MAX_BYTES", 9 << 20 - 1)
        with pytest.raises(MetaprobeError, match=r"3 images of 1024×1024 .* GiB"):
            _load(folder, 1024)


def test_folder_without_classes_and_no_folder(tmp_path: Path) -> None:
    _write(tmp_path / "flat/x.png", _grey(0))
    _write(tmp_path / "flat/.hidden/x.png", _grey(0))
    with pytest.raises(UnreadableInput, match=r"holds no class: expected .*<class>/<image>"):
        _load(tmp_path / "flat")
    with pytest.raises(UnreadableInput, match=rf"looked for a folder of class folders.* at {tmp_path}/none; not found"):
        _load(tmp_path / "none")


def test_class_folder_in_an_archive(tmp_path: Path) -> None:
    folder = _folder(tmp_path / "set", "a", "b")
    archive = tmp_path / "set.zip"
    with zipfile.ZipFile(archive, "w") as bundle:
        for file in folder.rglob("*.png"):
            bundle.write(file, file.relative_to(folder))
    made = _load(archive)
    np.testing.assert_array_equal(made.images, _load(folder).images)
    assert _load(archive).fingerprint == made.fingerprint
    with zipfile.ZipFile(archive, "a") as bundle:
        bundle.writestr("../out.png", b"")
    with pytest.raises(UnreadableInput, match="a way out of the folder"):
        _load(archive)


def test_changed_folder_is_decoded_again(tmp_path: Path) -> None:
    folder = _folder(tmp_path / "set", "a", "b")
    before = _load(folder)
    _write(folder / "b/0.png", _grey(77))
    _write(folder / "b/extra.png", _grey(78))
    after = _load(folder)
    assert (len(before), len(after)) == (4, 5)
    assert (after.images[2] == 77).all()
