"""Freezing of learners with several initialisations: each task keeps its own."""

import dataclasses

import numpy as np
import pytest

from metaprobe.analyses.freezing import accuracy_of, freeze
from metaprobe.analyses.testing import adapting_all, learner_of
from metaprobe.analyses.testing.accuracy import evaluated
from metaprobe.trainers.adapt import adapt, query_logits, task_losses
from metaprobe.trainers.checkpoint import save_checkpoint
from metaprobe.trainers.networks import build_network
from metaprobe.trainers.tasks.episodes import EpisodeSampler
from tests.freezing_runs import BLOCKS, IMAGESET, LAYERS, PLAN, assert_mean, chosen, the
from tests.several_starts import NETWORK, checkpoint_of, nearest, own_start, plain, two_starts


def test_of_several_initialisations_all_layers_adapt_from_the_one_that_training_would_assign():
    sampler = EpisodeSampler(IMAGESET, PLAN.split, 3, 2, PLAN.n_query, PLAN.seed)
    clusters = two_starts(sampler, PLAN.tasks)
    head_alone = dataclasses.replace(checkpoint_of(clusters).adaptation, layers=("head",))
    learner = adapting_all(learner_of(checkpoint_of(clusters, adaptation=head_alone), PLAN))
    assert (learner.adaptation.layers, learner.identity.adapts) == (LAYERS, "all")
    for frozen in (), BLOCKS[-1]:
        (found,) = evaluated(learner, sampler, PLAN, [(frozen, 2, "own")], None)
        np.testing.assert_allclose(found.loss, by_task(clusters, frozen, 2)[1], rtol=1e-5)


def by_task(clusters, frozen, steps):
    """Accuracy and loss by task: its initialisation put into a plain network, which then adapts without layers."""
    sampler, found = EpisodeSampler(IMAGESET, PLAN.split, 3, 2, PLAN.n_query, PLAN.seed), []
    for place in range(PLAN.tasks):
        task = sampler.batch([place])
        network = plain(own_start(clusters, task.support))
        layers = [layer for layer in LAYERS if layer not in frozen]
        params = dict(network.named_parameters())
        adapted = adapt(network, params, task.support, layers=layers, inner_lr=0.3, steps=steps)
        logits = query_logits(network, adapted.params, task.support, task.query).detach()
        right = (logits.argmax(-1) == task.query.labels).double().mean()
        found.append((100 * float(right), float(task_losses(logits, task.query.labels))))
    return np.array(found).T


def test_of_several_initialisations_each_task_freezes_its_own(tmp_path):
    sampler = EpisodeSampler(IMAGESET, PLAN.split, 3, 2, PLAN.n_query, PLAN.seed)
    clusters = two_starts(sampler, PLAN.tasks)
    places = [nearest(clusters, sampler.batch([place]).support) for place in range(PLAN.tasks)]
    assert set(places) == {0, 1}
    path, checkpoint = tmp_path / "a.safetensors", checkpoint_of(clusters)
    save_checkpoint(path, checkpoint)
    table = freeze(path, IMAGESET, PLAN, inner_steps=(2, 0), random_row=False)
    # Without a step, too, and with the whole body frozen, a task keeps the cluster that the full adaptation finds.
    for frozen, steps in [*((block, 2) for block in BLOCKS), ((), 0)]:
        accuracy, loss = by_task(clusters, frozen, steps)
        wanted = {"frozen": ",".join(frozen), "inner_steps": steps}
        assert_mean(the(table, measure="accuracy", **wanted), accuracy)
        row = the(table, measure="loss", **wanted)
        assert row.value == pytest.approx(loss.mean(), rel=1e-5)
        assert accuracy_of(checkpoint, IMAGESET, PLAN, frozen=frozen, inner_steps=steps).rows[1].value == row.value
    losses = {row.value for row in chosen(table, measure="loss")}
    assert len(losses) == len(chosen(table, measure="loss")) - 1  # step 0 is the same, frozen or not


def test_the_random_row_of_several_initialisations_is_one_untrained_network(tmp_path):
    sampler = EpisodeSampler(IMAGESET, PLAN.split, 3, 2, PLAN.n_query, PLAN.seed)
    path, checkpoint = tmp_path / "a.safetensors", checkpoint_of(two_starts(sampler, PLAN.tasks))
    save_checkpoint(path, checkpoint)
    random = the(freeze(path, IMAGESET, PLAN, frozen=[()]), algorithm="random", measure="accuracy")
    single = dataclasses.replace(
        checkpoint, clusters=None, params=dict(build_network(NETWORK, checkpoint.config.seed).named_parameters())
    )
    assert random.value == accuracy_of(single, IMAGESET, PLAN).rows[0].value
