"""Where episodes come from: image sets by name, and the episode sampler."""

from __future__ import annotations

from pathlib import Path

from trainers.errors import MetaprobeError, unknown_name
from trainers.tasks.cifar_fs import load_cifar_fs
from trainers.tasks.class_folder import load_class_folder
from trainers.tasks.glyphs import load_glyphs
from trainers.tasks.imageset import SPLITS, ImageSet
from trainers.tasks.omniglot import load_omniglot
from trainers.tasks.sources import DATA_ROOT_VARIABLE, DataRequest, Dataset, data_root_or_default

__all__ = ["DATASETS", "DATA_ROOT_VARIABLE", "SPLITS", "DataRequest", "Dataset", "ImageSet", "load_imageset"]

DATASETS: dict[str, Dataset] = {
    dataset.name: dataset
    for dataset in (
        Dataset(
            "glyphs",
            load_glyphs,
            "embedded: characters of 14 scripts × 20 faces and small affine maps, 28×28 grey; groups: scripts",
            "drawn from the DejaVu, STIX and Computer Modern fonts that matplotlib ships",
            "MIT; the fonts: DejaVu (Bitstream Vera), STIX and BaKoMa licences",
        ),
        Dataset(
            "omniglot",
            load_omniglot,
            "1,623 handwritten characters × 4 rotations × 20 drawings of 28×28 grey; groups: 50 alphabets",
            "Lake, Salakhutdinov & Tenenbaum, Science 350, 2015; splits of Vinyals et al. 2016",
            "MIT",
        ),
        Dataset(
            "cifar_fs",
            load_cifar_fs,
            "CIFAR-100's classes split 64/16/20, 600 images of 32×32 RGB each; groups: 20 superclasses",
            "Krizhevsky 2009; splits of Bertinetto et al., ICLR 2019",
            "none stated by its authors",
        ),
        Dataset(
            "class_folder",
            load_class_folder,
            "class_folder:PATH, your own images: PATH/[group/]class/image, optional train.txt, val.txt, test.txt",
            "yours",
            "yours",
        ),
    )
}


def load_imageset(
    spec: str, data_root: Path | str | None = None, image_size: int | None = None, download: bool = False
) -> ImageSet:
    """Load a data set by its name.

    Args:
        spec: a name of `DATASETS`, or `class_folder:PATH`.
        data_root: the folder that holds the data sets; None takes `METAPROBE_DATA`.
        image_size: height = width to resize to, in pixels; None for the set's own.
        download: fetch what is missing into the data root.

    Returns:
        The set, decoded; a second load takes it from the cache.

    Raises:
        MetaprobeError: for an unknown name, or an option that the set does not have.
        UnreadableInput: for data that are missing or damaged.
    """
    name, colon, argument = spec.partition(":")
    if name not in DATASETS:
        raise unknown_name("data set", name, DATASETS)
    if image_size is not None and not 8 <= image_size <= 1024:
        raise MetaprobeError(f"image size {image_size} is not in 8 … 1024 pixels.")
    takes_path = name == "class_folder"
    if takes_path != bool(argument) or (colon and not takes_path):
        expected = "class_folder:PATH" if takes_path else name
        raise MetaprobeError(f"data set {spec!r}: expected {expected}.")
    request = DataRequest(name, argument, data_root_or_default(data_root), image_size, download)
    return DATASETS[name].load(request)
