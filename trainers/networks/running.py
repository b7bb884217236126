"""Norms that may be given the statistics that they normalise by, and that tell those of their batches."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from metaprobe.trainers.formats.tensor_names import STATISTICS, UPDATE_RULE, is_statistic

__all__ = ["GivenNorm", "given_norms", "normed_by", "of_the_pass", "recorded", "statistics_part"]

Seen = list[tuple[Tensor, Tensor]]
"""Mean and variance of each pass, (task·channel)."""


class GivenNorm(nn.Module):
    """A norm of folded maps that is given statistics, or takes those of its batch and may tell them.

    Attributes:
        channels: of one task.
        mean, variance: what it normalises by, (task·channel), where a pass gives them; else None.
        seen: where it writes down what it normalised by, one entry a pass; None for nowhere.
    """

    mean: Tensor | None
    variance: Tensor | None

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.seen: Seen | None = None
        for name in STATISTICS:
            self.register_buffer(name, None)

    def tell(self, x: Tensor, n_context: int | None) -> None:
        """Write down the statistics of a batch, or of its first samples; of the variance the unbiased estimate."""
        if self.seen is not None:
            variance, mean = torch.var_mean(x.detach()[:n_context], (0, 2, 3), correction=1)
            self.seen.append((mean, variance))


def normed_by(
    x: Float[Tensor, "sample channel height width"],
    mean: Float[Tensor, " channel"],
    variance: Float[Tensor, " channel"],
    weight: Float[Tensor, " channel"],
    bias: Float[Tensor, " channel"],
    pools: bool,
    epsilon: float,
    slope: float,
) -> Float[Tensor, "sample channel height width"]:
    """Return what `trainers.networks.kernels.norm_relu` does, by given statistics; arguments as there."""
    out = F.batch_norm(x, mean, variance, weight, bias, False, 0.0, epsilon)
    out = F.leaky_relu(out, slope) if slope else F.relu(out)
    return F.max_pool2d(out, 2) if pools else out


def given_norms(network: nn.Module) -> dict[str, GivenNorm]:
    """Return a network's norms that may be given statistics, by their places."""
    return {place: module for place, module in network.named_modules() if isinstance(module, GivenNorm)}


def statistics_part(params: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return of parameters by name the statistics, `update_rule.PLACE.mean` and `.variance`, each (set, channel)."""
    return {name: value for name, value in params.items() if is_statistic(name)}


def of_the_pass(params: Mapping[str, Tensor]) -> dict[str, Float[Tensor, " channel"]]:
    """Return the statistics that a pass with these parameters is normalised by, the first set, by the norms' names."""
    return {name.removeprefix(UPDATE_RULE): value[0] for name, value in statistics_part(params).items()}


@contextlib.contextmanager
def recorded(network: nn.Module) -> Iterator[dict[str, Seen]]:
    """Give what each norm is normalised by within the block, by its place, in the order of the passes."""
    norms = given_norms(network)
    for norm in norms.values():
        norm.seen = []
    try:
        yield {place: norm.seen for place, norm in norms.items() if norm.seen is not None}
    finally:
        for norm in norms.values():
            norm.seen = None
