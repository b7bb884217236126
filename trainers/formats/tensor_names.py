"""What the names of a checkpoint's tensors begin and end with, beside those of its network's weights. No torch."""

from __future__ import annotations

__all__ = ["BESIDE", "FCE", "MODULATION", "STATISTICS", "STEPS", "UNTRAINED", "UPDATE_RULE", "is_statistic"]
__all__ += ["is_step_norm"]

UNTRAINED = "untrained."
"""Before the names of the weights that training began with, where a checkpoint holds those too."""
UPDATE_RULE = "update_rule."
"""Before the names of an update rule's parameters, wherever they lie with the network's."""
STEPS = "steps"
"""What the parameters that a norm has for each inner step are called, below `update_rule.` and its own."""
STATISTICS = ("mean", "variance")
"""What a norm may be given, by the names that they have below `update_rule.` and its own."""
MODULATION = "modulation."
"""Before those of a modulation (`trainers.modulations`)."""
FCE = "fce."
"""Before those of full-context embeddings (`trainers.networks.full_context`)."""
BESIDE = (UPDATE_RULE, MODULATION, FCE)
"""Before the names of all that is learned beside a network's weights and kept with them."""


def is_statistic(name: str) -> bool:
    """Tell whether a tensor, by its full name, holds running statistics of a norm, which follow and are not learned."""
    return name.startswith(UPDATE_RULE) and name.endswith(tuple(f".{one}" for one in STATISTICS))


def is_step_norm(name: str) -> bool:
    """Tell whether a tensor, by its full name, holds what a norm has of its own for each inner step."""
    return name.startswith(UPDATE_RULE) and name.endswith(f".{STEPS}")
