"""Arnold et al. 2021, "When MAML Can Adapt Fast and How to Assist When It Cannot": claims A1–A11."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from metaprobe.analyses.measures.work import Work
from metaprobe.analyses.theory.plans import Descent, LogisticTraining
from metaprobe.analyses.works import MAML
from metaprobe.reports.made import Differs
from metaprobe.reports.papers.arnold2021.claims import COMPARED, DEPTHS, RULES, SOFTMAX, claims, key_of, label_of
from metaprobe.reports.papers.arnold2021.page import answer, sections
from metaprobe.reports.study.study import CapturingOptions, Learner, Measurement, Numbers, Study, Switch
from metaprobe.trainers.errors import MetaprobeError

# fmt: off
_WORKS = (Work("arnold2021when", "inproceedings", ("Arnold, Sébastien M. R.", "Iqbal, Shariq", "Sha, Fei"),
               "When {MAML} Can Adapt Fast and How to Assist When It Cannot",
               "International Conference on Artificial Intelligence and Statistics", 2021,
               {"volume": "130", "pages": "244–252"}), MAML,
          Work("li2017meta", "article", ("Li, Zhenguo", "Zhou, Fengwei", "Chen, Fei", "Li, Hang"),
               "Meta-{SGD}: Learning to Learn Quickly for Few-Shot Learning", "arXiv:1707.09835", 2017),
          Work("park2019meta", "inproceedings", ("Park, Eunbyung", "Oliva, Junier B."), "Meta-Curvature",
               "Advances in Neural Information Processing Systems", 2019, {"volume": "32"}),
          Work("lee2018gradient", "inproceedings", ("Lee, Yoonho", "Choi, Seungjin"),
               "Gradient-Based Meta-Learning with Learned Layerwise Metric and Subspace",
               "International Conference on Machine Learning", 2018),
          Work("roy2007effective", "inproceedings", ("Roy, Olivier", "Vetterli, Martin"),
               "The effective rank: A measure of effective dimensionality", "European Signal Processing Conference",
               2007))
# Tables D.5–D.7: (inner, outer) rates by what a learner has; of two convolutions, or of softmax regression
_RATED: tuple[str, ...] = ("", "linnet", "meta_sgd", "meta_curvature", "meta_kfo")
_RATES: dict[str, dict[str, tuple[tuple[float, float], ...]]] = {
    "omniglot": {"maml": ((0.08, 0.003), (0.05, 0.003), (0.5, 0.0005), (0.5, 0.0005), (0.1, 0.001)),
                 "anil": ((0.5, 0.001), (0.5, 0.003), (0.05, 0.001), (0.05, 0.001), (0.1, 0.001)),
                 SOFTMAX: ((1.0, 0.0005), (0.08, 0.0005))},
    "cifar_fs": {"maml": ((0.07, 0.003), (0.01, 0.003), (0.7, 0.001), (0.7, 0.003), (0.1, 0.003)),
                 "anil": ((0.5, 0.002), (0.5, 0.001), (0.1, 0.001), (0.1, 0.001), (0.1, 0.001)),
                 SOFTMAX: ((0.01, 0.0005), (0.02, 0.0001))}}

@dataclass(frozen=True, kw_only=True)
class Arnold2021Options(CapturingOptions):
    """What arnold2021 may be asked for; the comments are what --help says."""

    depths: Numbers = DEPTHS
    """Numbers of convolutions of the networks that MAML trains; rules and ANIL are compared in the shallowest."""
    linear: Switch = True  # Whether to train softmax regression on pixels, with and without linear layers.
    rules: Switch = True
    """Whether to train with other learned update rules beside Meta-KFO, without which A9 and A10 stay open."""
    anil: Switch = True  # Whether to train ANIL, too.
    own_rates: Switch = False
    """Whether each learner has the rates that the paper found for it (Omniglot and CIFAR-FS; others as its MAML)."""
    trainings: int  # Trainings of the models in one dimension, each from weights of its own.
    logistic_iterations: int  # Outer steps of logistic regressions.

    def __post_init__(self) -> None:
        super().__post_init__()
        if lacking := [depth for depth in self.depths if depth not in DEPTHS]:
            known = ", ".join(map(str, DEPTHS))
            raise MetaprobeError(f"--depths: the study is of networks of {known} convolutions; got {lacking[0]}")
        if self.own_rates and self.data not in _RATES:
            raise MetaprobeError(f"--own-rates: the paper has rates for {' and '.join(_RATES)}; got --data {self.data}")

def _names(options: Arnold2021Options) -> Iterator[tuple[str, int, str]]:
    """Yield (algorithm, convolutions, what it has) of what is trained."""
    first, others = min(options.depths), tuple(RULES)[:-1] * options.rules  # Meta-KFO is among those compared
    for depth in sorted(options.depths):
        yield from (("maml", depth, how) for how in (*COMPARED, *others * (depth == first)))
    yield from (("anil", first, how) for how in (*COMPARED, *others[:2]) if options.anil)
    yield from (("maml", 0, how) for how in ("", "linnet") if options.linear)

def _learner(options: Arnold2021Options, algorithm: str, depth: int, how: str) -> Learner:
    key = key_of(algorithm, depth, how)
    # one start for all heads, as the head is not the same behind linear layers
    settings: dict[str, Any] = {"blocks": depth, "head_start": "glorot"}
    if how:
        linear = (32, 32) if depth else (256, 128, 64, 64)
        settings |= {"linnet": linear} if how == "linnet" else {"update_rule": how}
    if options.own_rates:
        known = dict(zip(_RATED, _RATES[options.data][algorithm if depth else SOFTMAX], strict=False))
        settings["inner_lr"], settings["outer_lr"] = known.get(how, known[""])
    elif how and not depth:  # what four linear layers on pixels bear: at 0.1 they diverge on the embedded images
        settings |= {"inner_lr": min(options.inner_lr, 0.02), "outer_lr": 0.001}
    return Learner(key, label_of(key), algorithm, settings=settings, folder=key)

def _measurements(options: Arnold2021Options) -> tuple[Measurement, ...]:
    names, some = {key_of(*name): name for name in _names(options)}, options.capture_tasks
    deep = tuple(key for key, (algorithm, depth, _) in names.items() if algorithm == "maml" and depth)
    looked = tuple(key_of("maml", min(options.depths), how) for how in COMPARED)
    return (
        Measurement("accuracy", tuple(key for key in names if key not in deep), amount=options.tasks),
        Measurement("reuse", deep, amount=options.tasks),
        Measurement("collapsed", (key_of("maml", 0, "linnet"),), amount=options.tasks),
        Measurement("update_map", tuple(key for key, (*_, how) in names.items() if how in RULES), amount=some),
        Measurement("capture", looked, amount=some),
        Measurement("similarity", looked, options={"measures": ("debiased_cka",), **options.drawn}),
        Measurement("scalar_theory", deep[:1], options={"how": Descent(runs=options.trainings)}),
        Measurement("logistic_theory", deep[:1], amount=100, options={"how": tuple(
            LogisticTraining(labels=view, iterations=options.logistic_iterations) for view in ("drawn", "sign"))}))

_FULL = Arnold2021Options(
    data="glyphs", like="arnold2021", iterations=20_000, seeds=3, tasks=600, capture_tasks=100, val_tasks=200, n_shot=5,
    inner_lr=0.1, schedule="constant", chunk=2, trainings=100, logistic_iterations=400)
_UNLIKE = (Differs("networks of six and of three convolutions on mini-ImageNet", "not said how they are pooled", "—"),
           Differs("rates", "tuned for each learner; printed for two convolutions",
                   "one pair for all but linear layers on pixels, or those printed"),
           Differs("widths of LinNet in convolutional networks", "not said", "32, 32, those of the features"),
           Differs("heads", "Glorot, on Omniglot N(0, 1) (code); behind linear layers not said", "Glorot"),
           Differs("T-Nets' rates", "not printed", "those of MAML"),
           Differs("logistic regression: width, samples, tasks a step", "not said", "16, 10 + 100, 16"),
           Differs("its outer steps", "not said: number, optimiser", "as asked for, SGD with momentum 0.9"),
           Differs("framework", "learn2learn", "none: our own inner loop"))
ARNOLD2021 = Study(name="arnold2021", works=_WORKS, title="Does depth, or an external optimiser, make it adapt?",
    summary="Does depth make MAML adapt, and can an external optimiser do the same? Linear layers, Meta-KFO, theory.",
    question="MAML fails to adapt models that are able to solve its tasks, unless they are deeper than they need be. "
    "Is it depth that makes it adapt, and can a learned update rule stand for the upper layers? The study of Arnold et "
    "al. (2021) [1], made again on this data.",
    reading="A number is above or below a bound where its whole 95 % interval is, and undecided where that reaches "
    "across. With one seed an interval is over test tasks and speaks of that one training; with several it also holds "
    "the spread between trainings. Gains on images are on the same tasks, paired. A1 to A3 are about models in closed "
    "form, whose numbers are exact or means over trainings; A4 is one training of each model.",
    presets={
        "quick": replace(_FULL, iterations=80, seeds=1, tasks=60, capture_tasks=16, val_tasks=20, meta_batch=4, chunk=4,
                         depths=(2, 4), replicates=40, trainings=40, logistic_iterations=120),
        "full": _FULL,
        "paper": replace(_FULL, data="cifar_fs", own_rates=True)},
    learners=lambda options: tuple(_learner(options, *name) for name in _names(options)), measurements=_measurements,
    unlike=_UNLIKE, claims=claims, sections=sections, answer=answer)
