"""What a mark of a figure says to a mouse over it: what it is, its value with interval, and where that comes from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from analyses.readings import Estimate, Reading
from analyses.table import Row
from reports.evidence import Evidence
from reports.page.scale import tame
from reports.quantities import Quantity
from reports.wording import interval, number, reason_of, sizes

__all__ = ["Told", "read"]


@dataclass(frozen=True)
class Told:
    """A reading as a mark shows it."""

    reading: Reading  # what was read
    estimate: Estimate | None  # the same where it can be drawn
    text: str  # what it is, and its value: "MAML, conv1: 46.3 [45.1, 47.5], n = 600, 3 seeds"
    origin: str = ""  # where its rows come from: "checkpoint 1a2b3c4d; source 5e6f7a8b"

    @property
    def words(self) -> str:
        """All that a mouse over the mark shows."""
        return "; ".join(filter(None, (self.text, self.origin)))


def read(quantity: Quantity | float | None, evidence: Evidence | None, what: str = "") -> Told:
    """Read a quantity, or take a plain number, for which there need be no evidence, and say what it is."""
    rows: list[Row] = []
    if isinstance(quantity, Quantity):
        assert evidence is not None
        with evidence.recording() as rows:
            reading = quantity.read(evidence)
    else:
        reading = None if quantity is None else Estimate(float(quantity))
    return Told(reading, _drawable(reading), _text(reading, what), _origin(rows))


def _drawable(reading: Reading) -> Estimate | None:
    """Return an estimate as a mark can show it: of an end that no axis has, no bar is drawn."""
    if not isinstance(reading, Estimate) or (value := tame(reading.value)) is None:
        return None
    low, high = (None if end is None else tame(end) for end in (reading.low, reading.high))
    seeds = tuple((seed, own) for seed, one in reading.per_seed if (own := tame(one)) is not None)
    return replace(reading, value=value, low=low, high=high, per_seed=seeds)


def _text(reading: Reading, what: str) -> str:
    if isinstance(reading, Estimate):
        # three digits of the value, or of its interval where the value is 0
        size = abs(reading.value) or max(map(abs, reading.ends)) or 1.0
        digits = min(6, max(0, 2 - math.floor(math.log10(size)))) if math.isfinite(size) else 0
        value = number(reading.value, digits) if abs(reading.value) < 1e6 else f"{reading.value:.3g}"
        bounds = interval(reading.low, reading.high, digits)
        text = ", ".join([f"{value} {bounds}".rstrip(), *sizes(reading)])
    else:
        text = "no value" if reading is None else f"undefined ({reason_of(reading)})"
    return f"{what}: {text}" if what else text


def _origin(rows: Sequence[Row]) -> str:
    """Name the checkpoints behind rows, and their sources where those are others: the first two, and how many more."""
    checkpoints = [name for row in rows for name in (row.checkpoint, row.other_checkpoint) if name]
    sources = [name for row in rows if row.source for name in row.source.split("+") if name not in checkpoints]
    parts = []
    for word, names in (("checkpoint", checkpoints), ("source", sources)):
        short = list(dict.fromkeys(name[:8] if len(name) == 12 else name for name in names))  # ids have 12 digits
        more = f" and {len(short) - 2} more" if len(short) > 2 else ""
        parts += [f"{word}{'s' if len(short) > 1 else ''} {', '.join(short[:2])}{more}"] if short else []
    return "; ".join(parts)
