"""Conv4 of other depths, norms and heads: layers, sizes, weights, and second derivatives, against plain autograd."""

import dataclasses
import functools
import hashlib

import pytest
import torch

from metaprobe.trainers.adapt import adapt
from metaprobe.trainers.algorithms import ALGORITHMS, meta_gradient
from metaprobe.trainers.config import Adaptation, NetworkConfig, TrainConfig, to_mapping
from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.networks import build_network
from metaprobe.trainers.parallel import TaskWorkers
from metaprobe.trainers.tasks.episodes import EpisodeSampler
from tests import reference_maml, reference_networks
from tests.conftest import make_imageset
from tests.test_meta_gradients import TOLERANCE, worst


def built(blocks=4, downsample="stride", size=28, channels=1, seed=3, **options):
    config = {"n_way": 5, "filters": 8, "norm": "transductive"} | options
    shape = {"channels": channels, "image_size": size, "downsample": downsample, "blocks": blocks}
    return build_network(NetworkConfig(name="conv4", **config, **shape), seed)


@pytest.mark.parametrize(
    ("options", "expected"),
    [({}, "d05792c05c34f477"), ({"downsample": "max-pool", "size": 20, "channels": 3}, "0e6b7b34ba42bd96")],
    ids=["stride", "max-pool"],
)
def test_the_weights_of_four_blocks_are_those_of_earlier_versions(options, expected):
    digest = hashlib.sha256()
    for name, value in built(**options).named_parameters():
        digest.update(name.encode() + value.detach().numpy().tobytes())
    assert digest.hexdigest()[:16] == expected


