"""Zhou et al. 2021, "Task Similarity Aware Meta Learning": claims Z1–Z10 with MAML and TSA-MAML."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

from metaprobe.analyses.measures.work import Work
from metaprobe.analyses.works import CLUSTERS, MAML
from metaprobe.reports.made import Differs
from metaprobe.reports.papers.zhou2021.claims import BASE, BASELINES, CONTINUED, LARGE, SYMMETRIC, claims, label_of
from metaprobe.reports.papers.zhou2021.page import answer, sections
from metaprobe.reports.probing.reuse import VIEW
from metaprobe.reports.study.study import CapturingOptions, Learner, Measurement, Numbers, Study, Switch
from metaprobe.trainers.config import TrainConfig
from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.tasks.imageset import ImageSet

# fmt: off
_WORKS = (Work("zhou2021task", "inproceedings", ("Zhou, Pan", "Zou, Yingtian", "Yuan, Xiaotong", "Feng, Jiashi",
         "Xiong, Caiming", "Hoi, Steven"), "Task Similarity Aware Meta Learning: Theory-inspired Improvement on {MAML}",
         "Conference on Uncertainty in Artificial Intelligence", 2021), MAML, *CLUSTERS)
_FIT = 2000  # most training tasks that k-means sees when clusters are compared with domains

@dataclass(frozen=True, kw_only=True)
class Zhou2021Options(CapturingOptions):
    """What zhou2021 may be asked for; the comments are what --help says."""

    bound_tasks: int = 64
    """Test tasks behind distances to optima (Z9): 64 make half an interval a quarter of a standard deviation of paired
    differences. Each takes 12 seconds of a core (5-way 5-shot, 28 by 28 pixels, 32 filters)."""
    one_query_tasks: int
    """Test tasks with queries one by one (Z5), on data of one domain: each passes the support set again for each query,
    at 5-way 1-shot 6 and at 5-shot 20 times as many images as other tests."""
    pretraining: Literal["constant", "cosine"] = "constant"  # How the outer rate of the MAML before clustering falls.
    more_iterations: int  # Outer steps of TSA-MAML and of MAML continued, from the last checkpoint of MAML.
    group_tasks: int  # Test tasks of each domain whose clusters are counted.
    cluster_tasks: int  # Training tasks that clusters are found in.
    sweep: Numbers  # Numbers of clusters to train with; all else is measured on the first.
    symmetric: Switch = True
    """Whether to train TSA-MAML, with the first number of clusters, also on clusters found under a symmetric head."""
    baselines: Switch = True
    """Whether to train FOMAML, Reptile, iMAML, matching networks, Meta-LSTM, MMAML and HSML too, for as long (Z1), and
    to ask of each what it reuses."""
    large: Switch = True  # Whether to train a larger network too, the control of Z8, which takes longest.

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.sweep or self.sweep[0] < 2:
            raise MetaprobeError(f"--sweep {','.join(map(str, self.sweep))}: the first number of clusters, which all "
                                 "else is measured on, must be at least 2; m = 1, MAML continued, may come after it")

    def of_runs(self, configs: Sequence[TrainConfig]) -> Self:
        """Return these options with what runs were trained with, and the numbers of clusters that they have."""
        clustered = [config for config in configs if config.clusters]
        found = dict.fromkeys(config.clusters or 0 for config in clustered if not config.symmetric_head)
        shared = super().of_runs(configs)
        return replace(shared, sweep=tuple(sorted(found, key=lambda m: m < 2)) or self.sweep,
            symmetric=any(config.symmetric_head for config in clustered), baselines=False, pretraining=shared.schedule,
            schedule=next((config.schedule for config in clustered), shared.schedule))

def _wider(config: TrainConfig, images: ImageSet) -> int:
    from metaprobe.trainers.beginning import network_config_for

    return round(1.5 * network_config_for(config, images).filters)

def _learners(options: Zhou2021Options) -> tuple[Learner, ...]:
    more = {"iterations": options.more_iterations, "cluster_tasks": options.cluster_tasks}
    both = {"iterations": options.iterations + options.more_iterations}
    def clustered(key: str, m: int, **own: Any) -> Learner:
        return Learner(key, label_of(key), "tsa_maml", BASE, "", more | {"clusters": m} | own, f"tsa_maml-{key}")
    even = clustered(f"m{options.sweep[0]}{SYMMETRIC}", options.sweep[0], symmetric_head=True)
    large = Learner(LARGE, label_of(LARGE), "maml", "", "", both | {"blocks": 6, "filters": _wider}, "maml-large")
    own: dict[str, dict[str, Any]] = {  # a Meta-LSTM's gates are its rates
        "mmaml": {"norm_affine": "both", "adapt_norm": False}, "imaml": {"inner_steps": 16},
        "meta_lstm": {"update_rule": "meta_lstm", "inner_lr": TrainConfig.inner_lr,
                      "inner_steps": 12 if options.n_shot == 1 else 8}}
    return (Learner(BASE, label_of(BASE), "maml", settings={"schedule": options.pretraining}),
            *(clustered(f"m{m}", m) for m in options.sweep), *[even] * options.symmetric, *[large] * options.large,
            *(Learner(key, label_of(key), key, settings=both | own.get(key, {}), extra=not options.baselines)
              for key in BASELINES))

def _measurements(options: Zhou2021Options) -> tuple[Measurement, ...]:
    main, plain = f"m{options.sweep[0]}", CONTINUED if 1 in options.sweep else BASE
    some, fit = options.capture_tasks, {"fit_tasks": min(options.cluster_tasks, _FIT)}
    several, three = options.data.startswith("mixture:"), tuple(dict.fromkeys((BASE, plain, main)))
    alone = Measurement("accuracy", three, amount=options.one_query_tasks, options={"norm": "one-query"})
    keys = tuple(one.key for one in _learners(options) if one.key != "matching")
    return (Measurement("group_accuracy", keys, amount=options.tasks),
            Measurement("group_accuracy", ("matching",), amount=options.tasks, options={"head": "matching"}),
            Measurement("steps", three, amount=some),
            Measurement("clusters", (main, main + SYMMETRIC), amount=options.group_tasks, options=fit),
            Measurement("embedding", (main,), amount=some) if several else alone,
            Measurement("bound", (plain, main), amount=options.bound_tasks),
            *_reused(options) * options.baselines)

def _reused(options: Zhou2021Options) -> tuple[Measurement, ...]:
    some = {CONTINUED if 1 in options.sweep else BASE, f"m{options.sweep[0]}", *BASELINES} - {"matching"}
    keys = tuple(one.key for one in _learners(options) if one.key in some)
    return (Measurement("reuse", keys, amount=options.tasks, options={"view": VIEW}),
            Measurement("capture", keys, amount=options.capture_tasks),
            Measurement("similarity", keys, options={"measures": ("debiased_cka",), **options.drawn}))

_FULL = Zhou2021Options(  # as in the paper but for the data; the chunk keeps two cores busy with a meta-batch of four
    data="mixture:glyphs,patterns,shapes", seeds=1, n_shot=5, inner_lr=0.05, meta_batch=4, chunk=2, iterations=40_000,
    more_iterations=40_000, tasks=600, capture_tasks=300, one_query_tasks=600, val_tasks=200, group_tasks=1000,
    cluster_tasks=10_000, sweep=(3, 1, 2, 5, 8, 11, 15))
_QUICK = replace(  # the embedded data are grey: 32 filters, so that quick is quick
    _FULL, iterations=240, more_iterations=120, tasks=100, capture_tasks=20, bound_tasks=16, one_query_tasks=50,
    val_tasks=24, group_tasks=100, cluster_tasks=600, sweep=(3, 1, 5), filters=32, baselines=False)
# Sections 5.1 and 5.2, and where those are silent the released code; its 0.01 is of a loss summed over classes
_PAPER = replace(_FULL, like="finn2017", n_query=15, sweep=(3, 1))
_CIFAR_FS = replace(  # 60,000 steps before clustering are the code's; m as in Figure 4
    _PAPER, data="cifar_fs", n_shot=1, iterations=60_000, sweep=(5, 1, 3, 7, 9, 11, 13, 15))
_UNLIKE = (Differs("data", "Aircraft, Birds and Fungi (or Cars) of 84 × 84; CIFAR-FS", "see “Data”"),
           Differs("support images of CIFAR-FS", "mirrored at random, also in tests (code)", "as they are"),
           Differs("MAML before clustering", "the best of its validations (code)", "its last checkpoint"),
           Differs("norms' shifts of each initialisation", "begin at 0 (code)", "begin as MAML left them"),
           Differs("larger network", "seven layers, about 3 times the size", "six blocks of 1.5 times the filters"),
           Differs("tasks behind curves over the inner steps", "1,000", "300 or as many as were asked for"))
ZHOU2021 = Study(name="zhou2021", title="Do tasks fall into groups, and does an initialisation each help?",
    summary="Do tasks from several domains fall into groups, and does an initialisation for each group help?",
    question="When tasks come from several domains, do the parameters that MAML adapts to them fall into groups by "
    "domain, and does an initialisation for each help? The study of Zhou et al. (2021) [1], made again on this data.",
    reading="A number is above or below a bound where its whole 95 % interval is, and undecided where that reaches "
    "across; bounds other than 0 are ours. With one seed an interval is over test tasks and speaks of that one "
    "training; with several it also holds the spread between trainings; of clusters it is a bootstrap interval. Bars "
    "and dark bands are intervals. Gains are paired (same tasks) if not said otherwise. — is not measured.",
    works=_WORKS, presets={"quick": _QUICK, "full": _FULL, "paper": _PAPER, "paper-cifar-fs": _CIFAR_FS},
    unlike=_UNLIKE, learners=_learners, measurements=_measurements, claims=claims, sections=sections, answer=answer)
