"""`metaprobe import`: weights that were trained elsewhere, made into a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import tyro

from metaprobe.probe.cli.arguments import Flag, Json, Network, check_outputs
from metaprobe.probe.show import Cell, Grid, as_json, show, write_line
from metaprobe.trainers.formats.text import visible

__all__ = ["COMMANDS"]


def import_(
    weights: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="WEIGHTS")],
    out: Annotated[Path, tyro.conf.arg(metavar="FILE.safetensors")],
    n_way: int,
    image_size: int,
    channels: int,
    inner_lr: float,
    inner_steps: int,
    network: Network = None,
    network_args: Annotated[
        tuple[str, ...], tyro.conf.arg(metavar="KEY=VALUE…", help_behavior_hint="(default: its own)")
    ] = (),
    n_shot: int = 1,
    adapts: Annotated[
        str | None, tyro.conf.arg(metavar="{all,head,LAYERS}", help_behavior_hint="(default: all)")
    ] = None,
    adapt_norm: bool = True,
    norm: Literal["transductive", "non-transductive", "running"] = "transductive",
    algorithm: Annotated[
        str | None,
        tyro.conf.arg(metavar="ALGORITHM", help_behavior_hint="(default: maml where all layers adapt, anil: the head)"),
    ] = None,
    data: Annotated[str, tyro.conf.arg(metavar="SET", help_behavior_hint="(default: said later)")] = "",
    start: Annotated[
        Path | None, tyro.conf.arg(metavar="WEIGHTS", help_behavior_hint="(default: drawn with --seed)")
    ] = None,
    new_head: Flag = False,
    key: Annotated[
        str | None, tyro.conf.arg(metavar="KEY", help_behavior_hint="(default: state_dict, model, net …)")
    ] = None,
    seed: int = 0,
    json: Json = False,
) -> int:
    """Turn weights that were trained elsewhere into a checkpoint that every command takes.

    Weights are found in state dicts, in what people save around them, and in folders of several files; nothing is
    unpickled but tensors and plain values. The conv4 networks of learn2learn and LibFewShot are known by their weights.

    Args:
        weights: A file of torch.save, safetensors, or a folder of several with their index.
        out: The checkpoint to write.
        n_way: Classes in a task.
        image_size: Height and width of the images.
        channels: Of the images: 1 or 3.
        inner_lr: Step size of the inner loop, on the mean loss.
        inner_steps: Gradient steps on a support set in training.
        network: Whose weights they are.
        network_args: What its factory is given, such as width=64.
        n_shot: Support images of a class.
        adapts: Layers that the inner loop moves: all, the head alone, or names and globs.
        adapt_norm: Whether the inner loop moves the norms' affine parameters.
        norm: Whose statistics batch norms take: their batch's, the support set's, or the running ones of the file.
        algorithm: What trained it; a report takes it for that.
        data: What it was trained on, as a data set of `metaprobe list datasets`.
        start: The weights before training, as the untrained control.
        new_head: Draw the head freshly.
        key: Where in the file the weights are.
        seed: Of what is drawn.
        json: Write JSON.
    """
    from metaprobe.probe.importing import Wanted, import_weights
    from metaprobe.trainers.checkpoint import save_checkpoint
    from metaprobe.trainers.limits import check_rate, check_whole
    from metaprobe.trainers.networks.named import network_arguments
    from metaprobe.trainers.user_code import USER_CODE, is_code

    check_outputs((out,), [path for path in (weights, start) if path is not None])
    for name, value in (("n_way", n_way), ("n_shot", n_shot), ("image_size", image_size), ("channels", channels)):
        check_whole(name, value, 2 if name == "n_way" else 1)
    check_rate("inner_lr", inner_lr)
    wanted = Wanted(
        n_way, channels, image_size, network, network_arguments(network_args), n_shot, inner_lr, inner_steps, adapts,
        adapt_norm, norm, algorithm, data, seed, key, new_head, start,
    )  # fmt: skip
    USER_CODE.set(network if network and is_code(network) else None)
    found = import_weights(weights, wanted)
    save_checkpoint(out, found.checkpoint)
    if json:
        write_line(as_json(dict(found.facts) | {"checkpoint": found.checkpoint.fingerprint[:12], "path": str(out)}))
        return 0
    rows: tuple[tuple[Cell, ...], ...] = (*found.facts, ("checkpoint", found.checkpoint.fingerprint[:12]))
    show((Grid("imported", ("what", "value"), rows),))
    write_line(visible(str(out)))
    return 0


COMMANDS = {"import": import_}
