"""Antoniou et al. 2019, "How to Train Your MAML": claims M1–M5 with MAML, each part of MAML++, and all of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from metaprobe.analyses.works import MAML, MAML_PP
from metaprobe.reports.made import Differs
from metaprobe.reports.papers.antoniou2019.claims import claims
from metaprobe.reports.papers.antoniou2019.page import RATED, REUSED, answer, sections
from metaprobe.reports.papers.antoniou2019.paper import ALL, PARTS, SHOWN, key_of, label_of
from metaprobe.reports.study.study import CapturingOptions, Learner, Measurement, Numbers, Study, Switch


# fmt: off
@dataclass(frozen=True, kw_only=True)
class Antoniou2019Options(CapturingOptions):
    """What antoniou2019 may be asked for; the comments are what --help says."""

    parts: Switch = True  # Whether to train MAML with each part of MAML++ alone, without which M2 stays open.
    steps: Numbers = (1, 2, 3, 4)  # Further numbers of inner steps that MAML++ is trained with, and both timed with.
    rounds: int  # How often an outer step is timed.

def _settings(options: Antoniou2019Options) -> dict[str, dict[str, Any]]:
    """Return what each part sets; annealing ends at the share of training at which the code's and the paper's do."""
    return {"msl": {"multi_step_loss": max(1, options.iterations // 10)},
            "lslr": {"update_rule": "lslr"}, "bn": {"step_norms": True},
            "bnrs": {"step_norms": True, "step_statistics": "running"},
            "ca": {"schedule": "cosine", "outer_lr_floor": 1e-5},
            "da": {"first_order_until": max(1, options.iterations // 3)}}

def _learners(options: Antoniou2019Options) -> tuple[Learner, ...]:
    parts = _settings(options)
    every = {name: value for part in PARTS for name, value in parts[part].items()}
    fewer = {f"{ALL}-{n}": n for n in options.steps if n != options.inner_steps}
    def learner(key: str, **settings: Any) -> Learner:
        return Learner(key, label_of(key), "maml", settings=settings, folder=key.replace("+", "-"))
    return (learner("maml"), *(learner(key_of(part), **parts[part]) for part in SHOWN if options.parts),
            learner(ALL, **every), *(learner(key, **every, inner_steps=n) for key, n in fewer.items()))

def _measurements(options: Antoniou2019Options) -> tuple[Measurement, ...]:
    others = tuple(one.key for one in _learners(options) if one.key not in REUSED)
    both, timed = ("maml", ALL), tuple(sorted({*options.steps, options.inner_steps}))
    return (Measurement("accuracy", others, amount=options.tasks),
            Measurement("reuse", REUSED, amount=options.tasks),
            Measurement("curves", both), Measurement("stability", both), Measurement("learned_rates", RATED),
            Measurement("capture", REUSED, amount=options.capture_tasks),
            Measurement("similarity", REUSED, options={"measures": ("debiased_cka",), **options.drawn}),
            Measurement("step_timing", both, options={"rounds": options.rounds, "steps": timed}))

_FULL = Antoniou2019Options(
    data="glyphs", like="antoniou2019", iterations=50_000, seeds=3, tasks=600, capture_tasks=100, val_tasks=600,
    inner_lr=0.1, meta_batch=16, schedule="constant", chunk=2, rounds=24)
_OMNIGLOT = replace(_FULL, data="omniglot", iterations=75_000, n_way=20, n_query=1)  # 150 epochs of 500
_UNLIKE = (Differs("data", "Omniglot split 1,150 / 50 / 423, all rotations classes of their own; mini-ImageNet",
                   "see “Data”"),
           Differs("tested checkpoint", "the best 3 by validation, their logits averaged", "the last one"),
           Differs("statistics of the norms", "of each step, kept in training (BNRS; code: each batch's own)",
                   "each batch's own, but of MAML + BNWB + BNRS"),
           Differs("inner rate", "not printed (code: 0.1)", "0.1"),
           Differs("Adam's β₂", "0.99 (code: 0.999)", "0.999"),
           Differs("multi-step loss, first-order steps", "annealed until: not said (code: 10 of 100 epochs); 50 of 150",
                   "a tenth and a third of training"))
ANTONIOU2019 = Study(name="antoniou2019", works=(MAML_PP, MAML), title="How to train your MAML?",
    summary="What does each part of MAML++ give, with how many inner steps, and do learned rates freeze layers?",
    question="MAML is unstable to train and sensitive to its inner rate. Which changes that make it MAML++ help, "
    "and do learned rates decide what is reused? The study of Antoniou et al. (2019) [1], made again on this data.",
    reading="A number is above or below a bound where its whole 95 % interval is, and undecided where that reaches "
    "across. With one seed an interval is over test tasks and speaks of that one training; with several it also holds "
    "the spread between trainings. Gains are on the same tasks, paired; times are medians over rounds in turn.",
    presets={
        "quick": replace(_FULL, iterations=500, seeds=1, tasks=100, capture_tasks=16, val_tasks=24, meta_batch=4,
                         chunk=4, steps=(1,), rounds=6, filters=16, replicates=40),
        "full": _FULL, "paper": _OMNIGLOT, "paper-20w5s": replace(_OMNIGLOT, n_shot=5),
        "paper-5w1s": replace(_OMNIGLOT, n_way=5), "paper-5w5s": replace(_OMNIGLOT, n_way=5, n_shot=5)},
    unlike=_UNLIKE, learners=_learners, measurements=_measurements, claims=claims, sections=sections, answer=answer)
