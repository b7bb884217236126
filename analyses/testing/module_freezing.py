"""Freezing ablation of any `nn.Module`, on tasks that are given."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from metaprobe.analyses.table import Row, Table
from metaprobe.analyses.testing.ablation import Ablation, OtherSteps, contiguous_blocks
from metaprobe.analyses.testing.accuracy import narrowed, score_rows
from metaprobe.probe.capturing.fitting import check_module, check_tasks, split_weights
from metaprobe.probe.capturing.untouched import untouched
from metaprobe.trainers.adapt import adapt_as, layers_of
from metaprobe.trainers.checkpoint import fingerprint_of
from metaprobe.trainers.config import Adaptation
from metaprobe.trainers.device import exact_float32
from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.evaluate import Evaluation, TestHead
from metaprobe.trainers.losses import kind_of
from metaprobe.trainers.networks import Parameters, TaskNetwork, forward_tasks
from metaprobe.trainers.networks.heads import nil_of_features
from metaprobe.trainers.parallel import one_thread
from metaprobe.trainers.query_scores import query_scores, refuse_nil, scores_of
from metaprobe.trainers.tasks.episodes import Tasks

__all__ = ["freeze_module"]


def freeze_module(
    network: nn.Module,
    params: Parameters | None,
    tasks: Tasks,
    adaptation: Adaptation,
    *,
    frozen: Sequence[Sequence[str]] | None = None,
    inner_steps: Sequence[int] = (),
    other_steps: OtherSteps = "ends",
    transductive: bool = True,
    untrained: Parameters | None = None,
    nil_head: bool = False,
    per_task: bool = False,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Table:
    """Run a freezing ablation on any module that maps (sample, …) to outputs, with an untrained control beside it.

    The tests of `analyses.freezing.freeze`, task by task. Layers are named at any depth, by name or glob
    (`trainers.networks.naming`). The module stays in the train or eval mode it is in and is left as it was found:
    buffers, flags and torch's random state are put back, and every test starts from the same buffers.

    Args:
        network: the module.
        params: trained weights by name; buffers may be among them (a `state_dict`); what is not named, and with None
            everything, is the module's own.
        tasks: the tasks, of classes or of numbers (`trainers.losses.kind_of`).
        adaptation: how to adapt with nothing frozen.
        frozen: sets of layers (default: `contiguous_blocks` of `trainers.adapt.layers_of`, in the order of the
            parameters); differences are to the first.
        inner_steps: numbers of steps (default: the adaptation's).
        other_steps: which sets are tested at numbers of steps other than the first.
        transductive: normalise queries with their own statistics, else with the support set's (`TaskNetwork` only).
        untrained: weights as before training, in the form of `params`: the control, without which what freezing costs
            says little about what was learned.
        nil_head: whether to test the NIL head, too, on each body as it is: on what the module's last layer reads. The
            reuse index (`analyses.testing.reuse.reuse_table`) is counted from that of the untrained body.
        per_task: whether the accuracy of every task gets a row, too (`task` is its index).
        seed: of what is random in the module (dropout); each task draws its own.
        progress: called with the number of tasks done and of tasks in all.

    Returns:
        Rows as of `freeze`. `checkpoint` is the beginning of the weights' fingerprint, as a capture of them has it;
        `algorithm` is "random" for the control.

    Raises:
        MetaprobeError: a layer or parameter is unknown, a shape does not fit, there is no task, the module is no
            `TaskNetwork` and is asked for the support set's statistics, or its last layer is no submodule of one input.
    """
    if not len(tasks):
        raise MetaprobeError("a freezing ablation needs at least one task; got none")
    check_module(network, tasks)
    if not transductive and not isinstance(network, TaskNetwork):
        raise MetaprobeError(
            f"transductive=False asks for the support set's statistics; {type(network).__name__} normalises in its own "
            "way (train or eval mode), leave the argument out"
        )
    sets = contiguous_blocks(layers_of(network)) if frozen is None else frozen
    if nil_head:
        refuse_nil(kind_of(tasks.query.labels))
    ablation = Ablation.of(sets, inner_steps, adaptation.steps, other_steps)
    learners = [(None, split_weights(network, params))] + (
        [("random", split_weights(network, untrained))] if untrained else []
    )
    total, done = len(tasks) * len(learners) * (len(ablation) + nil_head), 0
    rows = []
    for algorithm, (start, buffers) in learners:
        identity = Row(checkpoint=fingerprint_of(start)[:12], algorithm=algorithm, measure="", value=None)
        with exact_float32(), one_thread(), untouched(network, buffers) as rewind:
            rewind(seed)
            check_tasks(network, start, tasks[:1])

            def test(
                names: tuple[str, ...],
                steps: int,
                start: Parameters = start,
                rewind: Callable[[int], None] = rewind,
                head: TestHead = "own",
            ) -> Evaluation:
                nonlocal done
                changed, scores = narrowed(network, adaptation, names, steps), []
                for place, index in enumerate(tasks.indices):
                    task, own_seed = tasks[place : place + 1], (seed * 1_000_003 + index) % 2**63
                    rewind(own_seed)
                    adapted = adapt_as(network, start, task.support, changed).params
                    rewind(own_seed)
                    scores.append(_scores(network, adapted, task, head, transductive))
                    done += 1
                    if progress:
                        progress(done, total)
                labels = tasks.query.labels
                return Evaluation(*np.concatenate(scores, axis=1), queries=labels.shape[1], kind=kind_of(labels))

            singles = tasks.indices if per_task else ()
            rows += ablation.rows(identity, test, singles)
            if nil_head:
                rows += score_rows(identity, (), 0, "nil", test((), 0, head="nil"), singles)
    return Table.of(rows)


def _scores(
    network: nn.Module, params: Parameters, task: Tasks, head: TestHead, transductive: bool
) -> Float[np.ndarray, "2 task"]:
    if head == "own" or isinstance(network, TaskNetwork):
        return query_scores(network, params, task, head, transductive)
    with torch.no_grad():
        support, query = (_last_input(network, params, part.images) for part in (task.support, task.query))
        return scores_of(nil_of_features(support, query, task), task)


def _last_input(
    network: nn.Module, params: Parameters, images: Float[Tensor, "1 sample ..."]
) -> Float[Tensor, "1 sample feature"]:
    """Return what a module's last layer reads of each sample, as the features of its body."""
    last, read = layers_of(network)[-1], list[tuple[Tensor, ...]]()
    layer = dict(network.named_modules(remove_duplicate=False)).get(last)
    tap = layer and layer.register_forward_pre_hook(lambda _, given: read.append(given))
    try:
        forward_tasks(network, params, images)
    finally:
        if tap:
            tap.remove()
    if [len(given) for given in read] != [1] or len(read[0][0]) != images.shape[1]:
        raise MetaprobeError(
            f"the NIL head reads what the last layer, {last!r}, is given: expected a submodule that is called once, "
            f"with the features of {images.shape[1]} samples; leave nil_head out"
        )
    return read[0][0].flatten(1).unsqueeze(0)
