"""Meta-LSTM: an LSTM takes the inner steps; it and the initialisation are learned.

Otherwise than published: Norms. Theirs collect running statistics from the support passes of an episode, reset with
each, and normalise queries by them in tests, by the queries' own in training; here tests are as training is, by
`--norm`. Batches. Inner steps see the whole support set, as the paper's 12 at one shot and 8 at five do in tasks of 5
ways; at more ways its batches of 5 or 25 would be parts of it. Scale. Its code divides the gradient of the mean loss by
the batch's size once more, which starts at rates 5 or 25 times lower; that is not built.

Their outer loop is Adam at 1e-3 on one episode a step (`--meta-batch 1`), 75,000 at one shot and 50,000 at five. As
theirs it holds the norm of the gradient, of the LSTM and the initialisation together, to 0.25 (`--clip-norm`).
"""

from __future__ import annotations

import dataclasses
from typing import Any

from metaprobe.trainers.algorithms.base import Algorithm, adapt_all, meta_gradient
from metaprobe.trainers.config import Adaptation, TrainConfig
from metaprobe.trainers.update_rules import META_LSTM as RULE

__all__ = ["META_LSTM"]

_STEPS_ONE_SHOT, _STEPS = 12, 8
_LONGEST = 0.25  # gradient


def _adaptation(config: TrainConfig, layers: tuple[str, ...]) -> Adaptation:
    """Return that gradients and losses, which the LSTM reads, are constants in the meta-gradient (Section 3.3)."""
    return dataclasses.replace(adapt_all(config, layers), rule=RULE.name, first_order=True)


def _as_published(config: TrainConfig) -> dict[str, Any]:
    steps = _STEPS_ONE_SHOT if config.n_shot == 1 else _STEPS
    return {"update_rule": RULE.name, "inner_steps": steps, "clip_norm": _LONGEST}


META_LSTM = Algorithm(
    name="meta_lstm",
    summary="Learns an LSTM that takes the inner steps, with the initialisation, to first order.",
    citation="Ravi, Larochelle: Optimization as a Model for Few-Shot Learning, ICLR 2017, Section 3",
    adaptation=_adaptation,
    meta_gradient=meta_gradient,
    options=frozenset({"update_rule"}),
    defaults=_as_published,
)
