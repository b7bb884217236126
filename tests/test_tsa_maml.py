"""TSA-MAML from its base to its checkpoint: what is trained, by what, and what a later user needs."""

import dataclasses

import numpy as np
import pytest
import torch

from metaprobe.trainers.adapt import adapt_as
from metaprobe.trainers.algorithms import ALGORITHMS, check_options
from metaprobe.trainers.checkpoint import load_checkpoint, save_checkpoint
from metaprobe.trainers.clustering.moves import Moves
from metaprobe.trainers.config import Adaptation, TrainConfig, to_mapping
from metaprobe.trainers.errors import MetaprobeError, UnreadableInput
from metaprobe.trainers.evaluate import evaluate, sampler_for
from metaprobe.trainers.outer_loop import train
from metaprobe.trainers.run import RunFolder
from metaprobe.trainers.tasks.episodes import EpisodeSampler
from tests import reference_maml
from tests.conftest import make_imageset

LAYERS = ("conv1", "conv2", "conv3", "conv4", "head")
MAML = TrainConfig(
    "maml", "toy", n_way=3, n_query=3, filters=8, meta_batch=2, inner_steps=2, iterations=3, val_tasks=4, val_every=2,
    chunk=1, gradient="unrolled",
)  # fmt: skip


@pytest.fixture(scope="module")
def toy():
    made = make_imageset(size=20)
    return dataclasses.replace(made, domains=tuple("ab"[place % 2] for place in range(len(made.class_names))))


