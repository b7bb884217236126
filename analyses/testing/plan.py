"""What a test is of: a plan's tasks, and a checkpoint made ready for them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from metaprobe.analyses.table import Row
from metaprobe.trainers.adapt import layers_of
from metaprobe.trainers.as_tested import as_tested
from metaprobe.trainers.checkpoint import Checkpoint
from metaprobe.trainers.clustering.clusters import Start
from metaprobe.trainers.config import Adaptation, TestNorm
from metaprobe.trainers.device import device_named
from metaprobe.trainers.evaluate import sampler_for
from metaprobe.trainers.limits import MOST_TASKS, check_whole
from metaprobe.trainers.networks import TaskNetwork
from metaprobe.trainers.otherwise import AS_TRAINED, Otherwise, told_iteration
from metaprobe.trainers.tasks.data import Data, TaskSampler
from metaprobe.trainers.update_rules import STEP_RATES

__all__ = [
    "UNMODULATED",
    "Learner",
    "TestPlan",
    "adapting_all",
    "identity_of",
    "learner_of",
    "sampler_of",
    "told_of_frozen",
    "told_of_steps",
]

UNMODULATED = "frozen layers are without what the task makes of them"
"""What rows say where layers are frozen of a learner that each task modulates (`trainers.modulations`)."""

_HOW: dict[TestNorm, str] = {
    "transductive": "with their own statistics, other than in training",
    "non-transductive": "with the support set's statistics, other than in training",
    "running": "with the running statistics that the weights came with, other than in training",
    "one-query": "one by one, with the statistics of the support set and that query",
}


@dataclasses.dataclass(frozen=True)
class TestPlan:
    """What every column of an ablation is tested on: the same tasks for all of them.

    Attributes:
        tasks: how many.
        n_query: query images of a class.
        seed: names the tasks.
        split: of the classes.
        chunk: tasks at once.
        device: where to compute.
        group: take tasks of this domain alone (default: of all).
        per_task: whether a test gives the metric of every task, too, as a row of its own with `task` the sampler's
            index, no interval and n = 1: what paired differences between learners are made of.
        norm: whose statistics normalise a query (default: as the learner was trained): its batch's own, the support
            set's, or those of the support set and that one query, which is slow (Zhou et al. 2021, §5.2).
        otherwise: ways, shots, rate and images other than the learner was trained with; rows say so in `reason`.
    """

    __test__ = False  # a plan of tests, not one of pytest's

    tasks: int = 600
    n_query: int = 15
    seed: int = 0
    split: str = "test"
    chunk: int = 8
    device: str = "cpu"
    group: str | None = None
    per_task: bool = False
    norm: TestNorm | None = None
    otherwise: Otherwise = AS_TRAINED

    def __post_init__(self) -> None:
        check_whole("tasks", self.tasks, 1, MOST_TASKS)
        for name in ("n_query", "chunk"):
            check_whole(name, getattr(self, name), 1)

    @property
    def task_rows(self) -> range:
        """The tasks that get rows of their own: all of the plan's, or none."""
        return range(self.tasks if self.per_task else 0)


@dataclasses.dataclass(frozen=True)
class Learner:
    """Something to test: a checkpoint, or an untrained network ("random").

    Attributes:
        network: on the plan's device.
        start: what a task is adapted from: one initialisation, or several of which each task is assigned one.
        identity: a row that says what is tested, on which domain.
        adaptation: how it was trained to adapt.
        transductive: how query sets are normalised.
        one_query: whether each query is normalised with the support set and itself instead.
    """

    network: TaskNetwork
    start: Start
    identity: Row
    adaptation: Adaptation
    transductive: bool
    one_query: bool = False


def sampler_of(checkpoint: Checkpoint, data: Data, plan: TestPlan) -> TaskSampler:
    """Return the sampler of a plan's tasks, of the way and shot that the checkpoint was trained for or the plan has."""
    return sampler_for(
        as_tested(checkpoint, plan.otherwise),
        data,
        split=plan.split,
        n_query=plan.n_query,
        seed=plan.seed,
        device=plan.device,
        group=plan.group,
    )


def identity_of(checkpoint: Checkpoint) -> Row:
    """Return a row that says which checkpoint it is of, and nothing measured yet."""
    return Row(
        checkpoint=checkpoint.fingerprint[:12],
        algorithm=checkpoint.config.algorithm,
        update_rule=checkpoint.adaptation.learned_rule,
        seed=checkpoint.config.seed,
        iteration=told_iteration(checkpoint.iteration, checkpoint.provenance),
        measure="",
        value=None,
    )


def learner_of(checkpoint: Checkpoint, plan: TestPlan) -> Learner:
    """Return a checkpoint ready for a plan's tests.

    Raises:
        MetaprobeError: there is no such device, or the plan asks for ways that the learner cannot be tested at.
    """
    device = device_named(plan.device)
    norm = plan.norm or checkpoint.norm
    # a row says nothing of what is as it always is
    told = (plan.otherwise.told(checkpoint), f"queries normalised {_HOW[norm]}" * (norm != checkpoint.norm))
    identity = dataclasses.replace(
        identity_of(checkpoint), group=plan.group, reason="; ".join(filter(None, told)) or None
    )
    tested = as_tested(checkpoint, plan.otherwise)
    if norm != "running":
        tested = dataclasses.replace(tested, adaptation=dataclasses.replace(tested.adaptation, step_statistics="batch"))
    return Learner(
        tested.network(norm).to(device),
        tested.start(device),
        identity,
        tested.adaptation,
        norm in ("transductive", "running"),
        norm == "one-query",
    )


def told_of_frozen(learner: Learner, rows: Iterable[Row]) -> list[Row]:
    """Return rows of a learner; of one that is modulated, those with frozen layers say in `reason` what these lack."""
    if not learner.adaptation.modulation:
        return list(rows)
    return [
        dataclasses.replace(row, reason="; ".join(filter(None, (UNMODULATED, row.reason)))) if row.frozen else row
        for row in rows
    ]


def told_of_steps(learner: Learner, steps: int) -> Row:
    """Return a learner's identity, whose `reason` tells of steps that have no rate, norm or statistics of their own.

    Args:
        learner: whose adaptation is as trained.
        steps: of the test.
    """
    how, identity = learner.adaptation, learner.identity
    if steps <= how.steps or not (
        how.step_norms or how.step_statistics == "running" or how.rule in [rule.name for rule in STEP_RATES]
    ):
        return identity
    told = f"steps beyond the {how.steps} of training take what was learned for the last"
    return dataclasses.replace(identity, reason="; ".join(filter(None, (identity.reason, told))))


def adapting_all(learner: Learner) -> Learner:
    """Return the same learner, all of whose layers adapt at test time, however it was trained.

    What ANIL, and a new head on a finished body, have of a test with nothing frozen. Its rows say `adapts` "all"; of a
    learner that was trained with all layers adapting, as MAML is, it is the learner itself, whose rows say nothing, so
    that one test never has two names. The assignment of a task to one of several initialisations stays as trained.
    """
    layers = layers_of(learner.network)
    if set(learner.adaptation.layers) == set(layers):
        return learner
    adaptation = dataclasses.replace(learner.adaptation, layers=layers)
    return dataclasses.replace(
        learner, adaptation=adaptation, identity=dataclasses.replace(learner.identity, adapts="all")
    )
