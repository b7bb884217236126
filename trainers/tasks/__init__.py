"""Where episodes come from: image sets by name, and the episode sampler."""

from __future__ import annotations

from pathlib import Path

from metaprobe.trainers.config import Colour, TrainConfig
from metaprobe.trainers.errors import MetaprobeError, entry_named
from metaprobe.trainers.plugins import Registry
from metaprobe.trainers.tasks import cifar_fs, omniglot
from metaprobe.trainers.tasks.cifar_fs import load_cifar_fs
from metaprobe.trainers.tasks.class_folder import load_class_folder
from metaprobe.trainers.tasks.data import Data
from metaprobe.trainers.tasks.glyphs import load_glyphs
from metaprobe.trainers.tasks.imageset import SPLITS, ImageSet, is_plain
from metaprobe.trainers.tasks.mixture import mixture_loader
from metaprobe.trainers.tasks.omniglot import load_omniglot
from metaprobe.trainers.tasks.parquet import load_parquet
from metaprobe.trainers.tasks.patterns import load_patterns
from metaprobe.trainers.tasks.shapes import load_shapes
from metaprobe.trainers.tasks.sinusoid import load_sinusoid
from metaprobe.trainers.tasks.sources import DATA_ROOT_VARIABLE, DataRequest, Dataset, data_root_or_default

__all__ = [
    "DATASETS",
    "DATA_ROOT_VARIABLE",
    "SPLITS",
    "Data",
    "DataRequest",
    "Dataset",
    "ImageSet",
    "load_data",
    "load_data_for",
    "load_for",
    "load_imageset",
]


def _load_task_file(request: DataRequest) -> Data:
    from metaprobe.trainers.tasks.task_file import (
        load_task_file,  # imports torch, which a list of the data sets does without
    )

    return load_task_file(request)


DATASETS = Registry(
    "datasets",
    Dataset,
    (
        Dataset(
            "glyphs",
            load_glyphs,
            "embedded: characters of 14 scripts × 20 faces and small affine maps, 28×28 grey; groups: scripts",
            "drawn from the DejaVu, STIX and Computer Modern fonts that matplotlib ships",
            "MIT; the fonts: DejaVu (Bitstream Vera), STIX and BaKoMa licences",
        ),
        Dataset(
            "patterns",
            load_patterns,
            "embedded: 128 textures × 20 crops under noise, 28×28 grey; groups: 16 families (gratings, cells …)",
            "computed by metaprobe from formulas",
            "MIT",
        ),
        Dataset(
            "shapes",
            load_shapes,
            "embedded: 128 solid shapes × 20 views, 28×28 grey; groups: 16 families (stars, gears …)",
            "computed by metaprobe from formulas",
            "MIT",
        ),
        Dataset(
            "omniglot",
            load_omniglot,
            "1,623 handwritten characters × 4 rotations × 20 drawings of 28×28 grey; groups: 50 alphabets",
            "Lake, Salakhutdinov & Tenenbaum, Science 350, 2015; splits of Vinyals et al. 2016",
            "MIT",
            folders=omniglot.FOLDERS,
        ),
        Dataset(
            "cifar_fs",
            load_cifar_fs,
            "CIFAR-100's classes split 64/16/20, 600 images of 32×32 RGB each; groups: 20 superclasses",
            "Krizhevsky 2009; splits of Bertinetto et al., ICLR 2019",
            "none stated by its authors",
            folders=cifar_fs.FOLDERS,
        ),
        Dataset(
            "class_folder",
            load_class_folder,
            "class_folder:PATH, your own images: PATH/[group/]class/image, optional train.txt, val.txt, test.txt",
            "yours",
            "yours",
            argument="PATH",
        ),
        Dataset(
            "parquet",
            load_parquet,
            "parquet:PATH[#COLUMN], images and labels as the Hugging Face Hub keeps them (needs pyarrow)",
            "yours",
            "yours",
            argument="PATH",
        ),
        Dataset(
            "mixture",
            mixture_loader(
                lambda: {name: entry.load for name, entry in DATASETS.items() if entry.images and name != "mixture"}
            ),
            "mixture:NAME,NAME,…, each task from one of several sets or folders of the data root; groups: those",
            "of its parts",
            "of its parts",
            argument="NAME,NAME…",
        ),
        Dataset(
            "sinusoid",
            load_sinusoid,
            "regression of sine waves: amplitude 0.1 … 5, phase 0 … π, inputs −5 … 5; no images: trains an MLP",
            "Finn, Abbeel & Levine, ICML 2017, section 5.1",
            "MIT",
            images=False,
        ),
        Dataset(
            "tasks",
            _load_task_file,
            "tasks:FILE.npz, your own tasks as arrays support_x, support_y, query_x, query_y (task, sample, …); split",
            "yours",
            "yours",
            images=False,
            argument="FILE.npz",
        ),
    ),
)