@pytest.fixture(scope="module")
def base(toy, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "maml"
    train(MAML, toy, folder)
    return RunFolder(folder).checkpoint("last")


def tsa(start, **other):
    asked = {"algorithm": "tsa_maml", "base": str(start), "clusters": 2, "cluster_tasks": 12, "iterations": 5}
    return dataclasses.replace(MAML, **(asked | other))


def test_one_cluster_is_maml_continued_to_the_byte(toy, base, tmp_path):
    continued = train(dataclasses.replace(MAML, base=str(base), iterations=5), toy, tmp_path / "maml")
    alone = train(tsa(base, clusters=1), toy, tmp_path / "tsa")
    for name, value in continued.params.items():
        assert torch.equal(alone.clusters.initialisations[name][0], value)
    assert alone.metrics == continued.metrics


def test_a_cluster_is_trained_by_maml_on_its_own_tasks_and_the_others_rest(toy, base, tmp_path):
    """The first step of Adam moves every weight by the outer rate against the sign of the reference's gradient."""
    config = tsa(base, iterations=1)
    after = train(config, toy, tmp_path / "run").clusters
    before = load_checkpoint(RunFolder(tmp_path / "run").checkpoint("start")).clusters
    apart = {name: (value - before.initialisations[name]).flatten(1) for name, value in after.initialisations.items()}
    (own,) = torch.cat(list(apart.values()), dim=1).any(dim=1).nonzero().flatten().tolist()
    tasks = EpisodeSampler(toy, "train", 3, 1, 3, 0).batch(range(40))
    network = load_checkpoint(base).network()
    assigned = before.assign(network, tasks.support).tolist()
    chosen = [place for place, cluster in enumerate(assigned) if cluster == own][:2]
    mine = EpisodeSampler(toy, "train", 3, 1, 3, 0).batch(chosen)
    params = {name: value[own].clone().requires_grad_() for name, value in before.initialisations.items()}
    _, gradients = reference_maml.meta_gradient(params, mine, list(params), 0.1, 2, False, "stride", True)
    for name, gradient in gradients.items():
        step = after.initialisations[name][own] - before.initialisations[name][own]
        clear = gradient.abs() > 1e-4
        assert torch.allclose(step[clear], -1e-3 * gradient[clear].sign(), atol=2e-5)
    assert all(torch.equal(after.centres[name], before.centres[name]) for name in after.centres)


def test_initialisations_begin_at_their_members_means_and_members_are_counted(toy, base, tmp_path):
    train(tsa(base, iterations=1), toy, tmp_path / "run")
    begun = load_checkpoint(RunFolder(tmp_path / "run").checkpoint("start"))
    clusters, network = begun.clusters, begun.network()
    assert clusters.members.sum() == 12 and all(torch.equal(begun.params[n], v) for n, v in clusters.base.items())
    tasks = EpisodeSampler(toy, "train", 3, 1, 3, 0).batch(range(12))
    assert (clusters.moves.adaptation.steps, begun.adaptation.steps) == (20, 2)
    adapted = adapt_as(network, clusters.base, tasks.support, clusters.moves.adaptation).params
    assigned = clusters.assign(network, tasks.support)
    assert torch.bincount(assigned, minlength=2).tolist() == clusters.members.tolist()
    for name, value in adapted.items():
        means = torch.stack([value[assigned == cluster].mean(0) for cluster in range(2)])
        assert torch.allclose(means, clusters.initialisations[name], atol=1e-5)


@pytest.mark.parametrize(("by", "names"), [("all", 6), ("body", 4), ("head", 2)])
def test_what_is_clustered_is_what_was_asked_for(toy, base, tmp_path, by, names):
    found = train(tsa(base, clustered=by, iterations=1, assign_to="initialisations"), toy, tmp_path / "run").clusters
    assert len(found.centres) == names and len(found.initialisations) == 14
    of_head = {"all": {False, True}, "body": {False}, "head": {True}}[by]
    assert {name.startswith("head") for name in found.centres} == of_head
    assert found.assign_to == "initialisations" and not any(".norm." in name for name in found.centres)
    norms = train(
        tsa(base, clustered=by, iterations=1, cluster_norms=True), toy, tmp_path / "norms"
    ).clusters  # fmt: skip
    assert len(norms.centres) == (names if by == "head" else names + 8)


MOVES = [
    ({}, Moves(Adaptation(LAYERS, 0.1, 20))),
    ({"cluster_steps": 3, "label_orders": 4}, Moves(Adaptation(LAYERS, 0.1, 3), 4)),
    ({"symmetric_head": True, "cluster_steps": 5}, Moves(Adaptation(LAYERS, 0.1, 5), 1, True)),
]


@pytest.mark.parametrize(("options", "moves"), MOVES, ids=["the paper's", "orders", "symmetric"])
def test_tasks_are_clustered_and_assigned_as_the_run_asks(toy, base, tmp_path, options, moves):
    train(tsa(base, **options), toy, tmp_path / "run")
    folder = RunFolder(tmp_path / "run")
    begun, last = (load_checkpoint(folder.checkpoint(name)) for name in ("start", "last"))
    assert begun.clusters.moves == last.clusters.moves == moves
    assert last.adaptation.steps == 2
    kept = (last.config.cluster_steps, last.config.label_orders, last.config.symmetric_head)
    assert kept == (moves.adaptation.steps, moves.label_orders, moves.symmetric_head)
    tasks = EpisodeSampler(toy, "train", 3, 1, 3, 0).batch(range(12))
    network = begun.network()
    adapted = moves.adapted(network, begun.clusters.base, tasks.support)
    assigned = begun.clusters.assign(network, tasks.support)
    assert torch.bincount(assigned, minlength=2).tolist() == begun.clusters.members.tolist()
    for name, value in begun.clusters.initialisations.items():
        means = torch.stack([adapted[name][assigned == cluster].mean(0) for cluster in range(2)])
        assert torch.allclose(means, value, atol=1e-5)
    if moves.symmetric_head:
        assert not any(name.startswith("head") for name in begun.clusters.centres)


def test_a_checkpoint_of_an_earlier_version_assigns_tasks_as_it_did(toy, base, tmp_path):
    train(tsa(base, cluster_steps=2, cluster_norms=True), toy, tmp_path / "run")
    made = load_checkpoint(RunFolder(tmp_path / "run").checkpoint("last"))
    silent = dataclasses.replace(made.config, cluster_steps=None, label_orders=None, cluster_norms=False)
    old = dataclasses.replace(made, config=silent)  # as it was written: nothing is said of how tasks are assigned
    assert not {"cluster_steps", "label_orders", "cluster_norms", "symmetric_head"} & set(to_mapping(silent))
    save_checkpoint(tmp_path / "old.safetensors", old)
    read = load_checkpoint(tmp_path / "old.safetensors")
    assert read.clusters.moves == Moves(read.adaptation)
    support = EpisodeSampler(toy, "test", 3, 1, 3, 0).batch(range(8)).support
    network = made.network()
    assert torch.equal(read.clusters.assign(network, support), made.clusters.assign(network, support))


def test_centres_that_the_config_does_not_name_are_refused(toy, base, tmp_path):
    made = train(tsa(base), toy, tmp_path / "run")
    for options, told in (
        ({"cluster_norms": True}, r"conv1.norm.bias is missing; tasks are clustered by 'all' with norms"),
        ({"clustered": "head"}, r"conv1.conv.weight is there; tasks are clustered by 'head' without norms"),
    ):
        false = dataclasses.replace(made, config=dataclasses.replace(made.config, **options))
        save_checkpoint(tmp_path / "false.safetensors", false)
        with pytest.raises(UnreadableInput, match=told):
            load_checkpoint(tmp_path / "false.safetensors")


def test_a_checkpoint_adapts_without_its_base(toy, base, tmp_path):
    copy = tmp_path / "base.safetensors"
    copy.write_bytes(base.read_bytes())
    made = train(tsa(copy), toy, tmp_path / "run")
    copy.unlink()
    read = load_checkpoint(RunFolder(tmp_path / "run").checkpoint("last"))
    assert read.fingerprint == made.fingerprint
    result = evaluate(read.network(), read.start(), sampler_for(read, toy, n_query=3), read.adaptation, tasks=6)
    assert result.accuracy.shape == (6,)


def test_a_finished_run_goes_on_only_from_the_same_base(toy, base, tmp_path):
    copy = tmp_path / "base.safetensors"
    copy.write_bytes(base.read_bytes())
    train(tsa(base), toy, tmp_path / "run")
    train(tsa(copy), toy, tmp_path / "run")  # the same weights at another place
    other = RunFolder(base.parent.parent).checkpoint("start")
    with pytest.raises(MetaprobeError, match="begun from another --base"):
        train(tsa(other), toy, tmp_path / "run")


@pytest.mark.parametrize(
    ("config", "match"),
    [
        (dict(clusters=13), "13 clusters cannot be found in 12 tasks; lower --clusters or raise --cluster-tasks"),
        (dict(base=None), "tsa_maml starts from a checkpoint; name one with --base CHECKPOINT"),
        (dict(algorithm="maml"), "--cluster-tasks is an option of tsa_maml; maml has no"),
        (dict(n_way=4), "of another network or other data than this run: n_way 3 there, 4 here"),
        (dict(filters=4), "filters 8 there, 4 here"),
        (dict(norm="non-transductive"), "norm transductive there, non-transductive here"),
        (dict(inner_lr=0.3), r"\(maml\) adapts otherwise than this run: --inner-lr 0.1 there, 0.3 here"),
        (dict(n_shot=2), "--n-shot 1 there, 2 here; train with the base's own settings"),
        (
            dict(symmetric_head=True, clustered="all"),
            "--symmetric-head clusters tasks by the body.*got 'all'; leave out",
        ),
        (
            dict(algorithm="maml", cluster_tasks=None, clusters=None, symmetric_head=True),
            "--symmetric-head is an option",
        ),
        (dict(algorithm="random", clusters=None, cluster_tasks=None), "random starts from drawn weights; leave out"),
    ],
)
def test_what_cannot_be_is_refused_in_plain_words(toy, base, tmp_path, config, match):
    with pytest.raises(MetaprobeError, match=match):
        train(tsa(base, **config), toy, tmp_path / "run")


def test_what_was_refused_before_it_began_leaves_the_folder_free(toy, base, tmp_path):
    same = np.repeat(toy.images[:1], len(toy.images), axis=0)
    with pytest.raises(MetaprobeError, match="clusters empty"):  # all images are one, so all tasks are
        train(tsa(base, clusters=9), dataclasses.replace(toy, images=same), tmp_path / "run")
    train(tsa(base, iterations=1), toy, tmp_path / "run")


def test_clusters_of_a_first_checkpoint_are_not_used_with_other_images(toy, base, tmp_path):
    train(tsa(base, iterations=1), toy, tmp_path / "run")
    for file in (tmp_path / "run" / "checkpoints").iterdir():
        if file.name != "start.safetensors":
            file.unlink()
    with pytest.raises(MetaprobeError, match="trained on other images"):
        train(tsa(base, iterations=1), make_imageset(size=20, seed=3), tmp_path / "run")


def test_a_base_with_several_initialisations_is_refused(toy, base, tmp_path):
    train(tsa(base, iterations=1), toy, tmp_path / "run")
    several = RunFolder(tmp_path / "run").checkpoint("last")
    with pytest.raises(MetaprobeError, match="has 2 initialisations; name a checkpoint of one"):
        train(tsa(several), toy, tmp_path / "again")


def test_a_base_of_another_image_size_and_a_missing_one_are_refused(base, tmp_path):
    with pytest.raises(MetaprobeError, match="image_size 20 there, 28 here"):
        train(tsa(base), make_imageset(size=28), tmp_path / "a")
    with pytest.raises(UnreadableInput, match="nowhere"):
        train(tsa(tmp_path / "nowhere.safetensors"), make_imageset(size=20), tmp_path / "b")


def test_several_processes_are_refused():
    with pytest.raises(MetaprobeError, match=r"tsa_maml runs in one process.*--workers 2"):
        check_options(ALGORITHMS["tsa_maml"], dataclasses.replace(MAML, algorithm="tsa_maml", base="x"), ranks=2)
