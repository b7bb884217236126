"""Tests on sets of several domains: each domain alone, and all together."""

import dataclasses

import pytest

from metaprobe.analyses.freezing import accuracy_of, freeze, group_accuracy
from metaprobe.trainers.checkpoint import load_checkpoint
from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.evaluate import evaluate
from metaprobe.trainers.tasks.episodes import EpisodeSampler
from metaprobe.trainers.tasks.mixture import mix
from tests.conftest import make_imageset
from tests.freezing_runs import IMAGESET, PLAN, assert_mean, chosen, the, trained_maml


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return trained_maml(tmp_path_factory.mktemp("freezing") / "run")


def mixture(**sizes):
    return mix([(name, make_imageset(n_classes=n, per_class=18, size=8, seed=n)) for name, n in sizes.items()])


def test_each_domain_alone_and_all_together(run):
    checkpoint, mixed, done = load_checkpoint(run.checkpoint("last")), mixture(dots=12, bars=9), []
    table = group_accuracy(checkpoint, mixed, PLAN, advance=done.append)
    assert [(row.group, row.measure) for row in table.rows] == [
        (group, measure) for group in ("dots", "bars", None) for measure in ("accuracy", "loss")
    ]
    assert sum(done) == 3 * PLAN.tasks
    for group in ("dots", "bars", None):
        plan = dataclasses.replace(PLAN, group=group)
        assert chosen(table, group=group) == list(accuracy_of(checkpoint, mixed, plan).rows)
        assert chosen(table, group=group, measure="accuracy")[0].n == PLAN.tasks
    # A domain's tasks are those of a sampler that knows that domain alone.
    sampler = EpisodeSampler(mixed, "test", 3, 1, PLAN.n_query, PLAN.seed, group="bars")
    assert set(sampler.batch(range(6)).groups) == {"bars"}
    network = checkpoint.network()
    found = evaluate(
        network, dict(network.named_parameters()), sampler, checkpoint.adaptation, tasks=6, transductive=False
    )
    assert_mean(the(table, group="bars", measure="accuracy"), found.accuracy)
    frozen = freeze(run.checkpoint("last"), mixed, dataclasses.replace(PLAN, group="bars"), frozen=[()])
    assert {row.group for row in frozen.rows} == {"bars"}
    assert the(frozen, algorithm="maml", measure="accuracy").value == the(table, group="bars", measure="accuracy").value


def test_each_task_of_a_domain_is_the_same_one_for_every_learner(run):
    mixed, plan = mixture(dots=12, bars=9), dataclasses.replace(PLAN, per_task=True)
    for name in ("start", "last"):
        checkpoint = load_checkpoint(run.checkpoint(name))
        table = group_accuracy(checkpoint, mixed, plan)
        network = checkpoint.network()
        for group in ("dots", "bars", None):
            rows = [row for row in chosen(table, measure="accuracy", group=group) if row.task is not None]
            assert [row.task for row in rows] == list(range(PLAN.tasks))
            tasks = EpisodeSampler(mixed, "test", 3, 1, PLAN.n_query, PLAN.seed, group=group)
            start = dict(network.named_parameters())
            found = evaluate(network, start, tasks, checkpoint.adaptation, tasks=6, transductive=False)
            assert [row.value for row in rows] == found.accuracy.tolist()


def test_a_set_of_one_domain_is_tested_once(run):
    checkpoint = load_checkpoint(run.checkpoint("last"))
    assert group_accuracy(checkpoint, IMAGESET, PLAN) == accuracy_of(checkpoint, IMAGESET, PLAN)
    found = group_accuracy(checkpoint, IMAGESET, PLAN, head="matching")
    assert found == accuracy_of(checkpoint, IMAGESET, PLAN, head="matching")
    assert {row.head for row in found.rows} == {"matching"}


def test_domains_that_do_not_fit_are_named(run):
    checkpoint, mixed = load_checkpoint(run.checkpoint("last")), mixture(dots=12, bars=9)
    with pytest.raises(MetaprobeError, match=r"every domain was asked for, and of 'bars' alone; leave one out"):
        group_accuracy(checkpoint, mixed, dataclasses.replace(PLAN, group="bars"))
    with pytest.raises(MetaprobeError, match=r"unknown domain 'bar'. Did you mean bars\?"):
        accuracy_of(checkpoint, mixed, dataclasses.replace(PLAN, group="bar"))
    with pytest.raises(MetaprobeError, match=r"test split of bars \(of dots\+bars\) has 2 classes, fewer than n_way=3"):
        group_accuracy(checkpoint, mixture(dots=12, bars=6), PLAN)
