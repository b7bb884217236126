"""What an algorithm is, and the parts that most of them share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from metaprobe.trainers.config import Adaptation, TrainConfig

if TYPE_CHECKING:  # listing the algorithms must not wait for torch
    import torch
    from torch import Tensor, nn

    from metaprobe.trainers.clustering.clusters import Clusters
    from metaprobe.trainers.clustering.finding import Search
    from metaprobe.trainers.networks import Parameters, TaskNetwork
    from metaprobe.trainers.tasks.data import Data, TaskSampler
    from metaprobe.trainers.tasks.episodes import Tasks

__all__ = ["STAGES", "UPDATES", "Algorithm", "MetaGradient", "TestHead", "adapt_all", "adapt_head", "episodes"]
__all__ += ["meta_gradient"]

TestHead = Literal["own", "nil", "matching"]
"""What classifies in a test: the network's adapted head, or labels of the support set by similarity of features."""

UPDATES = frozenset({"update_rule", "rates_start", "rates_clamp"})
"""Options of algorithms whose inner loop may take other steps than a gradient's (`trainers.update_rules`)."""

STAGES = frozenset({"multi_step_loss", "first_order_until"})
"""Options of algorithms whose meta-gradient may change while they train (`trainers.stages`)."""


@dataclass(frozen=True)
class MetaGradient:
    """The sum over tasks of one outer step's gradient, loss and metric of the queries (`trainers.losses.task_scores`).

    What has no gradient is left as it is by the outer loop. `statistics` are sums of what norms were normalised by,
    for those that keep running ones (`trainers.step_statistics`).
    """

    gradients: dict[str, Tensor]
    loss: Tensor
    score: Tensor
    statistics: dict[str, Tensor] = field(default_factory=dict)

    def __add__(self, other: MetaGradient) -> MetaGradient:
        gradients = {name: gradient + other.gradients[name] for name, gradient in self.gradients.items()}
        statistics = {name: value + other.statistics[name] for name, value in self.statistics.items()}
        return MetaGradient(gradients, self.loss + other.loss, self.score + other.score, statistics)


def episodes(config: TrainConfig, data: Data, device: torch.device) -> TaskSampler:
    """Return the tasks that a run's config names, from the train split."""
    from metaprobe.trainers.tasks.data import task_sampler

    sizes = (config.n_way, config.n_shot, config.n_query)
    return task_sampler(data, "train", *sizes, config.seed, device, rotate=config.rotate_classes)


def adapt_all(config: TrainConfig, layers: tuple[str, ...]) -> Adaptation:
    """Return the way in which MAML adapts: all layers."""
    rule = config.update_rule or Adaptation.rule
    statistics = config.step_statistics or Adaptation.step_statistics
    how: dict[str, Any] = {"adapt_norm": config.adapt_norm, "rule": rule, "step_norms": config.step_norms}
    how |= {"step_statistics": statistics}
    return Adaptation(layers, config.inner_lr, config.inner_steps, **how)


def adapt_head(config: TrainConfig, layers: tuple[str, ...]) -> Adaptation:
    """Return the way in which ANIL adapts: the head alone."""
    return adapt_all(config, layers[-1:])


def meta_gradient(
    network: nn.Module,
    params: Parameters,
    tasks: Tasks,
    adaptation: Adaptation,
    transductive: bool,
    sweep: bool = False,
) -> MetaGradient:
    """Return ∇θ Σ_T L_query(θ_T(θ)), the outer gradient of MAML and its relatives; see `trainers.meta_gradient`."""
    from metaprobe.trainers.meta_gradient import swept_meta_gradient, unrolled_meta_gradient
    from metaprobe.trainers.step_statistics import collected

    scheme = swept_meta_gradient if sweep else unrolled_meta_gradient
    if adaptation.step_statistics == "running":
        return collected(scheme, network, params, tasks, adaptation, transductive)
    return scheme(network, params, tasks, adaptation, transductive)


def _nothing(config: TrainConfig, data: Data, network: TaskNetwork) -> dict[str, Tensor]:
    """Return no parameters: most algorithms train the network's alone."""
    return {}


def _usual(config: TrainConfig) -> dict[str, Any]:
    """Return no defaults: most algorithms have those of `TrainConfig`."""
    return {}


@dataclass(frozen=True)
class Algorithm:
    """A way to train a learner.

    Attributes:
        name: as on the command line.
        summary: one plain sentence.
        citation: paper and section.
        adaptation: how its learners adapt at test time, from the run's config and the network's layers.
        meta_gradient: (network, params, tasks, adaptation, transductive, sweep) → the gradient *summed* over the tasks,
            so that a batch may come in chunks; `sweep` asks for the scheme that holds one inner step's graph at a time.
        batches: what it is trained on: (config, images, device) → a sampler of "tasks".
        beside: parameters trained beside the network's and thrown away with the run: (config, images, network) → by
            name, without a layer of the network before the first dot.
        head: the head that validation is scored with.
        takes_base: whether training may start from a checkpoint.
        needs_base: whether it must.
        new_head: whether it leaves that checkpoint's head behind.
        cluster: finds clusters of tasks before training, telling how many tasks it has just seen; each cluster then has
            an initialisation of its own.
        options: fields of `TrainConfig` that this algorithm alone takes.
        regression: whether its tasks may ask for numbers instead of classes.
        defaults: from the run's config, values of options that stand where nothing else is told
            (`trainers.conventions`).
    """

    name: str
    summary: str
    citation: str
    adaptation: Callable[[TrainConfig, tuple[str, ...]], Adaptation]
    meta_gradient: Callable[[nn.Module, Parameters, Tasks, Adaptation, bool, bool], MetaGradient]
    batches: Callable[[TrainConfig, Any, torch.device], TaskSampler] = episodes  # (of images alone, some)
    beside: Callable[[TrainConfig, Any, TaskNetwork], dict[str, Tensor]] = _nothing
    head: TestHead = "own"
    takes_base: bool = True
    needs_base: bool = False
    new_head: bool = False
    cluster: Callable[[Search, Callable[[int], None]], Clusters] | None = None
    options: frozenset[str] = frozenset()
    regression: bool = False
    defaults: Callable[[TrainConfig], Mapping[str, Any]] = _usual
