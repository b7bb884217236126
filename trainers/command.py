"""Command lines, as messages and pages tell them. No torch."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from metaprobe.trainers.config import SAID_AS_NONE, TrainConfig
from metaprobe.trainers.conventions import usual_options
from metaprobe.trainers.errors import flag_of

__all__ = ["option_words", "train_command"]


def option_words(values: Mapping[str, Any]) -> list[str]:
    """Return options as words of a command line: "--inner-lr", "0.1"; those that are None are left out."""
    told = {n: ",".join(map(str, v)) if isinstance(v, tuple) else str(v) for n, v in values.items() if v is not None}
    return [word for name, text in told.items() for word in (flag_of(name), text)]


def train_command(config: TrainConfig, out: str) -> str:
    """Return the command line that trains a run in the folder `out`; options that are as they would be are left out."""
    usual = usual_options(config)
    named = {n: getattr(config, n) for n in usual if n != "algorithm" and getattr(config, n) != usual[n]}
    named = {name: SAID_AS_NONE.get(name, "None") if value is None else value for name, value in named.items()}
    words = option_words({name: value for name, value in named.items() if not isinstance(value, bool)})
    words += [flag_of(name if value else f"no-{name}") for name, value in named.items() if isinstance(value, bool)]
    return shlex.join(["metaprobe", "train", config.algorithm, *words, "--out", out])
