"""Zhou et al. 2021, "Task Similarity Aware Meta Learning": claims Z1–Z4 and Z7–Z10 with MAML and TSA-MAML."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

from reports.papers.zhou2021.answer import answer
from reports.papers.zhou2021.claims import BASE, CONTINUED, LARGE, claims, label_of
from reports.papers.zhou2021.sections import sections
from reports.study.options import Numbers, Options, Switch
from reports.study.study import Learner, Measurement, Study
from reports.wording import DASH
from reports.works import MAML, Work
from trainers.errors import MetaprobeError

if TYPE_CHECKING:
    from trainers.config import TrainConfig
    from trainers.tasks.imageset import ImageSet

# fmt: off
_WORKS = (Work("zhou2021task", "inproceedings", ("Zhou, Pan", "Zou, Yingtian", "Yuan, Xiaotong", "Feng, Jiashi",
         "Xiong, Caiming", "Hoi, Steven"), "Task Similarity Aware Meta Learning: Theory-inspired Improvement on {MAML}",
         "Conference on Uncertainty in Artificial Intelligence", 2021), MAML,
    Work("hubert1985comparing", "article", ("Hubert, Lawrence", "Arabie, Phipps"),
         "Comparing partitions", "Journal of Classification", 1985),
    Work("vandermaaten2008visualizing", "article", ("van der Maaten, Laurens", "Hinton, Geoffrey"),
         "Visualizing Data using {t-SNE}", "Journal of Machine Learning Research", 2008),
    Work("mcinnes2018umap", "article", ("McInnes, Leland", "Healy, John", "Melville, James"),
         "{UMAP}: Uniform Manifold Approximation and Projection for Dimension Reduction", "arXiv:1802.03426", 2018),
    Work("venna2001neighborhood", "inproceedings", ("Venna, Jarkko", "Kaski, Samuel"),
         "Neighborhood Preservation in Nonlinear Projection Methods: An Experimental Study",
         "International Conference on Artificial Neural Networks", 2001))
_FIT, _BOUND = 2000, 20  # most tasks that k-means sees in training, and behind the bound: optima take 100 times longer

@dataclass(frozen=True, kw_only=True)
class Zhou2021Options(Options):
    """What zhou2021 may be asked for; the comments are what --help says."""

    capture_tasks: int  # Test tasks behind curves, embeddings (of each domain) and, at most 20, the bound.
    more_iterations: int  # Outer steps of TSA-MAML and of MAML continued, from the last checkpoint of MAML.
    group_tasks: int  # Test tasks of each domain whose clusters are counted.
    cluster_tasks: int  # Training tasks that clusters are found in.
    sweep: Numbers  # Numbers of clusters to train with; all else is measured on the first.
    large: Switch = True  # Whether to train a larger network too, the control of Z8, which takes longest.

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.sweep or self.sweep[0] < 2:
            raise MetaprobeError(f"--sweep {','.join(map(str, self.sweep))}: the first number of clusters, which all "
                                 "else is measured on, must be at least 2; m = 1, MAML continued, may come after it")

    def of_runs(self, configs: Sequence[TrainConfig]) -> Self:
        """Return these options with what runs were trained with, and the numbers of clusters that they have."""
        found = dict.fromkeys(config.clusters for config in configs if config.clusters)
        return replace(super().of_runs(configs), sweep=tuple(sorted(found, key=lambda m: m < 2)) or self.sweep)

def _wider(config: TrainConfig, images: ImageSet) -> int:
    from trainers.beginning import network_config_for

    return round(1.5 * network_config_for(config, images).filters)

def _learners(options: Zhou2021Options) -> tuple[Learner, ...]:
    more = {"iterations": options.more_iterations, "cluster_tasks": options.cluster_tasks}
    both = {"iterations": options.iterations + options.more_iterations, "blocks": 6, "filters": _wider}  # not 4
    swept = (Learner(f"m{m}", label_of(f"m{m}"), "tsa_maml", BASE, settings={**more, "clusters": m},
                     folder=f"tsa_maml-m{m}") for m in options.sweep)
    large = Learner(LARGE, label_of(LARGE), "maml", settings=both, folder="maml-large")
    return (Learner(BASE, label_of(BASE), "maml"), *swept, *[large] * options.large)

def _measurements(options: Zhou2021Options) -> tuple[Measurement, ...]:
    main, plain = f"m{options.sweep[0]}", CONTINUED if 1 in options.sweep else BASE
    some, fit = options.capture_tasks, {"fit_tasks": min(options.cluster_tasks, _FIT)}
    return (Measurement("group_accuracy", tuple(one.key for one in _learners(options)), amount=options.tasks),
            Measurement("steps", tuple(dict.fromkeys((BASE, plain, main))), amount=some),
            Measurement("clusters", (main,), amount=options.group_tasks, options=fit),
            Measurement("embedding", (main,), amount=some),
            Measurement("bound", (plain, main), amount=min(some, _BOUND)))

def _check(options: Zhou2021Options, images: ImageSet) -> None:
    if len(images.domain_names) < 2:
        raise MetaprobeError(f"study zhou2021 is about tasks from several domains; {options.data} is of one. Give "
                             "--data mixture:NAME,NAME,… of two or more data sets")

_FULL = Zhou2021Options(  # as in the paper but for the data; the chunk keeps two cores busy with a meta-batch of four
    data="mixture:glyphs,patterns,shapes", seeds=1, n_shot=5, inner_lr=0.05, meta_batch=4, chunk=2, iterations=40_000,
    more_iterations=40_000, tasks=600, capture_tasks=300, val_tasks=200, group_tasks=1000, cluster_tasks=10_000,
    sweep=(3, 1, 2, 5, 8, 11, 15))
_QUICK = replace(  # the embedded data are grey: 32 filters, so that quick is quick
    _FULL, iterations=240, more_iterations=120, tasks=100, capture_tasks=20, val_tasks=24, group_tasks=100,
    cluster_tasks=600, sweep=(3, 1, 5), filters=32)
STUDY = Study(name="zhou2021", title="Do tasks fall into groups, and does an initialisation each help?",
    summary="Do tasks from several domains fall into groups, and does an initialisation for each group help?",
    question="When tasks come from several domains, do the parameters that MAML adapts to them fall into groups by "
    "domain, and does an initialisation for each help? The study of Zhou et al. (2021) [1], made again on this data.",
    reading="A number is above or below a bound where its whole 95 % interval is, and undecided where that reaches "
    "across; bounds other than 0 are ours. With one seed an interval is over test tasks and speaks of that one "
    "training; with several it also holds the spread between trainings; of clusters it is a bootstrap interval. Bars "
    f"and dark bands are intervals. Gains are paired (same tasks) if not said otherwise. {DASH} is not measured.",
    works=_WORKS, presets={"quick": _QUICK, "full": _FULL}, learners=_learners, measurements=_measurements,
    claims=claims, sections=sections, answer=answer, check=_check)
