"""What claims, sections and answer share: the paper's figures as printed, and its own questions to the table."""

from __future__ import annotations

from typing import Any

from metaprobe.reports.evidence import Evidence
from metaprobe.reports.probing.questions import JUDGED, accuracy
from metaprobe.reports.quantities import Query, q
from metaprobe.reports.wording import label_of

# fmt: off
Pair = tuple[str, str]

COST = 2.1  # points: the largest cost of freezing in Table 1 (63.1 to 61.0), counted as no effect
GAP = 1.6  # points: the largest gap in Tables 2 and 7 (63.1 to 61.5), counted as comparable
SIMILAR = 0.9  # what every convolution exceeds in Figure 2
CHANGED = 0.5  # what the head lies below in it
RANGES = ((SIMILAR, 1.0), (0.0, CHANGED))  # of it: convolutions, head
MARGINS = {"mean_cca": 0.03, "debiased_cka": 0.04}  # the least gap that Table 8 calls one: MAML to multiclass
PAIRINGS = {"pre-post": "before/after", "post-pre": "after/before", "post-post": "after/after"}
DISSIMILARITIES = {"rsa_pearson": "RSA", "rsa_spearman": "RSA by ranks"}
VIEWS = {"paper": "1 task, 1 query image", "ordinary": "an outer step of the run"}

BASES = ("maml", "fomaml", "anil")
REGIMES = ("maml", "anil", "multiclass", "nil", "random", "multitask")
HEADLESS = REGIMES[2:]
NAMES = {name: label_of(name) for name in (*BASES, *REGIMES)} | {"random": "random features"}
MAML, ANIL, BOTH = ("maml", "maml"), ("anil", "anil"), ("anil", "maml")
ORDER = ("maml", "multiclass", "random", "multitask")  # as like MAML as Table 8 finds them
PRESUPPOSED = {  # who must have learned something for a claim to be about anything; R8 asks it, R11 is about times
    **dict.fromkeys(("R1", "R2", "R3", "R4", "R5", "R9", "R10", "R12", "R13", "G1"), ("maml",)),
    "R6": ("maml", "anil"), "R7": ("anil",)}
COMPARED = (  # what is compared, by part of the network: claim R6, then R13
    *(("body", pair) for pair in (MAML, ANIL, BOTH)),
    *(("first three", (regime, "maml")) for regime in ("maml", *HEADLESS)))

_ONE, _FIVE = "mini-ImageNet 5-way 1-shot", "mini-ImageNet 5-way 5-shot"
TABLE_1 = {  # none, then conv1, conv1–2 … frozen
    _ONE: ((46.9, 0.2), (46.5, 0.3), (46.4, 0.4), (46.3, 0.4), (46.3, 0.4)),
    _FIVE: ((63.1, 0.4), (63.0, 0.6), (62.6, 0.6), (61.2, 0.5), (61.0, 0.6))}
COSTS = ((-0.4, -0.1), (-0.5, -0.5), (-0.6, -1.9), (-0.6, -2.1))  # of it, by block: at 1-shot, at 5-shot
TABLE_2 = {  # MAML, ANIL
    _ONE: ((46.9, 0.2), (46.7, 0.4)), _FIVE: ((63.1, 0.4), (61.5, 0.5)),
    "Omniglot 20-way 1-shot": ((93.7, 0.7), (96.2, 0.5)), "Omniglot 20-way 5-shot": ((96.4, 0.1), (98.0, 0.3))}
TABLE_3 = {MAML: (0.51, 0.83), ANIL: (0.51, 0.86), BOTH: (0.50, 0.83)}
SECONDS = {  # Table 6, at 1-shot and 5-shot
    ("training", "maml"): (0.13, 0.67), ("training", "fomaml"): (0.083, 0.40), ("training", "anil"): (0.072, 0.36),
    ("inference", "maml"): (0.078, 0.36), ("inference", "anil"): (0.017, 0.071)}
SPEEDUPS = {  # of it
    ("training", "fomaml"): (1.69, 1.7), ("training", "anil"): (1.79, 1.84), ("inference", "anil"): (4.15, 4.87)}
TABLE_7 = {  # and Table 5: MAML head and NIL head, at 1-shot, then at 5-shot
    "maml": (((46.9, 0.2), (48.4, 0.3)), ((63.1, 0.4), (61.5, 0.8))),
    "anil": (((46.7, 0.4), (48.0, 0.7)), ((61.5, 0.5), (62.2, 0.5))),
    "multiclass": (((38.4, 0.8), (39.7, 0.3)), ((54.6, 0.4), (54.4, 0.5))),
    "nil": ((None, (38.3, 0.6)), (None, (43.0, 0.2))),
    "random": (((32.1, 0.5), (32.9, 0.6)), ((43.1, 0.3), (43.2, 0.5))),
    "multitask": (((26.5, 0.8), (26.5, 1.1)), ((32.8, 0.6), (34.2, 3.5)))}
TABLE_8 = {"maml": (0.51, 0.83), "multiclass": (0.48, 0.79), "random": (0.40, 0.72), "multitask": (0.28, 0.65)}

def printed_gaps(one: tuple[str, int], other: tuple[str, int]) -> tuple[float, ...]:
    """Return Table 7's differences at 1-shot and 5-shot between (regime, 0 for the MAML head or 1 for the NIL head)."""
    shots = ((a[one[1]], b[other[1]]) for a, b in zip(TABLE_7[one[0]], TABLE_7[other[0]], strict=True))
    return tuple(a[0] - b[0] for a, b in shots if a and b)

def headed(regime: str, head: str = "maml", **how: Any) -> Query:
    """Ask for accuracy with the NIL head, or with the MAML head: a regime's own, else that trained on its body."""
    return accuracy(regime, head=head if head == "nil" or regime in HEADLESS else "own", **how)

def alike(measure: str, pair: Pair, part: str, other: str = "", phase: str = "pre-pre") -> Query:
    """Ask how alike two trainings are, or for a line of best fit: over pairs of seeds, of two layers or of a part."""
    where = {"layer": part, "other_layer": other or part, "phase": phase, "seed": None}
    return q(measure, learner=pair[0], other_learner=pair[1], **where)

def adapting(evidence: Evidence) -> tuple[str, ...]:
    """Return the learners that adapt, those of the paper first, whatever else there is after them."""
    every = dict.fromkeys((*BASES, *evidence.learners))
    return tuple(name for name in every if name in evidence.learners and name not in (*HEADLESS, "maml_head"))

def compared(evidence: Evidence, pair: Pair) -> set[tuple[int, int]]:
    """Return the seeds of every two trainings of two learners that were compared."""
    rows = (row for measure in JUDGED for row in evidence.where(measure, pair[0], other_learner=pair[1]))
    return {(row.seed, row.other_seed) for row in rows if row.seed is not None and row.other_seed is not None}

def pair_name(pair: Pair) -> str:
    """Return two learners as "ANIL–MAML"."""
    return "–".join(NAMES[name] for name in pair)
