"""Imported checkpoints where runs are meant: each gets a run's folder, with what training began with beside it."""

from __future__ import annotations

import dataclasses
import shlex
from pathlib import Path

from metaprobe.trainers.algorithms import ALGORITHMS
from metaprobe.trainers.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from metaprobe.trainers.command import option_words
from metaprobe.trainers.config import TrainConfig
from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.files import alone_in
from metaprobe.trainers.network_config import ModuleConfig
from metaprobe.trainers.run import RunFolder

__all__ = ["as_run", "import_command", "is_imported"]


def is_imported(checkpoint: Checkpoint) -> bool:
    """Tell whether a checkpoint's weights come from elsewhere."""
    return "imported" in checkpoint.provenance


def as_run(path: Path, data: str | None = None) -> Path:
    """Return the run's folder that is meant: the one given, that of a checkpoint in one, or one made of an import.

    Of an imported checkpoint `mine.safetensors` it is `mine.run` beside it, whose checkpoint `start` holds the weights
    before training: those that were given with the import, else those that it has drawn.

    Args:
        path: a run's folder, or a checkpoint.
        data: what the imported ones were trained on, where they do not say.

    Raises:
        UnreadableInput: the checkpoint is damaged.
        MetaprobeError: it is of a run that is not there, names no data, or its folder is another's.
    """
    if not path.is_file():
        return path
    checkpoint = load_checkpoint(path)
    run = path.parent.parent
    if path.parent.name == "checkpoints" and RunFolder(run).config_file.is_file():
        return run
    if not is_imported(checkpoint):
        raise MetaprobeError(f"{path} is a checkpoint of a run; a report is of runs, name its folder")
    config = checkpoint.config if data is None else dataclasses.replace(checkpoint.config, data=data)
    if not config.data:
        raise MetaprobeError(f"{path} does not say what it was trained on; name a data set with --data")
    checkpoint = dataclasses.replace(checkpoint, config=config)
    folder = RunFolder(path.with_name(f"{path.name.removesuffix('.safetensors')}.run"))
    with alone_in(folder.path):
        last = folder.checkpoint("last")
        if last.is_file() and load_checkpoint(last).digest != checkpoint.digest:
            raise MetaprobeError(
                f"{folder.path} was made of another checkpoint, or of this one with other data; move it away, so that "
                "it is made anew"
            )
        folder.claim(config)
        if not last.is_file():
            save_checkpoint(folder.checkpoint("start"), checkpoint.untrained())
            save_checkpoint(last, checkpoint)
    return folder.path


def import_command(checkpoint: Checkpoint, out: str) -> str:
    """Return the command line that imports a checkpoint, as far as the checkpoint knows it."""
    config, network, told = checkpoint.config, checkpoint.network_config, checkpoint.provenance
    words = ["metaprobe", "import", str(told["imported"]), "--network", network.name]
    if isinstance(network, ModuleConfig) and network.arguments:
        words += ["--network-args", *(f"{name}={value!r}" for name, value in network.arguments.items())]
    options = {"n_way": config.n_way, "image_size": network.image_size, "channels": network.channels}
    options |= {"inner_lr": f"{config.inner_lr:g}", "inner_steps": config.inner_steps, "n_shot": config.n_shot}
    words += option_words(options | {"algorithm": config.algorithm, "norm": config.norm, "data": config.data})
    if config.algorithm not in ALGORITHMS:  # nothing but the checkpoint says what adapts
        words += ["--adapts", ",".join(checkpoint.adaptation.layers)]
    words += [] if config.adapt_norm else ["--no-adapt-norm"]
    words += ["--seed", str(config.seed)] if config.seed != TrainConfig.seed else []
    if not str(told["began"]).startswith("drawn"):
        words += ["--start", str(told["began"]).rpartition(" ")[0]]
    return shlex.join([*words, "--out", f"{out.removesuffix('.run')}.safetensors"])
