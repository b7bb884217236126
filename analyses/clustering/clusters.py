"""Whether the clusters that a learner finds are the domains that tasks come from (Zhou et al. 2021, Section 5)."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
from jaxtyping import Bool, Int64

from metaprobe.analyses.clustering.cluster_rows import (
    SCORES,
    bootstrap_generator,
    clusters_of,
    domains_of,
    score_rows,
    scored_row,
    share_row,
    undefined_row,
)
from metaprobe.analyses.clustering.partitions import between_score, chance_of_agreeing
from metaprobe.analyses.clustering.task_views import (
    PARAMETER_VIEWS,
    VIEWS,
    Viewer,
    adapted_parameters,
    batches_of,
    columns_of,
    flattened,
    mean_features,
)
from metaprobe.analyses.clustering.view_clusters import ViewClusters, find_view_clusters, relabelled
from metaprobe.analyses.table import Row, Table
from metaprobe.analyses.testing import TestPlan, identity_of, sampler_of
from metaprobe.trainers.checkpoint import Checkpoint
from metaprobe.trainers.clustering.clusters import Clusters
from metaprobe.trainers.clustering.moves import Moves
from metaprobe.trainers.device import device_named, exact_float32
from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.networks import TaskNetwork
from metaprobe.trainers.parallel import TaskWorkers
from metaprobe.trainers.tasks.episodes import Tasks
from metaprobe.trainers.tasks.imageset import ImageSet

__all__ = ["SCORES", "agreement", "assigned", "clusters_of", "domain_batches", "usage"]

Advance = Callable[[int], None] | None


def domain_batches(checkpoint: Checkpoint, imageset: ImageSet, plan: TestPlan) -> Iterator[tuple[int, Tasks]]:
    """Return the tasks of a plan, `plan.tasks` of each domain in turn, in batches with their domain's place."""
    domains = domains_of(imageset, plan)
    samplers = [sampler_of(checkpoint, imageset, dataclasses.replace(plan, group=group)) for group in domains]
    return (
        (place, tasks)
        for place, sampler in enumerate(samplers)
        for tasks in batches_of(sampler, plan.tasks, plan.chunk)
    )


def assigned(
    checkpoint: Checkpoint, batches: Iterable[tuple[int, Tasks]], device: str = "cpu", advance: Advance = None
) -> Int64[np.ndarray, "2 task"]:
    """Return the place of each task's domain and the cluster that the checkpoint assigns it to.

    Args:
        checkpoint: of tsa_maml.
        batches: as `domain_batches` gives them.
        device: where to compute.
        advance: called with the number of tasks just done.

    Raises:
        MetaprobeError: the checkpoint has no clusters.
    """
    where = device_named(device)
    clusters = clusters_of(checkpoint).to(where)

    def assign(own: TaskNetwork, batch: tuple[int, Tasks]) -> Int64[np.ndarray, "2 task"]:
        place, tasks = batch
        found = clusters.assign(own, tasks.support).cpu().numpy()
        return np.stack([np.full(len(found), place), found])

    parts = []
    with exact_float32(), TaskWorkers(checkpoint.network().to(where)) as workers:
        for part in workers.map(assign, batches):
            parts.append(part)
            if advance:
                advance(part.shape[1])
    return np.concatenate(parts, axis=1)


def usage(checkpoint: Checkpoint, imageset: ImageSet, plan: TestPlan, *, advance: Advance = None) -> Table:
    """Count which initialisation the tasks of each domain start from, and how well that follows the domains.

    Args:
        checkpoint: of tsa_maml.
        imageset: a mixture of domains.
        plan: `plan.tasks` tasks of each domain.
        advance: called with the number of tasks just done.

    Returns:
        For each domain and initialisation rows "usage_count" and "usage_frequency" (0 … 1, Wilson's interval); then
        `SCORES` of the assignment against the domains, undefined where there is one domain only.

    Raises:
        MetaprobeError: the checkpoint has no clusters, or the data do not fit.
    """
    groups, found = assigned(checkpoint, domain_batches(checkpoint, imageset, plan), plan.device, advance)
    identity, m = dataclasses.replace(identity_of(checkpoint), view="assignment"), clusters_of(checkpoint).count
    domains = domains_of(imageset, plan)
    rows = _usage_table(identity, domains, groups, found, m)
    return Table.of([*rows, *score_rows(identity, domains, groups, found, m, plan.seed)])


