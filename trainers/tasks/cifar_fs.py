"""CIFAR-FS: the 100 classes of CIFAR-100, 600 images of 32×32 RGB each, split 64/16/20 (Bertinetto et al. 2019)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from metaprobe.trainers.errors import UnreadableInput
from metaprobe.trainers.tasks.cache import cached_imageset, listing_key
from metaprobe.trainers.tasks.images import image_files, open_image, square
from metaprobe.trainers.tasks.imageset import ImageSet
from metaprobe.trainers.tasks.sources import DataRequest

__all__ = ["FOLDERS", "SUPERCLASSES", "load_cifar_fs", "split_of"]

_SIZE = 32
_VERSION = 1  # of the decoded set; part of the cache key
FOLDERS = _FOLDER, _TORCHVISION = "cifar100", "cifar-100-python"

# Krizhevsky 2009, table of superclasses; our groups.
SUPERCLASSES: dict[str, tuple[str, ...]] = {
    "aquatic_mammals": ("beaver", "dolphin", "otter", "seal", "whale"),
    "fish": ("aquarium_fish", "flatfish", "ray", "shark", "trout"),
    "flowers": ("orchid", "poppy", "rose", "sunflower", "tulip"),
    "food_containers": ("bottle", "bowl", "can", "cup", "plate"),
    "fruit_and_vegetables": ("apple", "mushroom", "orange", "pear", "sweet_pepper"),
    "household_electrical_devices": ("clock", "keyboard", "lamp", "telephone", "television"),
    "household_furniture": ("bed", "chair", "couch", "table", "wardrobe"),
    "insects": ("bee", "beetle", "butterfly", "caterpillar", "cockroach"),
    "large_carnivores": ("bear", "leopard", "lion", "tiger", "wolf"),
    "large_man-made_outdoor_things": ("bridge", "castle", "house", "road", "skyscraper"),
    "large_natural_outdoor_scenes": ("cloud", "forest", "mountain", "plain", "sea"),
    "large_omnivores_and_herbivores": ("camel", "cattle", "chimpanzee", "elephant", "kangaroo"),
    "medium_mammals": ("fox", "porcupine", "possum", "raccoon", "skunk"),
    "non-insect_invertebrates": ("crab", "lobster", "snail", "spider", "worm"),
    "people": ("baby", "boy", "girl", "man", "woman"),
    "reptiles": ("crocodile", "dinosaur", "lizard", "snake", "turtle"),
    "small_mammals": ("hamster", "mouse", "rabbit", "shrew", "squirrel"),
    "trees": ("maple_tree", "oak_tree", "palm_tree", "pine_tree", "willow_tree"),
    "vehicles_1": ("bicycle", "bus", "motorcycle", "pickup_truck", "train"),
    "vehicles_2": ("lawn_mower", "rocket", "streetcar", "tank", "tractor"),
}
_GROUP_OF = {name: group for group, names in SUPERCLASSES.items() for name in names}
CLASSES = tuple(sorted(_GROUP_OF))

# Bertinetto et al. 2019, the authors' split; the other 64 are for training.
_VALIDATION = frozenset(
    (
        *("beaver", "beetle", "butterfly", "camel", "cattle", "crab", "crocodile", "flatfish"),
        *("lamp", "maple_tree", "motorcycle", "otter", "sea", "shark", "television", "tractor"),
    )
)
_TEST = frozenset(
    (
        *("baby", "bed", "bicycle", "chimpanzee", "fox", "leopard", "man", "pickup_truck", "plain", "poppy"),
        *("rocket", "rose", "snail", "sweet_pepper", "table", "telephone", "wardrobe", "whale", "woman", "worm"),
    )
)


def split_of(name: str) -> str:
    """Return the split of a CIFAR-100 class: 64 for training, 16 for validation, 20 for testing."""
    return "test" if name in _TEST else "val" if name in _VALIDATION else "train"


def load_cifar_fs(request: DataRequest) -> ImageSet:
    """Load CIFAR-FS from `ROOT/cifar100/<class>/*.png` or torchvision's `ROOT/cifar-100-python`.

    torchvision's copy is in pickled batches. This project unpickles nothing: torchvision reads its own files, after
    it has checked that their MD5 sums are those of the published archive. What it read is cached without pickle.

    Raises:
        UnreadableInput: where neither is there, a class is missing, or an image is damaged.
    """
    places = [request.root / _FOLDER, request.root / _TORCHVISION] if request.root else []
    for place in places:
        _extract_if_left(place)
    if places and places[0].is_dir():
        return _from_folders(places[0], request.image_size or _SIZE)
    if request.download or (places and places[1].is_dir()):
        return _from_torchvision(request)
    raise request.missing("a folder of 100 class folders, or torchvision's CIFAR-100,", places)


def _extract_if_left(place: Path) -> None:
    """Extract torchvision's archive where it lies there and its folder does not."""
    archive = place.parent / f"{place.name}.tar.gz"
    if archive.is_file() and not place.exists():
        from metaprobe.trainers.tasks.archives import extract

        extract(archive, place, inside=place.name)


def _from_folders(folder: Path, size: int) -> ImageSet:
    files: list[tuple[str, ...]] = []
    for name in CLASSES:
        inside = folder / name
        found = image_files(inside) if inside.is_dir() else ()
        if not found:
            raise UnreadableInput(f"CIFAR-100 in {folder}: no image in class folder {name!r}; expected {inside}/*.png.")
        files.append(found)
    key = listing_key((path for group in files for path in group), "cifar_fs", _VERSION, size)

    def decode() -> ImageSet:
        pixels = np.stack([square(open_image(path, "RGB"), size) for group in files for path in group])
        return _imageset(pixels, np.repeat(np.arange(len(CLASSES)), [len(group) for group in files]))

    return cached_imageset("cifar_fs", key, decode)


def _from_torchvision(request: DataRequest) -> ImageSet:
    root, size = request.root_for_download(), request.image_size or _SIZE
    folder = root / _TORCHVISION
    if request.download and not folder.is_dir():
        _read_torchvision(root, download=True)
    key = listing_key((folder / part for part in ("train", "test", "meta")), "cifar_fs", _VERSION, size)

    def decode() -> ImageSet:
        from PIL import Image

        pixels, labels = _read_torchvision(root, download=request.download)
        if size != _SIZE:
            pixels = np.stack([square(Image.fromarray(image), size) for image in pixels])
        order = np.argsort(labels, kind="stable")
        return _imageset(pixels[order], labels[order])

    return cached_imageset("cifar_fs", key, decode)


def _read_torchvision(root: Path, download: bool) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (image, height, width, 3) and class ids in the order of `CLASSES`, training part first."""
    from torchvision.datasets import CIFAR100

    try:
        parts = [CIFAR100(str(root), train=train, download=download) for train in (True, False)]
    except (RuntimeError, OSError) as error:  # where an MD5 sum is wrong; where the network is not there
        raise UnreadableInput(f"CIFAR-100 in {root / _TORCHVISION}: {error}") from error
    place = {name: index for index, name in enumerate(CLASSES)}
    ids = [[place[part.classes[label]] for label in part.targets] for part in parts]
    return np.concatenate([part.data for part in parts]), np.concatenate(ids).astype(np.int64)


def _imageset(pixels: np.ndarray, class_of: np.ndarray) -> ImageSet:
    return ImageSet(
        "cifar_fs",
        np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)),
        class_of.astype(np.int64),
        CLASSES,
        tuple(_GROUP_OF[name] for name in CLASSES),
        tuple(split_of(name) for name in CLASSES),
    )
