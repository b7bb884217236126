"""MAML++: MAML with all that its paper adds to it."""

from __future__ import annotations

from typing import Any

from metaprobe.trainers.algorithms.base import STAGES, UPDATES, Algorithm, adapt_all, meta_gradient
from metaprobe.trainers.config import TrainConfig

__all__ = ["MAML_PP"]

_FLOOR = 1e-5


def _all_parts(config: TrainConfig) -> dict[str, Any]:
    """Return every part of MAML++ as an option, with the paper's proportions: 15 and 50 of its 150 epochs.

    The floor of the outer rate is that of its code on Omniglot. Norms go by each batch's own statistics, as in that
    code; the paper's running ones (BNRS) are `--step-statistics running`. A base decides of the network instead.
    """
    parts = {"update_rule": "lslr", "step_norms": True, "adapt_norm": False, "rotate_classes": True}
    parts |= {"multi_step_loss": -(-config.iterations // 10), "first_order_until": config.iterations // 3}
    parts |= {"schedule": "cosine", "outer_lr_floor": min(_FLOOR, config.outer_lr)}
    return parts | ({"like": "antoniou2019"} if config.base is None else {})


MAML_PP = Algorithm(
    name="maml_pp",
    summary="MAML with a learned rate and norms a step, losses after every step and first order first, all annealed.",
    citation="Antoniou, Edwards, Storkey: How to Train Your MAML, ICLR 2019, Section 4",
    adaptation=adapt_all,
    meta_gradient=meta_gradient,
    options=UPDATES | STAGES | {"step_norms", "step_statistics"},
    defaults=_all_parts,
)