def _usage_table(
    identity: Row,
    domains: Sequence[str],
    groups: Int64[np.ndarray, " task"],
    found: Int64[np.ndarray, " task"],
    m: int,
) -> list[Row]:
    rows = []
    for place, group in enumerate(domains):
        for cluster in range(m):
            row = dataclasses.replace(identity, group=group, cluster=cluster)
            rows += _usage_rows(row, found[groups == place] == cluster)
    return rows


def _usage_rows(identity: Row, used: Bool[np.ndarray, " task"]) -> list[Row]:
    count = dataclasses.replace(identity, measure="usage_count", value=float(used.sum()), n=len(used))
    return [count, share_row(identity, "usage_frequency", used)]


def agreement(
    checkpoint: Checkpoint,
    imageset: ImageSet,
    plan: TestPlan,
    *,
    m: int | None = None,
    fit_tasks: int = 2000,
    with_usage: bool = False,
    moves: Moves | None = None,
    advance: Advance = None,
) -> Table:
    """Cluster tasks by each view as TSA-MAML does by adapted parameters, and see whether the domains come out (Z2).

    k-means runs on training tasks; each of the plan's tasks goes to the nearest mean. Then the ways of each of these
    are permuted, labels changed and images left in place, and those counted whose nearest mean is still the same:
    adapted heads follow the order of the labels, mean features cannot.

    Args:
        checkpoint: any; tasks adapt from its base, where it has clusters.
        imageset: a mixture of domains.
        plan: `plan.tasks` tasks of each domain.
        m: clusters of each view (default: as many as the checkpoint has).
        fit_tasks: training tasks for k-means, of all domains; `collect_views` says what they take.
        with_usage: begin with the rows of `usage`, for which the same adaptations serve. Of a checkpoint without
            clusters the usage is that of k-means on adapted parameters, as its `view` says: all, or under a symmetric
            head, where the head's own follow the labels, the body's.
        moves: how tasks adapt to be told apart (default: as the checkpoint assigns them, see `Viewer.of`).
        advance: called with the number of tasks just done.

    Returns:
        `SCORES` for each view; "adjusted_rand_between" for pairs of views of the parameters; "unchanged_by_label_order"
        (0 … 1, Wilson's interval) for each of these, and "unchanged_by_label_order_null", the share that stays by
        chance, given how large the clusters are. A view that is the same for all tasks gives undefined rows.

    Raises:
        MetaprobeError: `m` is needed, more than the tasks, `moves` beside the `with_usage` of clusters, or the data do
            not fit.
    """
    wanted = clusters_of(checkpoint).count if m is None else m
    if wanted < 1:
        raise MetaprobeError(f"k-means needs at least one cluster; got {wanted}")
    viewer = Viewer.of(checkpoint, device=plan.device, moves=moves)
    clusters = checkpoint.clusters.to(plan.device) if with_usage and checkpoint.clusters else None
    if clusters is not None and viewer.moves != clusters.moves:
        raise MetaprobeError("usage is by the checkpoint's own way of telling tasks apart; ask for it without `moves`")
    fit_plan = dataclasses.replace(plan, split="train", group=None)
    train = batches_of(sampler_of(checkpoint, imageset, fit_plan), fit_tasks, plan.chunk)
    batches = domain_batches(checkpoint, imageset, plan)  # what does not fit is told before anything is computed
    found = find_view_clusters(viewer, train, fit_tasks, wanted, plan.seed, advance)
    parts: list[dict[str, Int64[np.ndarray, " task"]]] = []
    with exact_float32(), TaskWorkers(viewer.network) as workers:
        for part in workers.map(lambda own, batch: _nearest(viewer, found, clusters, plan.seed, own, *batch), batches):
            parts.append(part)
            if advance:
                advance(len(part["groups"]))
    nearest = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    told = f"k-means, m {wanted}, on {fit_tasks} tasks of the train split, seed {plan.seed}; {viewer.moves}"
    identity = dataclasses.replace(identity_of(checkpoint), reason=told, n=len(nearest["groups"]))
    domains, groups = domains_of(imageset, plan), nearest["groups"]
    rows: list[Row] = []
    if clusters is not None:
        own, used = dataclasses.replace(identity_of(checkpoint), view="assignment"), nearest["assignment"]
        rows += _usage_table(own, domains, groups, used, clusters.count)
        rows += score_rows(own, domains, groups, used, clusters.count, plan.seed)
    elif with_usage and (view := "body" if viewer.moves.symmetric_head else "all") in nearest:
        rows += _usage_table(dataclasses.replace(identity, view=view), domains, groups, nearest[view], wanted)
    return Table.of([*rows, *_agreement_rows(identity, domains, nearest, found, plan.seed)])


