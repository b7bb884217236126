"""`metaprobe push` and `metaprobe pull`: checkpoints to the Hugging Face Hub, or to a folder, and back."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import tyro

from metaprobe.probe.cli.arguments import CheckpointPath, Flag
from metaprobe.probe.cli.inputs import as_checkpoint
from metaprobe.probe.show import write_line
from metaprobe.trainers.formats.text import visible

__all__ = ["COMMANDS"]

_Repo = Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="REPO")]


def push(
    checkpoint: CheckpointPath,
    repo: _Repo,
    private: Flag = False,
    licence: Annotated[str | None, tyro.conf.arg(metavar="ID", help_behavior_hint="(default: none is told)")] = None,
) -> int:
    """Publish a checkpoint on the Hugging Face Hub with a card that says what it is, or write both to a folder.

    Args:
        checkpoint: what to publish.
        repo: user/name on the Hub (signed in by `hf auth login`), or a folder: ./folder, /folder, file:///folder.
        private: Of a new repository: hide it from who is not invited.
        licence: The licence, as the Hub spells it: mit, cc-by-4.0 …
    """
    from metaprobe.probe.hub import push as push_to
    from metaprobe.trainers.formats.checkpoint_format import read_metadata

    path = as_checkpoint(checkpoint)
    data = str(read_metadata(path).config.get("data", ""))
    if "/" in data:
        told = visible(f"the file says what it was trained on by a path of this machine: {data}")
        sys.stderr.write(f"warning: {told}\n")
    write_line(visible(push_to(path, repo, private, licence)))
    return 0


def pull(
    repo: _Repo,
    out: Annotated[
        Path | None, tyro.conf.arg(metavar="FILE.safetensors", help_behavior_hint="(default: NAME.safetensors)")
    ] = None,
    revision: Annotated[str | None, tyro.conf.arg(metavar="REV", help_behavior_hint="(default: the newest)")] = None,
) -> int:
    """Fetch a checkpoint that `metaprobe push` published; it is checked, and nothing in it is executed.

    Args:
        repo: user/name on the Hub, or a folder: ./folder, /folder, file:///folder.
        out: The file to write.
        revision: A branch, tag or commit on the Hub.
    """
    from metaprobe.probe.hub import pull as pull_from

    write_line(visible(str(pull_from(repo, out, revision))))
    return 0


COMMANDS = {"push": push, "pull": pull}
