"""Curves over inner steps against plain adaptation with that many steps, one task at a time."""

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from metaprobe.analyses.contrasts import contrast
from metaprobe.analyses.freezing import TestPlan, accuracy_of
from metaprobe.analyses.steps import step_curves
from metaprobe.trainers.checkpoint import Checkpoint
from metaprobe.trainers.config import TrainConfig
from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.intervals import PERCENT, POSITIVE
from metaprobe.trainers.networks import build_network
from metaprobe.trainers.tasks.episodes import EpisodeSampler
from tests.conftest import make_imageset
from tests.interval_coverage import interval_of
from tests.reference_maml import adapt, conv4
from tests.several_starts import ADAPTATION, LAYERS, NETWORK, checkpoint_of, nearest, own_start, two_starts

IMAGESET = make_imageset(n_classes=12, per_class=18, size=8)
PLAN = TestPlan(tasks=5, n_query=4, seed=3, chunk=2)
MEASURES = ("support_loss", "support_accuracy", "query_loss", "query_accuracy")


def one_start(layers=LAYERS, norm="transductive", steps=2):
    config = TrainConfig("maml", "toy", n_way=3, n_shot=2, seed=6, norm=norm)
    network = build_network(dataclasses.replace(NETWORK, norm=norm), 6)
    params = {name: 1.5 * value.detach() for name, value in network.named_parameters()}
    adaptation = dataclasses.replace(ADAPTATION, layers=layers, steps=steps)
    return Checkpoint(params, config, dataclasses.replace(NETWORK, norm=norm), adaptation, 40)


def sampler(plan=PLAN):
    return EpisodeSampler(IMAGESET, plan.split, 3, 2, plan.n_query, plan.seed)


def expected(start_of, step, layers=LAYERS, transductive=True):
    """`MEASURES` by task, after `step` steps of plain adaptation."""
    found = []
    for place in range(PLAN.tasks):
        task = sampler().batch([place])
        start = {name: value.detach().requires_grad_() for name, value in start_of(task).items()}
        names = [name for name in start if name.partition(".")[0] in layers]
        images, labels = task.support.images[0], task.support.labels[0]
        params = adapt(start, images, labels, names, 0.3, step, True, "stride")
        support, query = conv4(params, images, "stride"), task.query.images[0]
        if transductive:
            logits = conv4(params, query, "stride")
        else:
            logits = conv4(params, torch.cat([images, query]), "stride", len(images))[len(images) :]
        values = []
        for out, truth in ((support, labels), (logits, task.query.labels[0])):
            values.append(float(F.cross_entropy(out, truth).detach()))
            values.append(100 * float((out.argmax(-1) == truth).double().mean()))
        found.append(values)
    return np.array(found).T


def assert_curves(table, start_of, steps, **options):
    rows = {(row.step, row.measure): row for row in table.rows}
    assert len(rows) == len(table) == (steps + 1) * 4 * 3
    for step in range(steps + 1):
        for measure, per_task in zip(MEASURES, expected(start_of, step, **options), strict=True):
            row = rows[step, measure]
            limits = PERCENT if measure.endswith("accuracy") else POSITIVE
            low, high = interval_of(per_task, limits, 3 * (2 if measure.startswith("support") else PLAN.n_query))
            assert (row.value, row.low, row.high) == pytest.approx((per_task.mean(), low, high), rel=1e-4, abs=1e-5)
            assert (row.n, row.inner_steps, row.head) == (PLAN.tasks, steps, "own")
            assert row.phase == ("post" if step else "pre")
            for name, share in (("lower", 25), ("upper", 75)):
                quartile = rows[step, f"{measure}_{name}_quartile"]
                assert quartile.value == pytest.approx(np.percentile(per_task, share), rel=1e-4, abs=1e-5)
                assert (quartile.low, quartile.high, quartile.n) == (None, None, PLAN.tasks)


@pytest.mark.parametrize(
    ("layers", "norm"), [(LAYERS, "transductive"), (LAYERS, "non-transductive"), (("head",), "transductive")]
)
def test_each_step_is_plain_adaptation_with_that_many_steps(layers, norm):
    checkpoint = one_start(layers, norm)
    table = step_curves(checkpoint, IMAGESET, PLAN, 5)
    assert_curves(table, lambda _: checkpoint.params, 5, layers=layers, transductive=norm == "transductive")
    row = table.rows[0]
    assert (row.checkpoint, row.algorithm, row.seed, row.iteration) == (checkpoint.fingerprint[:12], "maml", 6, 40)