def _nearest(
    viewer: Viewer,
    found: ViewClusters,
    clusters: Clusters | None,
    seed: int,
    network: TaskNetwork,
    place: int,
    tasks: Tasks,
) -> dict[str, Int64[np.ndarray, " task"]]:
    """Return each task's domain, its cluster for each view, the same with its ways permuted, and its own cluster."""
    body = viewer.columns[1]
    nearest = {"groups": np.full(len(tasks), place)}
    if "features" in found.centres:
        nearest["features"] = found.nearest("features", mean_features(viewer, network, tasks).float())
    for suffix, support in (("", tasks.support), (" permuted", relabelled(tasks.support, seed, place, tasks.indices))):
        adapted = adapted_parameters(viewer, network, support)
        if clusters is not None and not suffix:
            nearest["assignment"] = clusters.nearest(adapted).cpu().numpy()
        moved = flattened(viewer, adapted, len(tasks)).float()
        nearest |= {
            view + suffix: found.nearest(view, moved[:, columns_of(view, body)])
            for view in PARAMETER_VIEWS
            if view in found.centres
        }
    return nearest


def _agreement_rows(
    identity: Row,
    domains: tuple[str, ...],
    nearest: dict[str, Int64[np.ndarray, " task"]],
    found: ViewClusters,
    seed: int,
) -> Iterator[Row]:
    groups = nearest["groups"]
    for view in VIEWS:
        row = dataclasses.replace(identity, view=view)
        if view in found.undefined:
            yield from (undefined_row(row, measure, found.undefined[view]) for measure in SCORES)
        else:
            yield from score_rows(row, domains, groups, nearest[view], found.m, seed)
    for first, second in itertools.combinations(PARAMETER_VIEWS, 2):
        row, measure = dataclasses.replace(identity, view=f"{first}~{second}"), "adjusted_rand_between"
        if why := found.undefined.get(first) or found.undefined.get(second):
            yield undefined_row(row, measure, why)
            continue
        score = between_score(groups, nearest[first], nearest[second], found.m, bootstrap_generator(seed))
        yield scored_row(row, measure, score)
    for view in PARAMETER_VIEWS:
        row, measure = dataclasses.replace(identity, view=view), "unchanged_by_label_order"
        if view in found.undefined:
            yield undefined_row(row, measure, found.undefined[view])
        else:
            first, second = nearest[view], nearest[f"{view} permuted"]
            yield share_row(row, measure, first == second)
            chance = chance_of_agreeing(first, second, found.m, bootstrap_generator(seed))
            yield scored_row(row, f"{measure}_null", chance)
