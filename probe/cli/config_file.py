"""`metaprobe train --config FILE.toml`: options from a file, such as a run's own; those that are given win."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from metaprobe.trainers.algorithms import algorithm_named
from metaprobe.trainers.config import TrainConfig
from metaprobe.trainers.errors import UnreadableInput
from metaprobe.trainers.formats.strict_toml import read_toml
from metaprobe.trainers.formats.text import visible
from metaprobe.trainers.plain import checked_values
from metaprobe.trainers.run import RunFolder

__all__ = ["ConfigFile"]

_FIELDS = dataclasses.fields(TrainConfig)
_ALWAYS = {field.name for field in _FIELDS if field.default is not None and not field.metadata.get("later")}
"""What every run's own config.toml says; it leaves out what is not set, and later options at their defaults."""


@dataclass(frozen=True)
class ConfigFile:
    """Options of a run as a TOML file says them, some or all; its `base` is named from the file's folder."""

    path: Path
    values: Mapping[str, Any]  # by name, of the types that `TrainConfig` has

    @classmethod
    def read(cls, path: Path) -> ConfigFile:
        """Read a file; of a run's folder its own.

        Raises:
            UnreadableInput: it is a folder of no run, or no TOML; or it says what no run has, with close matches, or
                in a wrong type.
        """
        if path.is_dir():
            folder, path = path, RunFolder(path).config_file
            if not path.exists():
                raise UnreadableInput(f"--config {folder} is a folder without {path.name}; name a run, or a TOML file")
        values = checked_values(TrainConfig, read_toml(path), str(path))
        base = {"base": os.path.normpath(path.parent / values["base"])} if values.get("base") else {}
        return cls(path, values | base)

    def default(self) -> TrainConfig:
        """Return a config with the file's values and the defaults, for tyro to fill; what has neither must be given."""
        made = object.__new__(TrainConfig)  # not checked: what is given may put right what the file says
        for field in _FIELDS:
            usual = tyro.MISSING if field.default is dataclasses.MISSING else field.default
            object.__setattr__(made, field.name, self.values.get(field.name, usual))
        return made

    def says(self, name: str, algorithm: str) -> bool:
        """Tell whether the file decides an option: it names it, or is the whole of a run of this algorithm."""
        own = set(self.values) >= _ALWAYS and self.values["algorithm"] == algorithm
        return own or name in self.values

    def tell(self, config: TrainConfig, given: Callable[[str], bool]) -> None:
        """Say on standard error what was taken from the file, what was given instead, and whose file it is.

        Args:
            config: the run.
            given: whether the command line names an option.
        """
        usual = {field.name: field.default for field in _FIELDS}
        other = self.values.get("algorithm", config.algorithm) != config.algorithm
        instead = [
            n for n, value in self.values.items() if (given(n) or n == "algorithm") and getattr(config, n) != value
        ]
        taken = [f"{n} {_word(v)}" for n, v in self.values.items() if n not in instead and v != usual[n]]
        told = f"{self.path}: taken {', '.join(taken) or 'what is the default anyway'}"
        told += f"; given here instead: {', '.join(f'{n} {_word(getattr(config, n))}' for n in instead)}" * bool(
            instead
        )
        if other:
            own = algorithm_named(config.algorithm).defaults(config)
            lost = [n for n, value in own.items() if n in self.values and not given(n) and value != self.values[n]]
            told += f". The file is of {self.values['algorithm']}, and what it says is {config.algorithm}'s now"
            told += f", against its own defaults ({', '.join(f'{n} {_word(own[n])}' for n in lost)})" * bool(lost)
        sys.stderr.write(f"{visible(told)}\n")


def _word(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
