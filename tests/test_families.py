"""`--like`: what each family's code decides, what wins over it, and what a file says of it."""

import dataclasses
import json

import pytest

from metaprobe.probe.cli import main
from metaprobe.trainers.beginning import network_config_for
from metaprobe.trainers.checkpoint import load_checkpoint, save_checkpoint
from metaprobe.trainers.config import TrainConfig, to_mapping
from metaprobe.trainers.errors import MetaprobeError, UnreadableInput
from metaprobe.trainers.families import FAMILIES, in_family
from metaprobe.trainers.networks import build_network
from metaprobe.trainers.outer_loop import train
from metaprobe.trainers.run import RunFolder
from tests.conftest import make_imageset

FINN = {"norm_affine": "shift", "norm_epsilon": 1e-3}
TORCH = {"norm_affine": "both", "norm_epsilon": 1e-5}
# LEARNERS of the papers' public code: (family, channels, pixels) → what a network of it is
EXPECTED = [
    ("finn2017", 1, 28, {"filters": 64, "downsample": "stride", "reads": "mean", "head_start": "normal"} | FINN),
    ("finn2017", 3, 32, {"filters": 32, "downsample": "max-pool", "reads": "mean", "head_start": "normal"} | FINN),
    ("finn2017", 3, 84, {"filters": 32, "downsample": "max-pool", "reads": "flatten", "head_start": "glorot"} | FINN),
    ("arnold2021", 1, 28, {"filters": 32, "downsample": "stride", "reads": "mean", "head_start": "normal"} | TORCH),
    ("arnold2021", 3, 32, {"filters": 32, "downsample": "none", "reads": "mean", "head_start": "glorot"} | TORCH),
    (
        "arnold2021",
        3,
        84,
        {"filters": 64, "downsample": "max-pool", "reads": "flatten", "head_start": "glorot"} | TORCH,
    ),
    (
        "antoniou2019",
        1,
        28,
        {"filters": 64, "downsample": "max-pool", "reads": "flatten", "head_start": "glorot"} | TORCH,
    ),
    (
        "antoniou2019",
        3,
        84,
        {"filters": 48, "downsample": "max-pool", "reads": "flatten", "head_start": "glorot"} | TORCH,
    ),
]


@dataclasses.dataclass
class Shaped:
    channels: int
    image_size: int
    tokens = False

    @property
    def input_shape(self):
        return (self.channels, self.image_size, self.image_size)


@pytest.mark.parametrize(("family", "channels", "size", "expected"), EXPECTED)
def test_a_family_builds_its_own_network(family, channels, size, expected):
    made = network_config_for(TrainConfig("maml", "toy", like=family), Shaped(channels, size))
    assert {name: getattr(made, name) for name in expected} == expected
    assert build_network(made, 0).layer_names[-1] == "head"


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_told_wins_over_the_family(family):
    own = {"filters": 5, "downsample": "stride", "norm_affine": "none", "norm_epsilon": 0.1}
    own |= {"head_start": "normal", "head_input": "flatten", "blocks": 3}
    made = network_config_for(TrainConfig("maml", "toy", like=family, **own), Shaped(3, 32))
    assert {name: getattr(made, name) for name in own} == own


def test_without_a_family_networks_are_as_before():
    made = network_config_for(TrainConfig("maml", "toy"), Shaped(3, 32))
    expected = {"name": "conv4", "n_way": 5, "channels": 3, "image_size": 32, "filters": 32, "downsample": "max-pool"}
    assert to_mapping(made) == expected | {"norm": "transductive", "blocks": 4}
    assert not {"like", "norm_affine", "symmetric_head", "cluster_norms"} & set(to_mapping(TrainConfig("maml", "toy")))


def test_the_inner_loop_is_the_familys_unless_told_and_the_rate_is_never_changed():
    for family, moves, activation in (
        ("finn2017", False, None), ("arnold2021", True, None), ("antoniou2019", False, "leaky-relu"),
    ):  # fmt: skip
        config = TrainConfig("maml", "toy", like=family, inner_lr=0.01)
        chosen = dataclasses.replace(config, adapt_norm=moves, activation=activation)
        assert in_family(config, lambda name: False) == chosen
        assert in_family(config, lambda name: True) == config
        own = dataclasses.replace(config, activation="leaky-relu")  # as a base has it
        assert in_family(own, lambda name: False).activation == "leaky-relu"
    plain = TrainConfig("maml", "toy", adapt_norm=False)
    assert in_family(plain, lambda name: False) == plain


def test_the_leaky_relu_of_antoniou2019_is_in_the_config_so_that_older_runs_stay_what_they_were():
    """Those were trained with ReLU under the same word, which their configs do not say."""
    older = TrainConfig("maml", "toy", like="antoniou2019")
    assert network_config_for(older, Shaped(3, 84)).activation == "relu"
    now = in_family(older, lambda name: False)
    assert network_config_for(now, Shaped(3, 84)).activation == "leaky-relu"
    assert TrainConfig("maml", "toy", like="antoniou2019", activation="relu") == older


