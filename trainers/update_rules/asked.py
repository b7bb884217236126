"""Whether a run may have the update rule that it asks for. No torch."""

from __future__ import annotations

from metaprobe.trainers.config import Adaptation, TrainConfig
from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.update_rules import rule_named

__all__ = ["check_rule"]


def check_rule(config: TrainConfig, adaptation: Adaptation, layers: tuple[str, ...]) -> None:
    """Refuse a run whose update rule its algorithm cannot have, or whose options its rule has not.

    Args:
        config: the run.
        adaptation: how its algorithm adapts.
        layers: of its network, or words for its parts.

    Raises:
        MetaprobeError: there is no such rule, or as above.
    """
    rule = rule_named(adaptation.rule)
    if rule.every_layer and adaptation.layers != layers:
        told = f"{config.algorithm} adapts {', '.join(adaptation.layers)} alone"
        raise MetaprobeError(f"--update-rule {rule.name} is not for {config.algorithm}: {rule.every_layer}; {told}")
    if rule.computed is not None and (adaptation.first_order or config.first_order_until):
        told = "an inner gradient has its maps in it, of which first order makes constants"
        if not adaptation.first_order:
            raise MetaprobeError(f"--update-rule {rule.name} is not for --first-order-until: {told}; leave one out")
        raise MetaprobeError(f"--update-rule {rule.name} is not for {config.algorithm}: {told}; train with maml")
    if adaptation.rule != (config.update_rule or Adaptation.rule):
        told = f"{config.algorithm} takes its inner steps by {adaptation.rule}"
        raise MetaprobeError(f"{told}; got --update-rule {config.update_rule or Adaptation.rule}, leave it out")
    if rule.memory is not None and not adaptation.first_order:
        told = f"it takes inner gradients as constants, and {config.algorithm} differentiates them"
        raise MetaprobeError(f"--update-rule {rule.name} is not for {config.algorithm}: {told}; train {rule.name}")
    if rule.memory is not None and config.inner_lr != TrainConfig.inner_lr:
        told = f"the rates of {rule.name} are its gates"
        raise MetaprobeError(f"--inner-lr {config.inner_lr:g} would change nothing: {told}; leave it out")
    for option in ("rates_start", "rates_clamp"):
        if getattr(config, option) is not None and (not rule.sets_rate or rule.memory is not None):
            told = f"--{option.replace('_', '-')} is of update rules that learn rates (meta_sgd, lslr)"
            raise MetaprobeError(f"{told}; {rule.name} learns none, leave it out")
