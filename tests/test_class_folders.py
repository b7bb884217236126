"""Class folders as people have them: their layouts, their lists, and what lies between the images."""

from __future__ import annotations

import os
import unicodedata
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from metaprobe.trainers.errors import UnreadableInput
from metaprobe.trainers.tasks import load_imageset
from metaprobe.trainers.tasks.class_folder import split_by_hash
from metaprobe.trainers.tasks.imageset import ImageSet


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METAPROBE_CACHE", str(tmp_path / "cache"))


def image(path: Path, value: int = 7, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((8, 8), value, np.uint8)).save(path, **options)
    return path


def folder(root: Path, *names: str) -> Path:
    for place, name in enumerate(names):
        image(root / name / "0.png", place)
    return root


def load(path: Path) -> ImageSet:
    return load_imageset(f"class_folder:{path}")


def splits_of(made: ImageSet) -> dict[str, str]:
    return dict(zip(made.class_names, made.splits, strict=True))


# --- folders called after splits ---

AS_MEANT = {"a": "train", "g/b": "train", "c": "val", "d": "test"}


@pytest.mark.parametrize(
    "called",
    [
        ("train", "val", "test"), ("train", "valid", "test"), ("train", "validation", "test"),
        ("Train", "Val", "TEST"), ("Training", "Validation", "Testing"), ("meta-train", "meta_val", "metatest"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("around", ["", "mini", "archive/mini"])
def test_folders_called_after_splits_are_splits(tmp_path: Path, called: tuple[str, str, str], around: str) -> None:
    train, val, test = called
    folder(tmp_path / "set" / around, f"{train}/a", f"{train}/g/b", f"{val}/c", f"{test}/d")
    made = load(tmp_path / "set")
    assert splits_of(made) == AS_MEANT
    assert made.groups[made.class_names.index("g/b")] == "g"


@pytest.mark.parametrize("beside", ["__MACOSX/x", "meta/x", ".thumbnails", "@eaDir/a", "extra"])
def test_a_folder_beside_splits_is_left_out_and_told(tmp_path: Path, beside: str) -> None:
    folder(tmp_path, "set/train/a", "set/train/g/b", "set/val/c", "set/test/d", f"set/{beside}")
    (tmp_path / "set/meta").mkdir(exist_ok=True)
    (tmp_path / "set/meta/classes.json").write_text("{}")
    with pytest.warns(UserWarning, match=rf"set: left out .*: 1 .*in {beside.partition('/')[0]}") as caught:
        assert splits_of(load(tmp_path / "set")) == AS_MEANT
    assert len(caught) == 1


@pytest.mark.parametrize(
    ("names", "match"),
    [
        (("train/a", "novel/b"), "train beside novel: it is not clear which classes"),
        (("base/a", "val/b", "novel/c"), "val beside base"),
        (("train/a", "cats/b"), "train beside cats"),
        (("train/a", "test/b", "images_evaluation/c"), "test beside images_evaluation"),
        (("cub_train/a", "cub_test/b"), "cub_test and cub_train, which look like splits, and by their hash"),
        (("images_background/a", "images_evaluation/b"), "look like splits"),
        (("mini/train/a", "mini/test/b", "tiered/train/c", "tiered/test/d"), "mini holds .* alone, class_folder:"),
        (("cat/train", "cat/test", "dog/train", "dog/test"), "cat holds test and train, which look like splits"),
        (("train/a", "valid/b", "validation/c"), "valid and validation, which both name one split, val"),
        (("train", "test"), "test holds images itself; .*<class>/<image>.* If they are classes, write lists"),
        (("train", "test", "cat"), "test holds images itself"),
        (("train/a", "test/a"), "class 'a' is in .*name one of the folders alone, class_folder:.*train"),
    ],
)  # fmt: skip
def test_what_may_be_splits_is_never_split_by_hash(tmp_path: Path, names: tuple[str, ...], match: str) -> None:
    with pytest.raises(UnreadableInput, match=match):
        load(folder(tmp_path / "set", *names))


def test_classes_may_be_called_as_splits_are(tmp_path: Path) -> None:
    """CIFAR-100 has a class train; ImageNet a bullet train and a test tube."""
    names = ["train", "bus", "tram", "rocket"]
    assert splits_of(load(folder(tmp_path / "set", *names))) == split_by_hash(names)
    names = ["bullet_train", "test_tube", "g/train", "g/bus"]
    assert splits_of(load(folder(tmp_path / "other", *names))) == split_by_hash(names)
    (tmp_path / "set/test").mkdir()
    image(tmp_path / "set/test/0.png")
    (tmp_path / "set/train.txt").write_text("train\nbus\n")
    (tmp_path / "set/TEST.TXT").write_text("test\nrocket\ntram\n")
    assert splits_of(load(tmp_path / "set")) == dict.fromkeys(("bus", "train"), "train") | dict.fromkeys(
        ("rocket", "test", "tram"), "test"
    )


# --- lists ---


def test_lists_are_read_as_any_system_writes_them(tmp_path: Path) -> None:
    root = folder(tmp_path / "around/set", "c0", "g/c1", "c2", unicodedata.normalize("NFD", "café"), "naïve")
    (root / "train.txt").write_bytes(b"\xef\xbb\xbfc0/\r\ng\\c1\r\n\r\n")
    (root / "valid.txt").write_text("./c2\n")
    (root / "test.txt").write_text("café\n" + unicodedata.normalize("NFD", "naïve"))
    found = splits_of(load(tmp_path / "around"))
    assert found == {"c0": "train", "g/c1": "train", "c2": "val", "café": "test", "naïve": "test"}


@pytest.mark.parametrize(
    ("lists", "match"),
    [
        ({"train.txt": "c0/0.png 0\n"}, r"train\.txt names 'c0/0\.png 0', but a list has the name of a class a line"),
        ({"val.txt": "c0\n", "Valid.txt": "c1\n"}, "are both lists of one split, val; keep one"),
        ({"train.txt": "c0\nc1\n", "test.txt": "c1/\n"}, r"names 'c1/', which is in train\.txt, too"),
        ({"train.txt": "\n", "test.txt": ","}, "names ',', but .* holds no image"),
    ],
)
def test_lists_that_do_not_fit_are_a_sentence(tmp_path: Path, lists: dict[str, str], match: str) -> None:
    root = folder(tmp_path / "set", "c0", "c1")
    for name, text in lists.items():
        (root / name).write_text(text)
    with pytest.raises(UnreadableInput, match=match):
        load(root)


def test_two_spellings_of_one_name_are_told(tmp_path: Path) -> None:
    folder(tmp_path / "set", "café", unicodedata.normalize("NFD", "café"))
    with pytest.raises(UnreadableInput, match="two folders called 'café', which differ in how their letters"):
        load(tmp_path / "set")


@pytest.mark.parametrize("place", ["images", "", "deep/er"])
def test_tables_of_images_and_classes_as_mini_imagenet_has_them(tmp_path: Path, place: str) -> None:
    root = tmp_path / "set"
    for name in ("n01.jpg", "n02.jpg", "n03.jpg", "n04.png", "unlisted.png"):
        image(
            root / place / name, int(name[1:3]) if name[0] == "n" else 99, **({"quality": 95} if "jpg" in name else {})
        )
    image(root / "z/elsewhere.png")
    (root / "train.csv").write_bytes(b"\xef\xbb\xbffilename,label\r\nn03.jpg,n0153\r\nn01.jpg,n0153\r\n")
    (root / "val.csv").write_text('filename,label\n"n02.jpg","n0199, the other"\n')
    (root / "test.csv").write_text("filename,label\nn04.png,n0200\n")
    with pytest.warns(UserWarning, match="left out images in no table: 2"):
        made = load(root)
    assert splits_of(made) == {"n0153": "train", "n0199, the other": "val", "n0200": "test"}
    assert np.abs(made.images[:, 0, 0, 0].astype(int) - [1, 3, 2, 4]).max() <= 1


@pytest.mark.parametrize(
    ("train", "test", "match"),
    [
        ("id,what\n1,2\n", "", r"train\.csv begins with 'id,what'; expected .* filename,label"),
        ("", "", r"begins with ''"),
        ("filename,label\na.png,x\nnone.png,x\n", "", r"train\.csv, line 3 names 'none\.png', which no image"),
        ("filename,label\na.png,x\n", "filename,label\nb.png,x\n", r"test\.csv, line 2 is of class 'x', which train"),
        ("filename,label\na.png,x\na.png,y\n", "", r"line 3 says that 'a\.png' is 'y', and 'x'"),
        ("filename,label\na.png\n", "", r"line 2 has fewer columns"),
        ("filename,label\na.png,\n", "", r"line 2 gives 'a\.png' no class"),
        ("filename,label\n", "", r"no line of them names an image"),
        ("filename,label\n../../etc/passwd.png,x\n", "", r"names '\.\./\.\./etc/passwd\.png', which no image"),
        (b"\xff\xfe", "", r"is no CSV file in UTF-8"),
    ],
)  # fmt: skip
def test_tables_that_do_not_fit_are_a_sentence(tmp_path: Path, train: str | bytes, test: str, match: str) -> None:
    image(tmp_path / "set/images/a.png")
    image(tmp_path / "set/images/b.png")
    (tmp_path / "set/train.csv").write_bytes(train if isinstance(train, bytes) else train.encode())
    if test:
        (tmp_path / "set/test.csv").write_text(test)
    with pytest.raises(UnreadableInput, match=match):
        load(tmp_path / "set")


# --- what lies between the images ---


def test_what_is_left_out_is_counted_and_named_in_one_warning(tmp_path: Path) -> None:
    root = folder(tmp_path / "set", "a", "b", "c")
    for name in ("a/Thumbs.db", "a/x.gif", "b/y.gif", "b/notes", ".DS_Store", "a/.DS_Store", "a/._0.png", "README.md"):
        (root / name).write_bytes(b"x")
    for name in ("a/@eaDir/0.png", ".thumbnails/large/0.png", "stray.png"):
        image(root / name)
    (root / "b/loop").symlink_to(root, target_is_directory=True)
    (root / "b/nowhere.png").symlink_to(root / "none.png")
    (root / "b/itself").symlink_to(root / "b/itself")
    with pytest.warns(UserWarning, match="left out") as caught:
        assert len(load(root)) == 3
    told = str(caught.pop().message)
    assert not len(caught)
    for part in (
        "files that are no images: 4 (2 .gif, 1 .db, 1 without a suffix)",
        "hidden files: 2 (1 .DS_Store, 1 *.png)",
        "files in folders that are no data: 2 (1 in .thumbnails, 1 in @eaDir)",
        "links to a folder that they are in: 1 (1 b/loop)",
        "links that lead nowhere: 2 (1 itself, 1 nowhere.png)",
        "images that are in no class: 1 (1 in set)",
    ):
        assert part in told


def test_links_to_folders_are_followed_and_one_folder_is_one_class(tmp_path: Path) -> None:
    pool = folder(tmp_path / "pool", "a", "b", "c")
    for name, split in (("a", "train"), ("b", "val"), ("c", "test")):
        (tmp_path / "set" / split).mkdir(parents=True)
        (tmp_path / "set" / split / name).symlink_to(pool / name, target_is_directory=True)
    assert splits_of(load(tmp_path / "set")) == {"a": "train", "b": "val", "c": "test"}
    (tmp_path / "set/test/again").symlink_to(pool / "a", target_is_directory=True)
    with pytest.raises(UnreadableInput, match=r"classes 'again' and 'a' hold one file, .* by way of links"):
        load(tmp_path / "set")


def test_links_across_each_other_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = folder(tmp_path / "set", *(f"f{place}/a" for place in range(12)))
    for place in range(12):
        for other in range(12):
            (root / f"f{place}" / f"to{other}").symlink_to(root / f"f{other}", target_is_directory=True)
    monkeypatch.setattr("metaprobe.trainers.tasks.folder_tree._MAX_FOLDERS", 500)
    with pytest.raises(UnreadableInput, match="is more than 500 folders"):
        load(root)


def test_tiff_and_webp_are_read_and_photos_turned_upright(tmp_path: Path) -> None:
    pixels = np.zeros((8, 8), np.uint8)
    pixels[0] = 255  # of the photo as it was held, which is what must come out
    exif = Image.Exif()
    exif[0x0112] = 6  # "turn by 90° clockwise to view"
    turned = Image.fromarray(np.rot90(pixels).copy())
    for name, options in (("x.TIF", {}), ("x.tiff", {"compression": "tiff_lzw"}), ("x.webp", {"lossless": True})):
        image(tmp_path / "set" / name.replace(".", "") / name, 50)
        Image.fromarray(pixels).save(tmp_path / "set" / name.replace(".", "") / name, **options)
    for name in ("held.png", "held.tif", "held.jpg"):
        (tmp_path / "set/held").mkdir(exist_ok=True)
        turned.save(tmp_path / "set/held" / name, exif=exif)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made = load(tmp_path / "set")
    assert len(made) == 6
    assert (made.images[:, 0, 0].mean(axis=1) > 240).all()
    assert (made.images[:, 0, 2:].reshape(6, -1).max(axis=1) < 15).all()


def test_an_archive_as_macos_makes_it(tmp_path: Path) -> None:
    source = folder(tmp_path / "source", "mini/Train/a", "mini/Test/b")
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as bundle:
        for file in source.rglob("*.png"):
            bundle.write(file, file.relative_to(source))
        bundle.writestr("__MACOSX/mini/Train/a/._0.png", b"\0\5\x16\7")
        bundle.writestr("mini/.DS_Store", b"x")
    with pytest.warns(UserWarning, match=r"set\.zip: left out .*no data: 1 \(1 in __MACOSX\); hidden files: 1"):
        assert splits_of(load(tmp_path / "set.zip")) == {"a": "train", "b": "test"}


def test_no_folder_may_be_read(tmp_path: Path) -> None:
    root = folder(tmp_path / "set", "a", "b")
    os.chmod(root / "b", 0)
    try:
        if os.access(root / "b", os.R_OK):
            pytest.skip("whoever runs this may read everything")
        with pytest.raises(UnreadableInput, match="b: cannot be read"):
            load(root)
    finally:
        os.chmod(root / "b", 0o700)