def test_each_task_gets_rows_of_its_own_when_asked():
    checkpoint = one_start()
    table = step_curves(checkpoint, IMAGESET, dataclasses.replace(PLAN, per_task=True), 2)
    assert tuple(row for row in table.rows if row.task is None) == step_curves(checkpoint, IMAGESET, PLAN, 2).rows
    single = {(row.step, row.measure, row.task): row for row in table.rows if row.task is not None}
    assert len(single) == 3 * 2 * PLAN.tasks
    for step in range(3):
        for measure, per_task in list(zip(MEASURES, expected(lambda _: checkpoint.params, step), strict=True))[2:]:
            rows = [single[step, measure, task] for task in range(PLAN.tasks)]
            np.testing.assert_allclose([row.value for row in rows], per_task, rtol=1e-4, atol=1e-5)
            assert {(row.n, row.inner_steps, row.low) for row in rows} == {(1, 2, None)}


def test_steps_and_learners_are_paired_by_task():
    plan, (one, other) = dataclasses.replace(PLAN, per_task=True), (one_start(), one_start(("conv4", "head")))
    ours, theirs = (step_curves(checkpoint, IMAGESET, plan, 2) for checkpoint in (one, other))

    def singles(table, step):
        rows = [row for row in table.rows if (row.measure, row.step) == ("query_loss", step)]
        return [row for row in rows if row.task is not None]

    first, last = expected(lambda _: one.params, 1)[2], expected(lambda _: one.params, 2)[2]
    (rise,) = contrast(singles(ours, 2), singles(ours, 1), "step=1", (0.0, np.inf))
    gap = last - first
    assert (rise.value, rise.low, rise.high) == pytest.approx(
        (gap.mean(), *interval_of(gap, (-np.inf, np.inf))), rel=1e-3, abs=1e-5
    )
    (apart,) = contrast(singles(ours, 2), singles(theirs, 2), "learner=other", (0.0, np.inf))
    gap = last - expected(lambda _: other.params, 2, layers=("conv4", "head"))[2]
    assert apart.value == pytest.approx(gap.mean(), rel=1e-3, abs=1e-5)


def test_of_several_initialisations_a_task_starts_from_its_own():
    clusters = two_starts(sampler(), PLAN.tasks)
    assert {nearest(clusters, sampler().batch([place]).support) for place in range(PLAN.tasks)} == {0, 1}
    table = step_curves(checkpoint_of(clusters), IMAGESET, PLAN, 3)
    assert_curves(table, lambda task: own_start(clusters, task.support), 3)


def test_the_trained_step_is_what_evaluation_finds():
    checkpoint = one_start()
    row = next(
        r for r in step_curves(checkpoint, IMAGESET, PLAN, 4).rows if (r.step, r.measure) == (2, "query_accuracy")
    )
    assert row.value == pytest.approx(accuracy_of(checkpoint, IMAGESET, PLAN).rows[0].value, abs=1e-6)


def test_workers_and_the_last_step_play_no_part():
    checkpoint, allowed = one_start(), torch.get_num_threads()
    first = step_curves(checkpoint, IMAGESET, PLAN, 4)
    try:
        torch.set_num_threads(3)
        assert step_curves(checkpoint, IMAGESET, PLAN, 4) == first
    finally:
        torch.set_num_threads(allowed)
    shorter = step_curves(checkpoint, IMAGESET, PLAN, 2)
    assert [row.value for row in shorter.rows] == [row.value for row in first.rows if row.step <= 2]


def test_where_nothing_adapts_the_curve_is_flat():
    table = step_curves(one_start(layers=()), IMAGESET, PLAN, 3)
    for measure in MEASURES:
        assert len({row.value for row in table.rows if row.measure == measure}) == 1
    assert {row.step for row in table.rows} == {0, 1, 2, 3}


def test_one_task_has_a_band_and_no_interval_and_progress_is_told():
    done = []
    table = step_curves(one_start(), IMAGESET, dataclasses.replace(PLAN, tasks=1), 1, advance=done.append)
    assert {(row.low, row.high, row.n) for row in table.rows} == {(None, None, 1)}
    assert done == [1]
    step_curves(one_start(), IMAGESET, PLAN, 1, advance=done.append)
    assert done == [1, 2, 2, 1]


def test_what_does_not_fit_is_named():
    with pytest.raises(MetaprobeError, match=r"not measured with one query at a time.*leave the plan's norm open"):
        step_curves(one_start(), IMAGESET, dataclasses.replace(PLAN, norm="one-query"))
    with pytest.raises(MetaprobeError, match=r"at least 1 step; got 0"):
        step_curves(one_start(), IMAGESET, PLAN, 0)
    with pytest.raises(MetaprobeError, match=r"trained on images of 1 × 8 × 8; toy has 3 × 14 × 14"):
        step_curves(one_start(), make_imageset(size=14, channels=3), PLAN)
