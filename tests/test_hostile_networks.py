"""Checkpoints that lie about their network are refused before anything is built or fetched by what they say."""

import dataclasses

import pytest
import torch

from metaprobe.probe.importing import Wanted, import_weights
from metaprobe.trainers.checkpoint import load_checkpoint, save_checkpoint
from metaprobe.trainers.errors import MetaprobeError, UnreadableInput
from metaprobe.trainers.networks.resnet12 import ResNet12

ARGS = {"widths": [2, 2, 2, 2]}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("net")
    torch.save(ResNet12(5, 1, **ARGS).state_dict(), folder / "w")
    return import_weights(folder / "w", Wanted(5, 1, 16, network="resnet12", args=ARGS)).checkpoint


def saved(path, checkpoint, **changes):
    save_checkpoint(path, dataclasses.replace(checkpoint, **changes))
    return path


def told(checkpoint, **changes):
    return dataclasses.replace(checkpoint.network_config, **changes)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"name": "os:system"}, "no file names code to run"),
        ({"name": "timm:hf-hub:someone/evil"}, "timm has no network|needs timm"),
        ({"name": "torchvision:resnet18", "args": '{"weights": "DEFAULT"}'}, "nothing is fetched"),
        ({"name": "resnet12", "args": '{"widths": [4, 4, 4, 4]}'}, "is not the one of these weights"),
        ({"name": "resnet12", "args": '{"n_way": "a"}'}, "failed: TypeError"),
    ],
)
def test_a_name_that_lies_builds_nothing_else(changes, match, checkpoint, tmp_path):
    path = saved(tmp_path / "c.safetensors", checkpoint, network_config=told(checkpoint, **changes))
    with pytest.raises(MetaprobeError, match=match):
        load_checkpoint(path).network()


def test_names_and_untrained_weights_must_be_the_networks(checkpoint, tmp_path):
    names = told(checkpoint, parameters=(*checkpoint.network_config.parameters, "more.weight"))
    path = saved(tmp_path / "a.safetensors", checkpoint, network_config=names)
    with pytest.raises(UnreadableInput, match=r"more\.weight is not there"):
        load_checkpoint(path)
    begun = dict(checkpoint.begun) | {"fc.bias": torch.zeros(6)}
    path = saved(tmp_path / "b.safetensors", checkpoint, begun=begun)
    with pytest.raises(UnreadableInput, match=r"its untrained weights are not of its network: fc\.bias"):
        load_checkpoint(path)
    with pytest.raises(MetaprobeError, match="arguments that are no JSON"):
        told(checkpoint, args="{")
