"""Command lines, as messages and pages tell them. No torch."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from metaprobe.trainers.config import TrainConfig
from metaprobe.trainers.errors import flag_of

__all__ = ["option_words", "train_command"]


def option_words(values: Mapping[str, Any]) -> list[str]:
    """Return options as words of a command line: "--inner-lr", "0.1"; those that are None are left out."""
    told = {n: ",".join(map(str, v)) if isinstance(v, tuple) else str(v) for n, v in values.items() if v is not None}
    return [word for name, text in told.items() for word in (flag_of(name), text)]


def train_command(config: TrainConfig, out: str) -> str:
    """Return the command line that trains a run in the folder `out`; options left at their defaults are left out."""
    told = {f.name: getattr(config, f.name) for f in fields(config) if f.name != "algorithm"}
    usual = {name: getattr(TrainConfig, name, None) for name in told} | {"val_query": config.n_query}
    named = {name: value for name, value in told.items() if value != usual[name]}
    words = option_words({name: value for name, value in named.items() if not isinstance(value, bool)})
    words += [flag_of(name if value else f"no-{name}") for name, value in named.items() if isinstance(value, bool)]
    return shlex.join(["metaprobe", "train", config.algorithm, *words, "--out", out])
