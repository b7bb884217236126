"""What a similarity measure answers."""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

__all__ = ["FEW", "Similarity"]

FEW = 0.25
"""A share of variance: where samples in any order already share as much on average, they are few."""


@dataclasses.dataclass(frozen=True)
class Similarity:
    """The similarity of two representations of the same samples, or the reason why there is none.

    Attributes:
        value: the similarity; None exactly when `status` is "undefined". Never NaN or infinite.
        status: "ok", or "undefined" where these samples do not determine the measure (a dead layer, too few samples).
        reason: why the value is undefined, in one line; empty when it is not.
        n: number of samples.
        ranks: ranks of the centred x and y: directions whose spread stands above rounding.
        dead: numbers of columns of x and y that are constant within rounding; they are left out.
        measure: the measure's name.
        correlations: canonical correlations, largest first (CCA family only).
        kept: dimensions of x and y in which the correlations were taken (CCA family only).
        forced: correlations that are 1 for want of samples, max(0, kept_x + kept_y − (n−1)) (CCA family only).
        remark: what to mind about a value, in one line: that so few samples give much of it whatever the data are.
        side: the input whose features weigh the correlations, "x" or "y" (PWCCA only).

    Raises:
        ValueError: value, status and reason contradict each other, or the value is not finite.
    """

    value: float | None
    status: Literal["ok", "undefined"]
    reason: str
    n: int
    ranks: tuple[int, int]
    dead: tuple[int, int] = (0, 0)
    measure: str = ""
    correlations: tuple[float, ...] = ()
    kept: tuple[int, int] | None = None
    forced: int | None = None
    side: str = ""
    remark: str = ""

    def __post_init__(self) -> None:
        defined = self.value is not None
        if self.status not in ("ok", "undefined") or defined != (self.status == "ok") or defined == bool(self.reason):
            raise ValueError(
                "similarity: a value goes with status 'ok' and no reason, no value with 'undefined' and a reason; got "
                f"value={self.value}, status={self.status!r}, reason={self.reason!r}"
            )
        if self.value is not None and not math.isfinite(self.value):
            raise ValueError(f"similarity: the value must be finite, got {self.value}; return an undefined one instead")

    @property
    def told(self) -> str:
        """Why there is no value, or what to mind about it; empty where there is nothing to say."""
        return self.reason or self.remark
