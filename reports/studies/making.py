"""What made a study, read from its run folders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from reports.studies.made import HowMade
from trainers.checkpoint import load_checkpoint
from trainers.config import TrainConfig, to_mapping
from trainers.run import RunFolder
from trainers.tasks.imageset import ImageSet

__all__ = ["how_made", "where_the_data_lie"]


def how_made(
    folders: Mapping[str, RunFolder],
    configs: Mapping[str, TrainConfig],
    imageset: ImageSet,
    *,
    commands: tuple[str, ...],
    test_queries: int,
    facts: tuple[tuple[str, str], ...],
    checkpoints: Mapping[str, Sequence[str]],
    notes: tuple[str, ...] = (),
    stores: tuple[tuple[str, str, str], ...] = (),
    missing: tuple[tuple[str, str, str], ...] = (),
) -> HowMade:
    """Return what made a study; way, shot, steps and network are those of its first run.

    Args:
        folders: the runs by label.
        configs: the same labels' configs as they are shown, without places on this machine.
        imageset: the data.
        commands: that make the report again.
        test_queries: query images of a class in tests.
        facts: more about the tests.
        checkpoints: names of the checkpoints of each label that are listed.
        notes: remarks.
        stores: activation stores: label, hash, checkpoint.
        missing: steps that were not done: name, how they ended, why.
    """
    config = next(iter(configs.values()))
    last = load_checkpoint(next(iter(folders.values())).checkpoint("last"))
    network = last.network_config
    classes = ", ".join(f"{len(imageset.classes_of(split))} {split}" for split in ("train", "val", "test"))
    return HowMade(
        data=imageset.name,
        data_facts=(
            ("images", f"{len(imageset):,} of {imageset.image_size} × {imageset.image_size}"),
            ("classes", classes),
            ("network", f"conv4, {network.filters} filters, {network.downsample}"),
            ("normalisation", config.norm),
            *facts,
            ("data fingerprint", imageset.fingerprint[:12]),
        ),
        n_way=config.n_way,
        n_shot=config.n_shot,
        n_query=config.n_query,
        test_queries=test_queries,
        trained_steps=config.inner_steps,
        commands=commands,
        configs=tuple(
            (label, key, str(value)) for label, told in configs.items() for key, value in to_mapping(told).items()
        ),
        checkpoints=tuple(
            (f"{label}/{name}", load_checkpoint(folders[label].checkpoint(name)).fingerprint)
            for label, names in checkpoints.items()
            for name in names
        ),
        versions=tuple((name, str(last.provenance[name])) for name in ("metaprobe", "python", "torch", "numpy")),
        stores=stores,
        missing=missing,
        notes=(f"Trained on {last.provenance['device']}.", *notes, *where_the_data_lie(config.data)),
    )


def where_the_data_lie(data: str) -> tuple[str, ...]:
    """Return what a reader must know to find a data set, given by its specification; nothing of embedded ones."""
    embedded = ("glyphs", "patterns", "shapes")
    parts = data.removeprefix("mixture:").split(",")
    notes = []
    if any(part.startswith("class_folder:") for part in parts):
        notes.append("The path after class_folder: is seen from the folder in which the command is given.")
    if any(part not in embedded and not part.startswith("class_folder:") for part in parts):
        notes.append(
            "Add --data-root FOLDER, wherever the data lie, or set METAPROBE_DATA; --download fetches missing data."
        )
    return tuple(notes)
