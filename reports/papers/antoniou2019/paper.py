"""What claims, page and study of antoniou2019 share: its learners' keys, its figures as printed, its questions."""

from __future__ import annotations

from metaprobe.reports import wording
from metaprobe.reports.evidence import Evidence
from metaprobe.reports.quantities import Query, q
from metaprobe.reports.wording import count

# fmt: off
# in the order of Table 1, whose third is BNWB + BNRS: in the paper's code BNWB alone, as running statistics go unread
PARTS = {"msl": "MSL", "lslr": "LSLR", "bn": "BNWB", "ca": "CA", "da": "DA"}
SHOWN = {"msl": "MSL", "lslr": "LSLR", "bn": "BNWB", "bnrs": "BNWB + BNRS", "ca": "CA", "da": "DA"}  # no claim on bnrs
ALL = "maml_pp"
PRINTED = {"maml": 91.27, "maml+msl": 91.53, "maml+lslr": 95.77, "maml+bn": 95.35, "maml+bnrs": 95.35,
           "maml+ca": 93.03, "maml+da": 92.3, ALL: 97.65}  # Table 1, by learner
BY_STEPS = {1: 51.05, 2: 51.49, 3: 51.11, 4: 51.65, 5: 52.15}  # Table 2, MAML++ 5-way 1-shot; MAML, 5 steps: 48.25
TIMES = {1: (275.319, 294.373), 2: (433.8172, 475.1218), 3: (579.314, 658.4436), 4: (786.3278, 859.1158),
          5: (947.0376, 1028.1656)}  # Table 3: MAML++, MAML, milliseconds an iteration
STAGES = {"first": "at its start", "last": "at its end"}  # of training, whose losses and derivatives are annealed

def key_of(part: str) -> str:
    """Return what the study calls MAML with one part."""
    return f"maml+{part}"

def pp_of(steps: int, evidence: Evidence) -> str:
    """Return what the study calls MAML++ trained with so many inner steps."""
    return ALL if steps == evidence.trained_steps else f"{ALL}-{steps}"

def label_of(key: str) -> str:
    """Return what the page calls a learner: "MAML + LSLR", "MAML++, 3 steps"."""
    name, _, steps = key.partition("-")
    if name == ALL:
        return f"MAML++, {count(int(steps), 'step')}" if steps else "MAML++"
    return " + ".join(["MAML", *(SHOWN[part] for part in name.split("+")[1:])])

def look_of(key: str) -> wording.Look:
    """Return label, colour and marker of a learner."""
    return label_of(key), *wording.look_of(key)[1:]

def measured(key: str, steps: int | str = "test") -> Query:
    """Ask for the test accuracy of a learner, percent."""
    return q("accuracy", learner=key, steps=steps)

def parts_of(evidence: Evidence) -> tuple[str, ...]:
    """Return the parts that MAML was trained with, one at a time."""
    return tuple(part for part in PARTS if key_of(part) in evidence.learners)

def steps_of(evidence: Evidence) -> tuple[int, ...]:
    """Return the numbers of inner steps that MAML++ was trained with, ascending."""
    return tuple(n for n in range(1, 100) if pp_of(n, evidence) in evidence.learners)

def ratio(steps: int, stage: str) -> Query:
    """Ask for the time of an outer step of MAML++ over MAML's."""
    return q("iteration_ratio", learner=ALL, view=stage, steps=steps)
