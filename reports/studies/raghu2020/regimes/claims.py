"""The claims on training regimes and test heads: the paper's figures, and the rules."""

from __future__ import annotations

from reports.studies.verdicts import Claim

__all__ = ["HEAD_MARGIN", "NAMES", "ORDER", "PAPER_HEADS", "REGIMES", "REGIME_CLAIMS"]

REGIMES = ("maml", "anil", "multiclass", "nil", "random", "multitask")
"""The regimes as the paper's Table 5 orders them by 5-way 1-shot accuracy with the NIL head."""

NAMES: dict[str, str] = {
    "maml": "MAML",
    "anil": "ANIL",
    "multiclass": "multiclass",
    "nil": "NIL training",
    "random": "random features",
    "multitask": "multitask",
}

ORDER = "MAML, ANIL > multiclass > NIL training > random features > multitask"

PAPER_HEADS: dict[str, dict[str, tuple[tuple[float, float] | None, tuple[float, float]]]] = {
    "5-way 1-shot": {
        "maml": ((46.9, 0.2), (48.4, 0.3)),
        "anil": ((46.7, 0.4), (48.0, 0.7)),
        "multiclass": ((38.4, 0.8), (39.7, 0.3)),
        "nil": (None, (38.3, 0.6)),
        "random": ((32.1, 0.5), (32.9, 0.6)),
        "multitask": ((26.5, 0.8), (26.5, 1.1)),
    },
    "5-way 5-shot": {
        "maml": ((63.1, 0.4), (61.5, 0.8)),
        "anil": ((61.5, 0.5), (62.2, 0.5)),
        "multiclass": ((54.6, 0.4), (54.4, 0.5)),
        "nil": (None, (43.0, 0.2)),
        "random": ((43.1, 0.3), (43.2, 0.5)),
        "multitask": ((32.8, 0.6), (34.2, 3.5)),
    },
}
"""Tables 5 and 7, mini-ImageNet, by regime: (MAML head, NIL head), each percent and the ± as printed."""

HEAD_MARGIN = 1.6
"""Percentage points: the largest gap between two heads in Table 7 (63.1 against 61.5), called no difference there."""

_PRINTED = "mini-ImageNet, 3 seeds"

REGIME_CLAIMS: tuple[Claim, ...] = (
    Claim(
        "R7",
        "After ANIL training, no head is needed at test time",
        "test accuracy of ANIL with the NIL head and with its own",
        "NIL head 48.0 and 62.2 against 46.7 and 61.5 (mini-ImageNet 5-way, 1- and 5-shot); 96.7 and 98.0 against "
        "96.2 and 98.0 (Omniglot 20-way)",
        "Table 4",
        "3 seeds, ±0.04–0.7",
        f"the interval of NIL head − own head (paired by task) lies above −{HEAD_MARGIN} points, the largest gap "
        "between two heads that the paper counts as no difference",
        ("regimes-figure",),
    ),
    Claim(
        "R8",
        "Training with a task head, as MAML and ANIL do, gives the best features",
        "test accuracy with the NIL head on bodies of six training regimes",
        "MAML 48.4, ANIL 48.0, multiclass 39.7, NIL training 38.3, random features 32.9, multitask 26.5",
        "Table 5",
        f"5-way 1-shot {_PRINTED}",
        "the intervals of MAML and of ANIL, each with the NIL head, lie above those of all four other regimes; the "
        "order of those four is told, not judged",
        ("regimes-figure",),
    ),
    Claim(
        "R12",
        "What counts at test time is the body: the MAML head and the NIL head do not differ",
        "test accuracy with the MAML head minus that with the NIL head, on the body of each regime",
        "MAML 46.9 and 48.4, ANIL 46.7 and 48.0, multiclass 38.4 and 39.7, multitask 26.5 and 26.5, random features "
        "32.1 and 32.9 (MAML head and NIL head)",
        "Table 7",
        f"5-way 1-shot {_PRINTED}; NIL training with a MAML head is not in the paper",
        f"the interval of the difference (paired by task) lies within ±{HEAD_MARGIN} points in every regime: the "
        "paper's largest gap (63.1 → 61.5, MAML, 5-shot; 38.4 → 39.7 and 32.8 → 34.2 are others)",
        ("regimes-figure",),
    ),
)