def load_for(
    config: TrainConfig,
    data: str | None = None,
    data_root: Path | str | None = None,
    download: bool = False,
    image_size: int | None = None,
    colour: Colour | None = None,
) -> ImageSet:
    """Load what `load_data_for` does, of images alone; a data set without images is an error, too."""
    return _of_images(load_data_for(config, data, data_root, download, image_size, colour), data or config.data)


def load_data_for(
    config: TrainConfig,
    data: str | None = None,
    data_root: Path | str | None = None,
    download: bool = False,
    image_size: int | None = None,
    colour: Colour | None = None,
) -> Data:
    """Load what a run's config names, or another set; images in its size and colour or others; see `load_data`."""
    size, wanted = image_size or config.image_size, colour or config.colour
    return load_data(data or config.data, data_root, size, download, wanted)


def load_imageset(
    spec: str,
    data_root: Path | str | None = None,
    image_size: int | None = None,
    download: bool = False,
    colour: Colour | None = None,
) -> ImageSet:
    """Load a set of images by its name.

    Arguments and errors as `load_data`; a data set without images is an error, too.
    """
    return _of_images(load_data(spec, data_root, image_size, download, colour), spec)


def _of_images(found: Data, spec: str) -> ImageSet:
    if not isinstance(found, ImageSet):
        raise MetaprobeError(f"data set {spec!r} has no images, which are needed here; choose a set of images")
    return found


def load_data(
    spec: str,
    data_root: Path | str | None = None,
    image_size: int | None = None,
    download: bool = False,
    colour: Colour | None = None,
) -> Data:
    """Load a data set by its name.

    Args:
        spec: a name of `DATASETS`, `class_folder:PATH`, `parquet:PATH`, `mixture:NAME,NAME…` or `tasks:FILE.npz`.
        data_root: the folder that holds the data sets; None takes `METAPROBE_DATA`.
        image_size: height = width to resize to, in pixels; None for the set's own.
        download: fetch what is missing into the data root.
        colour: "grey" or "rgb"; None for the set's own.

    Returns:
        The set; images are decoded, and a second load takes them from the cache.

    Raises:
        MetaprobeError: for an unknown name, or an option that the set does not have.
        UnreadableInput: for data that are missing or damaged.
    """
    if not is_plain(spec):  # it goes into configs, and the folders that it names into domains
        raise MetaprobeError(
            f"data set {spec!r}: its name is not UTF-8 or has control characters; rename what it names."
        )
    name, colon, argument = spec.partition(":")
    dataset = entry_named("data set", name, DATASETS)
    if image_size is not None and not 8 <= image_size <= 1024:
        raise MetaprobeError(f"image size {image_size} is not in 8 … 1024 pixels.")
    wanted = dataset.argument
    if bool(wanted) != bool(argument) or (colon and not wanted):
        raise MetaprobeError(f"data set {spec!r}: expected {name}{':' * bool(wanted)}{wanted}.")
    request = DataRequest(name, argument, data_root_or_default(data_root), image_size, download, colour)
    if not dataset.images and (image_size, colour) != (None, None):
        raise MetaprobeError(f"data set {spec!r} has no images to resize or colour; leave both options out")
    found = dataset.load(request)
    return found if colour is None else found.in_colour(colour)
