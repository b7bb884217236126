"""Raghu et al. 2020, "Rapid Learning or Feature Reuse?": R1–R13 and G1 on MAML, ANIL and four other regimes."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

from metaprobe.analyses.measures.cca import MEAN_CCA
from metaprobe.analyses.table import Table
from metaprobe.reports.made import Differs, Made
from metaprobe.reports.papers.raghu2020.answer import answer
from metaprobe.reports.papers.raghu2020.claims import claims
from metaprobe.reports.papers.raghu2020.paper import ANIL, BASES, BOTH, COMPARED, HEADLESS, MAML, NAMES, ORDER
from metaprobe.reports.papers.raghu2020.sections import sections
from metaprobe.reports.study.study import CapturingOptions, Learner, Measurement, Numbers, Study, Switch
from metaprobe.trainers.errors import MetaprobeError


@dataclass(frozen=True, kw_only=True)
class Raghu2020Options(CapturingOptions):
    """What raghu2020 may be asked for; the comments are what --help says."""

    data: str = "glyphs"
    capture_tasks: int  # Test tasks behind similarities and distances, and behind freezing in regimes other than MAML.
    more_iterations: int  # Outer steps of each new head on the body of another run.
    test_steps: int = 10  # Inner steps of the tests that verdicts rest on (the paper's: 10, after 5 in training).
    head_steps: Numbers  # Numbers of inner steps at test, beside that one, that freezing is tested with.
    rounds: int  # How often each learner is timed, in turn with the others.
    subsets: Switch = False  # Whether to freeze every set of MAML's layers, not only blocks from the first layer on.

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.capture_tasks > self.tasks:
            told = f"--capture-tasks {self.capture_tasks} is more than --tasks {self.tasks}"
            paired = "what is measured on the former is paired with the untrained network's tests on the latter"
            raise MetaprobeError(f"{told}: {paired}")


# fmt: off
_HEADS = {f"maml_head-{regime}": regime for regime in HEADLESS}  # new heads, by the body that they are for

def _learners(options: Raghu2020Options) -> tuple[Learner, ...]:
    seldom = {"val_every": max(1, options.iterations // 4)}  # no curve is drawn of it
    more = {"iterations": options.more_iterations, "val_every": max(1, options.more_iterations // 4)}
    never = {"iterations": 1}  # a run has at least one; of a network that is never trained it changes nothing
    return (
        *(Learner(k, NAMES[k], k, extra=k == "fomaml") for k in BASES),
        *(Learner(k, NAMES[k], k, settings=never if k == "random" else seldom) for k in HEADLESS),
        *(Learner(k, f"MAML head, {NAMES[of]}", "maml_head", of, of, more, k) for k, of in _HEADS.items()))

def _measurements(options: Raghu2020Options) -> tuple[Measurement, ...]:
    from metaprobe.analyses.pairs import Comparisons

    tasks, some, early = options.tasks, options.capture_tasks, ("third", "two-thirds")
    tests = {"test_steps": options.test_steps}
    more = {**tests, "steps": options.head_steps}
    full = {**more, "subsets": options.subsets, "nil_head": True, "random_row": True}
    neighbours = (((one, "maml"), (other, "maml")) for one, other in itertools.pairwise(ORDER))
    wanted = Comparisons(
        parts={"body": None, "first three": 3}, means=COMPARED, maps=(MAML, BOTH), lines=(("body", MAML),),
        differences=(("body", BOTH, MAML), ("body", BOTH, ANIL), *(("first three", *two) for two in neighbours)))
    return (
        *(Measurement("accuracy", (who,), amount=tasks, options={**tests, "heads": heads, "steps": (0,)})
          for who, heads in {"maml": (), "fomaml": ("nil",), "anil": ("own", "nil")}.items()),
        Measurement("accuracy", HEADLESS, amount=tasks, options={"heads": ("nil",)}),
        Measurement("accuracy", (*_HEADS,), amount=tasks, options=tests),
        Measurement("freezing", ("maml", "fomaml"), early, tasks, tests),
        Measurement("freezing", ("maml",), amount=tasks, options=full),
        Measurement("freezing", ("fomaml",), amount=tasks, options=more),
        Measurement("freezing", ("anil", *_HEADS), amount=some, options={**more, "adapts": "all"}),
        Measurement("distance", BASES, ("start", *early, "last"), some, tests),
        Measurement("dissimilarity", ("maml",), amount=some, options=tests),
        Measurement("curves", BASES), Measurement("capture", ("maml", "fomaml"), early, some, tests),
        Measurement("capture", BASES, amount=some, options={**tests, "steps": "all"}),
        Measurement("capture", HEADLESS, amount=some, options=tests),
        Measurement("similarity", ("maml", "fomaml"), (*early, "last"), options=options.drawn),
        Measurement("similarity", ("anil",), options=options.drawn),
        Measurement("pairs", ("maml", "anil", *HEADLESS), options={"wanted": wanted, **options.drawn}),
        Measurement("timing", ("maml",), options={"rounds": options.rounds}))

def _reuse(table: Table, made: Made) -> Table:
    from metaprobe.analyses.testing.reuse import reuse_of_learners

    return reuse_of_learners(table, made.layers[:-1], made.test_steps or made.trained_steps)

_FULL = Raghu2020Options(iterations=30_000, seeds=3, tasks=600, capture_tasks=100, val_tasks=200, rounds=30,
                         more_iterations=30_000, head_steps=(5, 30))
_PAPER = replace(  # Appendices A, B.1 and C.4; its 0.01 and 0.1 are of a loss summed over classes, n_way times the mean
    _FULL, data="cifar_fs", like="finn2017", schedule="constant", n_query=15, inner_lr=0.05, meta_batch=4, chunk=2,
    head_input="flatten", head_start="glorot")  # as on mini-ImageNet, which the paper's figures are of
_UNLIKE = (Differs("data", "mini-ImageNet of 84 × 84, or Omniglot", "see “Data”"),
           Differs("training tasks", "200,000 drawn once, in turn", "drawn anew for every outer step"),
           Differs("framework", "TensorFlow 1", "PyTorch"))
RAGHU2020 = Study(
    name="raghu2020", works=MEAN_CCA.works, title="Rapid learning or feature reuse?",
    summary="Does MAML relearn its features for each task, or reuse them? By freezing, similarity, distance, regime.",
    question="When a network trained by MAML adapts to a new task, does it reuse the features that training left in "
    "it, or does it relearn them? The study of Raghu et al. (2020) [1], made again on this data.",
    reading="A verdict follows from the whole 95 % interval and the rule beside it, never from a value alone; "
    "undecided: the interval reaches across the rule's bound. Intervals of similarities draw test tasks anew "
    "(bootstrap), of several seeds the seeds too, widened for how few they are (R10: tasks alone); of accuracies, "
    "distances, curves and their differences they are Student's t over tasks, of several seeds over tasks and seeds, "
    "and end within the range; of one seed they speak of that one network. Everywhere, bars and brackets are 95 % "
    "intervals, differences on the same tasks are paired, a dash was not measured or is not in the paper, and the "
    "paper's rows and diamonds are of mini-ImageNet, 5-way 1-shot if not said otherwise (± as printed, over 3 seeds). "
    "R7, R8, R12 and R13 are on regimes, R11 on times, R4 to R6 on ANIL and MAML, the others on MAML.",
    presets={
        "quick": Raghu2020Options(iterations=140, seeds=1, tasks=80, capture_tasks=24, val_tasks=50, more_iterations=50,
                                  head_steps=(5, 30), rounds=6, replicates=40),
        "full": _FULL, "paper": _PAPER, "paper-5w5s": replace(_PAPER, n_shot=5), "paper-omniglot": replace(
            _PAPER, data="omniglot", n_way=20, n_query=1, inner_lr=2.0, meta_batch=16, filters=64, head_input=None,
            head_start=None)},
    unlike=_UNLIKE, learners=_learners, measurements=_measurements, claims=claims, sections=sections, answer=answer,
    derive=_reuse)