TRAIN = [
    "train", "maml", "--data", "glyphs", "--image-size", "8", "--iterations", "1", "--n-way", "3", "--n-query", "2",
    "--meta-batch", "2", "--filters", "4", "--val-tasks", "2", "--inner-steps", "1", "--chunk", "2", "--gradient",
    "unrolled",
]  # fmt: skip


@pytest.fixture(scope="module")
def finn(tmp_path_factory):
    out = tmp_path_factory.mktemp("finn") / "run"
    assert main([*TRAIN, "--like", "finn2017", "--out", str(out)]) == 0
    return RunFolder(out)


def test_a_run_of_a_family_keeps_the_options_and_the_word(finn, capsys):
    found = load_checkpoint(finn.checkpoint("last"))
    assert (found.config.like, found.adaptation.adapt_norm, found.config.adapt_norm) == ("finn2017", False, False)
    made = found.network_config
    assert (made.norm_affine, made.norm_epsilon, made.head_start, made.filters) == ("shift", 1e-3, "normal", 4)
    assert "conv1.norm.bias" in found.params and "conv1.norm.weight" not in found.params
    assert main(["inspect", str(finn.checkpoint("last"))]) == 0
    shown = dict(line.split("\t")[:2] for line in capsys.readouterr().out.splitlines() if "\t" in line)
    assert shown["network and norms like"] == "finn2017"
    assert (shown["network.norm_affine"], shown["network.head_start"]) == ("shift", "normal")
    assert (shown["network.head_input"], shown["network.norm_epsilon"]) == ("mean", "0.001")


def test_the_same_command_resumes_it_and_another_word_does_not(finn):
    assert main([*TRAIN, "--like", "finn2017", "--out", str(finn.path)]) == 0
    assert main([*TRAIN, "--out", str(finn.path)]) == 2


def test_a_flag_that_is_told_wins_on_the_command_line(tmp_path):
    out = tmp_path / "run"
    assert main([*TRAIN, "--like", "finn2017", "--adapt-norm", "--norm-affine", "both", "--out", str(out)]) == 0
    found = load_checkpoint(RunFolder(out).checkpoint("last"))
    assert found.adaptation.adapt_norm and found.network_config.norm_affine == "both"
    assert found.network_config.norm_epsilon == 1e-3


def test_inspect_and_diff_tell_the_norms_of_files_that_do_not_name_them(finn, tmp_path, capsys):
    config = load_checkpoint(finn.checkpoint("last")).config
    plain = dataclasses.replace(config, like=None, adapt_norm=True)
    images = make_imageset(size=8)
    train(plain, images, tmp_path / "plain")
    path = RunFolder(tmp_path / "plain").checkpoint("last")
    assert "norm_affine" not in to_mapping(load_checkpoint(path).network_config)
    assert main(["inspect", str(path)]) == 0
    shown = dict(line.split("\t")[:2] for line in capsys.readouterr().out.splitlines() if "\t" in line)
    assert (shown["network.norm_affine"], shown["network.head_input"]) == ("both", "mean")
    assert "network and norms like" not in shown
    assert main(["diff", str(path), str(finn.checkpoint("last")), "--json"]) == 1
    keys = {key["key"]: key for key in json.loads(capsys.readouterr().out)["difference"]["keys"]}
    told = keys["network.norm_affine"]
    assert (json.loads(told["a"]), json.loads(told["b"]), told["counts"]) == ("both", "shift", True)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"norm_affine": "both"}, "the weights do not fit network|network norm_affine is shift, by its config both"),
        ({"norm_epsilon": 0.5}, r"network norm_epsilon is 0.001, by its config 0.5"),
        ({"head_start": "glorot"}, "network head_start is normal, by its config glorot"),
        ({"head_input": "flatten"}, "network reads is mean, by its config flatten"),
        ({"like": None}, "network head_start is normal, by its config glorot"),
        ({"like": "arnold2021"}, "network head_start|network norm_affine is shift, by its config both"),
        ({"activation": "leaky-relu"}, "network activation is relu, by its config leaky-relu"),
        ({"like": "antoniou2019"}, "network downsample is stride, by its config max-pool"),
    ],
)
def test_a_config_that_contradicts_the_network_is_refused(finn, tmp_path, options, match):
    found = load_checkpoint(finn.checkpoint("last"))
    false = dataclasses.replace(found, config=dataclasses.replace(found.config, **options))
    with pytest.raises(MetaprobeError, match=match):
        save_checkpoint(tmp_path / "false.safetensors", false)


def test_a_file_with_norm_scales_that_its_network_does_not_have_is_refused(finn, tmp_path):
    found = load_checkpoint(finn.checkpoint("last"))
    more = dict(found.params) | {"conv1.norm.weight": found.params["conv1.norm.bias"] + 1}
    save_checkpoint(tmp_path / "more.safetensors", dataclasses.replace(found, params=more))
    with pytest.raises(
        UnreadableInput, match=r"do not fit network 'conv4': conv1.norm.weight is F32 \(4,\), expected not"
    ):
        load_checkpoint(tmp_path / "more.safetensors")


def test_help_tells_both_conventions_of_the_rate_and_what_lacks(capsys):
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    told = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for words in ("on the mean loss", "n_way times smaller", "--like {finn2017,arnold2021,antoniou2019}", "leaky ReLU"):
        assert words in told
