"""The inner rates that a checkpoint has learned, a number a place and step, as a table. No torch."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from metaprobe.probe.inspection.tensor_files import TensorFile
from metaprobe.probe.show import Grid
from metaprobe.trainers.formats.tensor_names import UPDATE_RULE
from metaprobe.trainers.formats.text import visible
from metaprobe.trainers.update_rules import STEP_RATES

__all__ = ["RatesReport", "inspect_rates", "rate_grids"]

_MOST_STEPS = 20  # that a table has columns for
_NAME = ".rates"


@dataclass(frozen=True)
class RatesReport:
    """The rates of a tensor, or of a layer: one an inner step, in order; later steps take the last."""

    place: str
    rates: tuple[float, ...]


def inspect_rates(file: TensorFile) -> tuple[RatesReport, ...]:
    """Return the learned rates of a checkpoint of ours whose update rule has them by step; none of other files.

    Args:
        file: an open file.

    Raises:
        UnreadableInput: it ends inside one of them.
    """
    checkpoint = file.checkpoint
    if checkpoint is None or checkpoint.adaptation.get("rule") not in [rule.name for rule in STEP_RATES]:
        return ()
    return tuple(_reports(file))


def _reports(file: TensorFile) -> Iterator[RatesReport]:
    for tensor in file.tensors:
        own = tensor.name.startswith(UPDATE_RULE) and tensor.name.endswith(_NAME)
        if own and tensor.dtype == "F32" and len(tensor.shape) == 1:
            place = tensor.name.removeprefix(UPDATE_RULE).removesuffix(_NAME)
            values = (number for piece in file.pieces(tensor) for (number,) in struct.iter_unpack("<f", piece))
            yield RatesReport(visible(place, 80), tuple(values))


def rate_grids(found: Sequence[RatesReport]) -> tuple[Grid, ...]:
    """Return the table of learned rates, a row a place and a column a step; nothing where there are none."""
    if not found:
        return ()
    steps = max(len(report.rates) for report in found)
    shown = min(steps, _MOST_STEPS)
    rows = (
        (report.place, *(report.rates[step] if step < len(report.rates) else None for step in range(shown)))
        for report in found
    )
    told = f"learned rates, the first {shown} steps of {steps}" if shown < steps else "learned rates"
    what = "tensor" if any("." in report.place for report in found) else "layer"
    return (Grid(told, (what, *(f"step {step + 1}" for step in range(shown))), tuple(rows)),)
