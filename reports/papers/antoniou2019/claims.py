"""The claims of antoniou2019, M1–M5: what each part of MAML++ gives, and what a step costs."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from metaprobe.reports.claims import PERCENT, POINTS, Claim, Part, Told, above, below
from metaprobe.reports.evidence import Evidence
from metaprobe.reports.papers.antoniou2019 import paper
from metaprobe.reports.papers.antoniou2019.paper import ALL, PARTS, PRINTED, key_of, measured
from metaprobe.reports.probing.questions import untaught
from metaprobe.reports.quantities import ANY, q
from metaprobe.reports.wording import count

# fmt: off
_GAINS = above(0, "a gain", "no gain")
_TAUGHT = partial(untaught, learners=("maml",))

def claims(evidence: Evidence) -> tuple[Claim, ...]:
    """Return the claims, put to the parts and numbers of steps that were trained."""
    return (_stable(), *_better(evidence), _steps(evidence), _times(evidence))

def _stable() -> Claim:
    mean, falls = (tuple(q(measure, learner=who, steps=ANY) for who in (ALL, "maml"))
                   for measure in ("val_mean", "val_falls"))
    return Claim("M1", "MAML++ learns faster and higher than MAML, and without falls",
        "validation accuracy over training", "two of three MAML seeds become unstable, no MAML++ seed does (a figure)",
        "Figure 1", "mini-ImageNet 5-way 1-shot, strided network, 3 seeds",
        "the mean over training of MAML++'s validation accuracy is above MAML's, and the share of its validations that "
        "lie over 5 points (our bound) under the one before is smaller, which takes several seeds to have an interval",
        (Part("mean over training", mean[0] - mean[1], above(0, "above", "below"), **POINTS),
         Part("share of falls", falls[0] - falls[1], below(0, "fewer", "more"), signed=True)),
        "The study holds no validations of both.", ("learning-curves",), unit=" %", counted="validation tasks",
        presupposes=_TAUGHT, beside=(Told("MAML, mean", mean[1]), Told("MAML++, mean", mean[0]),
                                     Told("MAML, falls", falls[1]), Told("MAML++, falls", falls[0])))

def _better(evidence: Evidence) -> Iterator[Claim]:
    base, full = measured("maml"), measured(ALL)
    parts = {key_of(part): PARTS[part] for part in paper.parts_of(evidence) or PARTS}
    yield Claim("M2", "Each part of MAML++ helps by itself, and all together most", "test accuracy",
        "MAML 91.27, +MSL 91.53, +LSLR 95.77, +BNWB+BNRS 95.35, +CA 93.03, +DA 92.3, all 97.65 (±0.05 to 1.07)",
        "Table 1", "Omniglot 20-way 1-shot, 3 seeds",
        "each part's gain over MAML is above 0, and all together are above each",
        (*(Part(name, measured(key) - base, _GAINS, printed=(PRINTED[key] - PRINTED["maml"],))
           for key, name in parts.items()),
         *(Part(f"all over {name}", full - measured(key), above(0, "ahead", "behind"),
                printed=(PRINTED[ALL] - PRINTED[key],)) for key, name in parts.items())),
        "The study holds no tests of MAML with single parts.", ("parts",), **POINTS, presupposes=_TAUGHT)
    yield Claim("M3", "MAML++ is more accurate than MAML", "test accuracy of both",
        "Omniglot 98.57 → 99.47 and 99.82 → 99.93 (5-way, 1- and 5-shot), 91.27 → 97.65 and 98.78 → 99.33 (20-way); "
        "mini-ImageNet 48.25 → 52.15 and 64.39 → 68.32", "Tables 1, 2 and 4", "3 seeds, the best 3 of 150 epochs' "
        "checkpoints together; here the last one", "the difference on the same tasks is above 0",
        (Part("MAML++ − MAML", full - base, _GAINS, printed=(0.9, 0.11, 6.38, 0.55, 3.9, 3.93)),),
        "The study holds no tests of both.", ("parts",), **POINTS, presupposes=_TAUGHT,
        beside=(Told("MAML", base, **PERCENT), Told("MAML++", full, **PERCENT)))

def _steps(evidence: Evidence) -> Claim:
    most = evidence.trained_steps
    steps, base = paper.steps_of(evidence) or (1, most), measured("maml", most)
    gains = {n: measured(paper.pp_of(n, evidence), n) - base for n in steps}
    return Claim("M4", "With fewer inner steps, even one, MAML++ is ahead of MAML with five",
        "test accuracy of MAML++ by inner steps, in training and test alike, minus MAML's",
        "1 to 5 steps: 51.05, 51.49, 51.11, 51.65, 52.15; MAML with 5: 48.25", "Table 2",
        "mini-ImageNet 5-way 1-shot", f"with each number of steps it is above MAML's with {most}",
        tuple(Part(count(n, "step"), one, _GAINS, printed=tuple(b - 48.25 for k, b in paper.BY_STEPS.items() if k == n))
              for n, one in gains.items()),
        "The study holds no tests of MAML++ with fewer steps.", ("by-steps",), **POINTS, presupposes=_TAUGHT)

def _times(evidence: Evidence) -> Claim:
    steps = evidence.distinct("inner_steps", "iteration_ratio", ALL) or (evidence.trained_steps,)
    return Claim("M5", "An outer step of MAML++ takes less time than one of MAML", "time of MAML++ over MAML's",
        "0.94, 0.91, 0.88, 0.92, 0.92 (1 to 5 steps)", "Table 3", "mini-ImageNet; hardware and stage are not said",
        "with each number of inner steps the ratio is under 1, at the start of training and at its end",
        tuple(Part(f"{count(n, 'step')}, {told}", paper.ratio(n, stage), below(1, "faster", "slower"),
                   printed=tuple(one / other for k, (one, other) in paper.TIMES.items() if k == n))
              for n in steps for stage, told in paper.STAGES.items()),
        "The study holds no timings.", ("times",), digits=2, counted="rounds",
        remark=lambda _: "At the start derivatives are of first order and losses of all steps count; at the end it is "
        "MAML's computation with more parameters.")
