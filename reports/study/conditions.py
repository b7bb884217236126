"""Where a study's conditions differ from those of its paper: its options against the paper's preset."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from reports.made import Differs
from reports.study.options import Options
from reports.study.study import Study

__all__ = ["against_paper", "known_settings"]

# options that change what is computed, or on what, not under which conditions; the data have a line of their own
_OURS = ("preset", "data", "chunk", "device", "val_tasks", "replicates", "permutations", "rounds", "bound_tasks")
_OURS += ("symmetric", "image_size", "colour")
# of a training elsewhere: settings that an imported checkpoint was told, and options that it does not know
_KNOWN = ("algorithm", "data", "n_way", "n_shot", "seed", "inner_lr", "inner_steps", "norm", "adapt_norm", "image_size")
_KNOWN += ("colour", "filters", "blocks", "downsample", "norm_affine", "norm_epsilon", "head_input")
_UNKNOWN = ("iterations", "meta_batch", "n_query", "schedule", "like")
_ELSEWHERE = Differs("training", "as in the paper", "elsewhere: its steps, tasks and rates are not known here")


def known_settings(config: Mapping[str, object]) -> dict[str, object]:
    """Return the settings that an imported checkpoint was told, out of all: the rest of its config are defaults."""
    return {name: value for name, value in config.items() if name in _KNOWN}


def against_paper(study: Study, options: Options, imported: bool = False) -> tuple[Differs, ...]:
    """Return what differs from the paper: first what always does, then the options that are others than in its preset.

    Of several presets whose names begin with "paper" it is one of a mixture of data where these are, then of as many
    ways and shots, else of as many ways, else the first. Where a learner was `imported`, trained elsewhere, the options
    say nothing of its training.
    """
    presets = [preset for name, preset in study.presets.items() if name.startswith("paper")]
    if not presets:
        return ()
    mixed = options.data.startswith("mixture:")

    def likeness(one: Options) -> tuple[bool, ...]:
        return one.data.startswith("mixture:") == mixed, one.n_way == options.n_way, one.n_shot == options.n_shot

    paper, ours = max(presets, key=likeness), {*_OURS, *(_UNKNOWN if imported else ())}
    every = ((f.name, getattr(paper, f.name), getattr(options, f.name)) for f in fields(options) if f.name not in ours)
    found = [Differs(name.replace("_", " "), _told(there), _told(here)) for name, there, here in every if there != here]
    if imported:  # of the others nobody knows whether they hold
        return (*(one for one in study.unlike if one.what == "data"), _ELSEWHERE, *found)
    return (*study.unlike, *found)


def _told(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "none"
    if value is None:
        return "as the data ask for"
    if isinstance(value, bool):  # before numbers, as 1 == True
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else f"{value:g}" if isinstance(value, float) else str(value)