@pytest.mark.parametrize("downsample", ["stride", "max-pool"])
@pytest.mark.parametrize(("blocks", "size"), [(1, 16), (3, 4), (4, 2), (5, 2), (7, 2)])
def test_blocks_after_the_fourth_keep_the_size_of_the_map(downsample, blocks, size):
    network = built(blocks, downsample, size=32)
    names = tuple(f"conv{number}" for number in range(1, blocks + 1))
    assert network.layer_names == (*names, "head")
    assert {name.partition(".")[0] for name, _ in network.named_parameters()} == set(network.layer_names)
    images = torch.rand(6, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    assert network(images, layers=names).shape == (6, 8, size, size)
    assert network(images).shape == (6, 5)


def test_networks_of_other_depths_stand_beside_each_other():
    deep, shallow = built(6), built(2)
    assert (len(deep.layer_names), len(shallow.layer_names), len(built().layer_names)) == (7, 3, 5)
    with TaskWorkers(deep) as workers:  # each worker has a copy
        assert list(workers.map(lambda network, _: network.layer_names, [0])) == [deep.layer_names]


def test_images_that_the_pools_leave_nothing_of_are_refused():
    with pytest.raises(MetaprobeError, match="images of 15 pixels are too small for 4 2×2 max-pools; 16 will do"):
        built(6, "max-pool", size=15)
    with pytest.raises(MetaprobeError, match="images of 3 pixels are too small for 2 2×2 max-pools; 4 will do"):
        built(2, "max-pool", size=3)
    assert built(6, "max-pool", size=16).head.weight.shape == (5, 8)


@pytest.mark.parametrize("sweep", [False, True], ids=["unrolled", "sweep"])
@pytest.mark.parametrize("norm", ["transductive", "non-transductive"])
@pytest.mark.parametrize(
    ("blocks", "downsample", "size"),
    [(2, "stride", 12), (6, "stride", 28), (5, "stride", 16), (6, "max-pool", 32), (6, "max-pool", 16)],
)
def test_meta_gradients_of_any_depth_equal_plain_autograd(blocks, downsample, size, norm, sweep, monkeypatch):
    monkeypatch.setattr(reference_maml, "conv4", reference_networks.logits)
    network = built(blocks, downsample, size, channels=2, filters=3, n_way=3).double()
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():  # norms start at 1 and 0, a special case: move them away
        for parameter in network.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    params = dict(network.named_parameters())
    images = make_imageset(12, 8, size, channels=2)
    tasks = EpisodeSampler(images, "train", 3, 2, 3, seed=5, dtype=torch.float64).batch(range(3))
    transductive = norm == "transductive"
    ours = meta_gradient(network, params, tasks, Adaptation(network.layer_names, 0.2, 3), transductive, sweep)
    loss, theirs = reference_maml.meta_gradient(params, tasks, list(params), 0.2, 3, False, downsample, transductive)
    assert float(ours.loss) == pytest.approx(loss, abs=TOLERANCE)
    assert worst(ours.gradients, theirs) < TOLERANCE
    last = f"conv{blocks}.conv.weight"
    assert float(theirs[last].abs().max()) > 1e-4  # the agreement is not one of zeros


OPTIONS = [
    {"norm_affine": "shift"},
    {"norm_affine": "none"},
    {"norm_epsilon": 1e-3},
    {"head_start": "normal"},
    {"head_input": "mean"},
    {"head_input": "flatten", "downsample": "stride"},
    {"downsample": "none"},
    {"downsample": "none", "head_input": "flatten"},
    {"norm_affine": "shift", "norm_epsilon": 1e-3, "head_start": "normal", "head_input": "mean"},  # finn2017's
]


def told(options):
    return ",".join(map(str, options.values()))


def moved(network):
    """The network in float64 with its weights moved: norms start at 1 and 0, a special case."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in network.double().parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return network


@pytest.mark.parametrize("sweep", [False, True], ids=["unrolled", "sweep"])
@pytest.mark.parametrize("norm", ["transductive", "non-transductive"])
@pytest.mark.parametrize("name", ["maml", "anil"])
@pytest.mark.parametrize("adapt_norm", [True, False])
@pytest.mark.parametrize("options", OPTIONS, ids=told)
def test_meta_gradients_of_every_option_equal_plain_autograd(options, adapt_norm, name, norm, sweep, monkeypatch):
    shape = {"downsample": "max-pool"} | options
    network = moved(built(2, size=8, channels=2, filters=3, n_way=3, **shape))
    plain = functools.partial(
        reference_networks.logits,
        epsilon=options.get("norm_epsilon", 1e-5),
        head_input=options.get("head_input"),
    )
    monkeypatch.setattr(reference_maml, "conv4", plain)
    params = dict(network.named_parameters())
    images = make_imageset(12, 8, 8, channels=2)
    tasks = EpisodeSampler(images, "train", 3, 2, 3, seed=5, dtype=torch.float64).batch(range(3))
    config = TrainConfig(name, "toy", inner_lr=0.2, inner_steps=3, adapt_norm=adapt_norm)
    adaptation = ALGORITHMS[name].adaptation(config, network.layer_names)
    transductive = norm == "transductive"
    ours = ALGORITHMS[name].meta_gradient(network, params, tasks, adaptation, transductive, sweep)
    names = [p for p in params if (name == "maml" or p.startswith("head.")) and (adapt_norm or ".norm." not in p)]
    downsample = shape["downsample"]
    loss, theirs = reference_maml.meta_gradient(params, tasks, names, 0.2, 3, False, downsample, transductive)
    assert float(ours.loss) == pytest.approx(loss, abs=TOLERANCE)
    assert worst(ours.gradients, theirs) < TOLERANCE
    assert float(theirs["conv2.conv.weight"].abs().max()) > 1e-4  # the agreement is not one of zeros


def test_options_change_what_they_name_and_nothing_else():
    plain = dict(built(downsample="max-pool", size=20, channels=3).named_parameters())
    for affine, absent in (("shift", {"weight"}), ("none", {"weight", "bias"})):
        other = dict(built(downsample="max-pool", size=20, channels=3, norm_affine=affine).named_parameters())
        gone = {f"conv{block}.norm.{part}" for block in range(1, 5) for part in absent}
        assert set(plain) - set(other) == gone and not set(other) - set(plain)
        assert all(torch.equal(value, plain[name]) for name, value in other.items())
    drawn = dict(built(downsample="max-pool", size=20, channels=3, n_way=400, head_start="normal").named_parameters())
    assert float(drawn["head.weight"].detach().std()) == pytest.approx(1, abs=0.05)
    assert float(drawn["head.weight"].detach().mean()) == pytest.approx(0, abs=0.05)
    assert not drawn["head.bias"].any()
    assert all(torch.equal(drawn[name], value) for name, value in plain.items() if not name.startswith("head"))
    assert built(downsample="max-pool", head_input="mean").head.weight.shape == (5, 8)
    assert built(downsample="none", size=12).head.weight.shape == (5, 8)
    assert built(downsample="none", size=12, head_input="flatten").head.weight.shape == (5, 8 * 12 * 12)


def test_norms_without_parameters_leave_nothing_of_theirs_to_adapt():
    network = moved(built(2, size=8, n_way=3, norm_affine="none"))
    params = dict(network.named_parameters())
    images = make_imageset(12, 8, 8, channels=1)
    tasks = EpisodeSampler(images, "train", 3, 2, 3, seed=5, dtype=torch.float64).batch(range(2))
    found = [
        adapt(network, params, tasks.support, inner_lr=0.3, steps=2, adapt_norm=adapt_norm).params
        for adapt_norm in (True, False)
    ]
    assert all(torch.equal(found[0][name], found[1][name]) for name in params)


def test_a_network_of_earlier_versions_reads_writes_and_hashes_as_it_did():
    old = {"name": "conv4", "n_way": 5, "channels": 1, "image_size": 28, "filters": 8, "downsample": "stride"}
    old |= {"norm": "transductive", "blocks": 4}
    config = NetworkConfig(**old)
    assert to_mapping(config) == old
    assert (config.norm_affine, config.norm_epsilon, config.head_start, config.reads) == (
        "both",
        1e-5,
        "glorot",
        "mean",
    )
    assert to_mapping(dataclasses.replace(config, norm_affine="shift")) == old | {"norm_affine": "shift"}
    same, other = (dataclasses.replace(config, head_input=reads) for reads in ("mean", "flatten"))
    assert same == config and other.reads == "flatten" and to_mapping(other) == old | {"head_input": "flatten"}


@pytest.mark.parametrize("epsilon", [0.0, -1.0, float("inf"), float("nan"), 1e-60])
def test_an_epsilon_that_is_no_number_above_zero_is_refused(epsilon):
    with pytest.raises(MetaprobeError, match=r"norm_epsilon must be above 0 and finite in float32; got"):
        built(norm_epsilon=epsilon)
