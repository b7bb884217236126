"""Conv4 with more or fewer blocks: layers, sizes, weights, and second derivatives through maps of few points."""

import hashlib

import pytest
import torch

from tests import reference_maml, reference_networks
from tests.conftest import make_imageset
from tests.test_meta_gradients import TOLERANCE, worst
from trainers.algorithms import meta_gradient
from trainers.config import Adaptation, NetworkConfig
from trainers.errors import MetaprobeError
from trainers.networks import build_network
from trainers.parallel import TaskWorkers
from trainers.tasks.episodes import EpisodeSampler


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
