"""The update rules of the inner loop, one file each, and the registry that the command line reads."""

from __future__ import annotations

from metaprobe.trainers.errors import entry_named
from metaprobe.trainers.update_rules.base import (
    Memory,
    Own,
    Slot,
    Slots,
    UpdateRule,
    a_tensor,
    network_part,
    owned,
    rule_part,
    shared,
)
from metaprobe.trainers.update_rules.lslr import LSLR, LSLR_LAYER, STEP_RATES
from metaprobe.trainers.update_rules.meta_curvature import META_CURVATURE
from metaprobe.trainers.update_rules.meta_kfo import META_KFO, META_KFO_FREE
from metaprobe.trainers.update_rules.meta_kfo_nonlinear import META_KFO_NONLINEAR
from metaprobe.trainers.update_rules.meta_lstm import META_LSTM
from metaprobe.trainers.update_rules.meta_sgd import META_SGD
from metaprobe.trainers.update_rules.sgd import SGD
from metaprobe.trainers.update_rules.t_nets import T_NETS

__all__ = [
    "SGD",
    "STEP_RATES",
    "UPDATE_RULES",
    "Memory",
    "Own",
    "Slot",
    "Slots",
    "UpdateRule",
    "a_tensor",
    "network_part",
    "owned",
    "rule_named",
    "rule_part",
    "shared",
]

_ALL = (SGD, META_SGD, LSLR, LSLR_LAYER, META_CURVATURE, T_NETS, META_KFO, META_KFO_FREE, META_KFO_NONLINEAR)
_ALL += (META_LSTM,)

UPDATE_RULES: dict[str, UpdateRule] = {rule.name: rule for rule in _ALL}


def rule_named(name: str) -> UpdateRule:
    """Return a rule of the registry.

    Raises:
        MetaprobeError: there is none of that name; the message lists them.
    """
    return entry_named("update rule", name, UPDATE_RULES)
