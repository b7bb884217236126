"""The figure of `metaprobe inspect`."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.ticker import MaxNLocator

from metaprobe.probe.inspection.distributions import Distribution
from metaprobe.probe.inspection.inspect import Inspection
from metaprobe.reports.blocks.declared import Curve, Curves, Dots, Figure, Series
from metaprobe.reports.wording import INK, capital, count, layer_colour, listed

__all__ = ["weights_figure"]

_MOST = 8  # layers whose norms stand beside each other; more are below each other


def weights_figure(inspection: Inspection, found: Sequence[Distribution]) -> Figure:
    """Return the norm of each layer's weights and their root mean square, and how they are distributed.

    Args:
        inspection: with statistics.
        found: a histogram a layer.
    """
    norms = {layer.name: layer.norm for layer in inspection.layers if layer.norm is not None}
    sizes = dict.fromkeys(norms, 0)
    unread: dict[str, str] = {}  # dtypes without a decoder, by layer
    for info, own in ((one.info, one.statistics) for one in inspection.tensors if one.info.parameters):
        if own is not None and info.layer in sizes:
            sizes[info.layer] += info.parameters - own.nan - own.inf
        elif own is not None and not own.computed:
            unread[info.layer] = info.dtype
    spreads = {name: norm / math.sqrt(sizes[name]) if sizes[name] else None for name, norm in norms.items()}
    lying, names = len(norms) > _MOST, tuple(norms)
    panels = [
        Dots(title, names, (Series("", INK, tuple(values[name] for name in names)),), lying=lying)
        for title, values in (("L2 norm of a layer", norms), ("Root mean square of its weights", spreads))
    ]
    panels += [_density(one, tuple(each.layer for each in found)) for one in found]
    beyond = sum(one.beyond for one in found)
    caption = (
        f"Norms of {count(len(norms), 'layer')}, and the density of their weights: those of tensors with two axes "
        f"or more, of a layer without such all; within 4 standard deviations of the mean; {beyond:,} lie beyond."
    )
    if norms:
        largest = max(norms, key=lambda name: norms[name])
        caption += f" {capital(largest)} has the largest norm, {norms[largest]:.4g}."
    if unread:
        dtypes = listed(sorted(set(unread.values())))
        caption += f" Without norms, as values of {dtypes} have no decoder: {listed([*unread])}."
    missing = ("Weights", "the file holds no real numbers")
    return Figure("weights", caption, tuple(panels), missing, columns=3, wide=2)


def _density(found: Distribution, layers: tuple[str, ...]) -> Curves:
    colour = layer_colour(found.layer, layers)
    stairs = list(zip(found.edges.repeat(2)[1:-1].tolist(), found.density.repeat(2).tolist(), strict=True))
    low, high = float(found.edges[0]), float(found.edges[-1])
    ticks = tuple(tick for tick in MaxNLocator(3, steps=[1, 2, 5, 10]).tick_values(low, high) if low <= tick <= high)
    curve = Curve("", colour, tuple(stairs), band=tuple((x, 0.0, height) for x, height in stairs))
    total = int(found.counts.sum()) + found.beyond
    return Curves(f"{found.layer} ({count(total, 'weight')})", "", (curve,), (0.0, None), ticks=ticks)
