"""What a test of a checkpoint has otherwise than its training: images, ways, shots, rate. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import tyro.conf

from metaprobe.trainers.config import Colour
from metaprobe.trainers.formats.text import count
from metaprobe.trainers.limits import check_rate, check_whole

if TYPE_CHECKING:
    from metaprobe.trainers.checkpoint import Checkpoint

__all__ = ["AS_TRAINED", "TEST_QUERIES", "OtherImages", "Otherwise", "told_iteration", "told_queries"]

_AS_TRAINED = "(default: as in training)"


@dataclass(frozen=True)
class OtherImages:
    """What images are brought to for a test; None leaves them as in training."""

    image_size: Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint=_AS_TRAINED)] = None
    """Bring images to this many pixels: those that the network takes."""
    colour: Annotated[Colour | None, tyro.conf.arg(metavar="{grey,rgb}", help_behavior_hint=_AS_TRAINED)] = None
    """Turn images grey, or into RGB, as the network takes them."""

    def told_of_images(self, checkpoint: Checkpoint) -> str:
        """Return what was done with images that was not in training, in words; "" for nothing."""
        parts = []
        if self.image_size not in (None, checkpoint.config.image_size):
            parts.append(f"brought to {self.image_size} × {self.image_size}")
        if self.colour not in (None, checkpoint.config.colour):
            parts.append(f"turned {'grey' if self.colour == 'grey' else 'into RGB'}")
        return f"images {' and '.join(parts)}" if parts else ""


@dataclass(frozen=True)
class Otherwise(OtherImages):
    """What a test changes of a checkpoint; None leaves it as it was trained.

    Raises:
        MetaprobeError: a number is none that a task or an inner loop can have.
    """

    n_way: Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint=_AS_TRAINED)] = None
    """Classes in a task. Where it is another number than in training the head is new: it starts as the network draws
    heads, with the seed of the run."""
    n_shot: Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint=_AS_TRAINED)] = None
    """Support images of a class."""
    n_query: Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="(default: 15)")] = None
    """Query images of a class."""
    inner_lr: Annotated[float | None, tyro.conf.arg(metavar="FLOAT", help_behavior_hint=_AS_TRAINED)] = None
    """Step size of the inner loop, on the mean loss."""

    def __post_init__(self) -> None:
        check_whole("n_way", self.n_way, 2)
        check_whole("n_shot", self.n_shot, 1)
        check_whole("n_query", self.n_query, 1)
        check_rate("inner_lr", self.inner_lr)

    @property
    def queries(self) -> int:
        """Query images of a class, as told or as tests have them."""
        return TEST_QUERIES if self.n_query is None else self.n_query

    def told(self, checkpoint: Checkpoint) -> str:
        """Return what of a test is otherwise than a checkpoint was trained, in words; "" for nothing."""
        shape, trained = checkpoint.network_config, checkpoint.config
        parts = []
        if self.n_way not in (None, shape.n_way):
            parts.append(f"{self.n_way} ways under a new head, drawn with seed {trained.seed} (trained: {shape.n_way})")
        if self.n_shot not in (None, trained.n_shot):
            parts.append(f"{count(self.n_shot, 'shot')} (trained: {trained.n_shot})")
        if self.n_query not in (None, trained.n_query):
            parts.append(told_queries(self.n_query, trained.n_query, checkpoint.provenance))
        if self.inner_lr not in (None, checkpoint.adaptation.inner_lr):
            parts.append(f"inner rate {self.inner_lr:g} (trained: {checkpoint.adaptation.inner_lr:g})")
        return "; ".join(filter(None, (*parts, self.told_of_images(checkpoint))))


def told_iteration(iteration: int, provenance: Mapping[str, Any]) -> int | None:
    """Return how many outer steps made weights; None of imported ones that were trained, as nobody told."""
    return None if iteration and "imported" in provenance else iteration


def told_queries(queries: int, trained: int, provenance: Mapping[str, Any]) -> str:
    """Say how many queries a class a test has, beside those of the training, which of imported weights nobody told."""
    known = "not known" if "imported" in provenance else trained
    return f"{count(queries, 'query', 'queries')} a class (trained: {known})"


TEST_QUERIES = 15
"""Query images of a class in tests that are not told how many; rows say nothing of them then."""

AS_TRAINED = Otherwise()
"""A test of what was trained, as it was trained."""
