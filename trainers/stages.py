"""What changes while a run trains, by iteration: its rate, the order of its derivatives, its losses. No torch.

The parts of MAML++ that are annealed (Antoniou et al. 2019, Section 4: CA, DA and MSL). A test knows none of them.
"""

from __future__ import annotations

import dataclasses
import math

from metaprobe.trainers.config import Adaptation, TrainConfig

__all__ = ["heaviest_stage", "loss_weights", "outer_rate", "stage_of"]

_LEAST = 0.03  # of 1/steps: what the weight of a step before the last does not fall below


def stage_of(config: TrainConfig, adaptation: Adaptation, iteration: int) -> Adaptation:
    """Return how learners adapt in an outer step, and which of their losses count.

    Args:
        config: the run.
        adaptation: how its learners adapt at test time.
        iteration: outer steps taken before.
    """
    first_order = adaptation.first_order or iteration < (config.first_order_until or 0)
    weights = loss_weights(adaptation.steps, iteration, config.multi_step_loss or 0)
    return dataclasses.replace(adaptation, first_order=first_order, loss_weights=weights)


def heaviest_stage(config: TrainConfig, adaptation: Adaptation) -> Adaptation:
    """Return the adaptation of the stage that takes most memory and time: what an engine must be able to compute."""
    weights = loss_weights(adaptation.steps, 0, config.multi_step_loss or 0)
    return dataclasses.replace(adaptation, loss_weights=weights)


def loss_weights(steps: int, iteration: int, until: int) -> tuple[float, ...]:
    """Return the weights of the query losses after each of S inner steps; () where the last alone counts.

    In iteration t of N, w_i = max(1/S − t/(S·N), 0.03/S) for i < S, and the last has what is left of 1; from iteration
    N on it has all (the paper's annealing, in the numbers of its code, which goes by epochs of 500 iterations).

    Args:
        steps: S.
        iteration: t, from 0.
        until: N; 0 for never.
    """
    if iteration >= until or steps < 2:
        return ()
    before = max((1 - iteration / until) / steps, _LEAST / steps)
    return (*[before] * (steps - 1), 1 - (steps - 1) * before)


def outer_rate(config: TrainConfig, iteration: int) -> float:
    """Return the outer rate in iteration t of T: β, or as a cosine β_min + (β − β_min)(1 + cos(πt/T))/2."""
    floor, progress = config.outer_lr_floor or 0.0, iteration / config.iterations
    share = 0.5 * (1 + math.cos(math.pi * progress)) if config.schedule == "cosine" else 1.0
    return floor + (config.outer_lr - floor) * share
