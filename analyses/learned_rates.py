"""What inner rates a learner has learned, by layer and inner step: does it freeze some layers by itself?"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Iterator

from metaprobe.analyses.table import Row, Table
from metaprobe.analyses.testing.plan import identity_of
from metaprobe.trainers.adapt import layers_of
from metaprobe.trainers.checkpoint import Checkpoint
from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.formats.tensor_names import UPDATE_RULE
from metaprobe.trainers.networks.naming import is_within
from metaprobe.trainers.update_rules import STEP_RATES

__all__ = ["learned_rates"]


def learned_rates(checkpoint: Checkpoint) -> Table:
    """Return the learned rates of each layer and inner step (Antoniou et al. 2019, Section 4, LSLR).

    Args:
        checkpoint: of a learner whose update rule has a rate for every step.

    Returns:
        Rows "learned_rate" of each layer and step, from 1: where tensors have rates of their own, that of the layer's
        largest, its weights (`metaprobe inspect` shows all). And "rate_kept", the mean over steps of the rate's size
        over that which training began with: 1 as it began, 0 where the weights are as good as frozen.

    Raises:
        MetaprobeError: the update rule has no rates by step.
    """
    config = checkpoint.config
    if checkpoint.adaptation.rule not in [rule.name for rule in STEP_RATES]:
        able = " or ".join(rule.name for rule in STEP_RATES)
        told = f"checkpoint {checkpoint.fingerprint[:12]} was trained with the update rule {checkpoint.adaptation.rule}"
        raise MetaprobeError(f"{told}, which has no rate for each step; train with --update-rule {able}")
    start = config.inner_lr if config.rates_start is None else config.rates_start
    return Table.of(_rows(checkpoint, start))


def _rows(checkpoint: Checkpoint, start: float) -> Iterator[Row]:
    identity = identity_of(checkpoint)
    for layer in layers_of(checkpoint.network()):
        sizes = {name: value.numel() for name, value in checkpoint.params.items() if is_within(name, layer)}
        largest = max(sizes, key=sizes.__getitem__, default=layer)
        rates = next((checkpoint.rule[name] for name in map(_full, (largest, layer)) if name in checkpoint.rule), None)
        if rates is None:
            continue  # a layer that does not adapt
        row, values = dataclasses.replace(identity, layer=layer, measure="learned_rate"), rates.double().tolist()
        yield from (dataclasses.replace(row, step=step, value=value) for step, value in enumerate(values, 1))
        kept = statistics.fmean(abs(value) / start for value in values)
        yield dataclasses.replace(row, measure="rate_kept", value=kept)


def _full(place: str) -> str:
    return f"{UPDATE_RULE}{place}.rates"
