"""Imported checkpoints on the command line: every command takes them, code of the user's is named each time."""

import json
import re
import shlex
import sys
from dataclasses import replace

import pytest
import torch

from metaprobe.analyses.table import Table
from metaprobe.probe.cli import main
from metaprobe.reports.registry import STUDIES
from metaprobe.trainers.checkpoint import load_checkpoint
from metaprobe.trainers.networks.resnet12 import ResNet12
from tests.foreign import USER_CODE as MYNET
from tests.foreign import L2LOmniglot, shaken
from tests.page_checks import commands_of
from tests.tiny_study import without_pdf

SHAPE = ("--n-way", "5", "--image-size", "28", "--channels", "1", "--inner-lr", "0.1", "--inner-steps", "1")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "mynet.py").write_text(MYNET)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    sys.modules.pop("mynet", None)
    yield tmp_path
    sys.modules.pop("mynet", None)


def imported(name, weights, *options):
    torch.save({"state_dict": weights}, f"{name}.ckpt")
    assert main(["import", f"{name}.ckpt", *SHAPE, "--data", "glyphs", *options, "--out", f"{name}.safetensors"]) == 0
    return f"{name}.safetensors"


def own_weights():
    import mynet

    return shaken(mynet.Net(5, 1)).state_dict()


def test_every_command_takes_a_module_of_the_users(folder, capsys):
    path = imported("mine", own_weights(), "--network", "mynet:build", "--network-args", "width=4")
    assert main(["evaluate", path, "--tasks", "2"]) == 2
    assert "no file names code to run: add --network mynet:build" in capsys.readouterr().err
    code = ("--network", "mynet:build")
    few = ("--tasks", "3", "--n-query", "2")
    for command in (
        ["evaluate", path, *few, *code],
        ["evaluate", path, *few, *code, "--head", "nil"],
        ["evaluate", path, *few, *code, "--norm", "non-transductive"],
        ["evaluate", path, *few, *code, "--norm", "running", "--freeze", "stem"],
        ["freeze", path, *few, *code, "--inner-steps", "2"],
        ["capture", path, *few, *code, "--out", "s.h5"],
        ["distance", path, "--tasks", "2", *code, "--csv", "distance.csv"],
        ["similarity", "s.h5", "--measures", "linear_cka", "--csv", "similarity.csv"],
        ["inspect", path],  # without code
        ["inspect", "s.h5"],
        ["diff", path, path],
    ):
        assert main(command) == 0, command
    out = capsys.readouterr().out
    assert out.count("2 queries a class (trained: not known)") > 3 and "(trained: 15)" not in out
    assert "random" in out and "kind\tactivation store" in out and "untrained.stem" in out
    assert "iteration\tnot known" in out  # how many outer steps made the weights nobody told
    for name in ("distance.csv", "similarity.csv"):
        assert {row.iteration for row in Table.read_csv(name).rows} == {None}
    assert main(["evaluate", path, *few, "--network", "torchvision:resnet18"]) == 2
    assert "is of network mynet:build, --network says torchvision:resnet18" in capsys.readouterr().err


def test_networks_of_libraries_are_built_by_what_the_file_says(folder, capsys):
    from torchvision.models import squeezenet1_1

    torch.manual_seed(0)
    options = ("--network", "torchvision:squeezenet1_1", "--image-size", "32", "--channels", "3", "--adapts", "head")
    path = imported("squeeze", squeezenet1_1(num_classes=5).state_dict(), *options)
    assert main(["evaluate", path, "--tasks", "2", "--n-query", "1"]) == 0
    torch.save(squeezenet1_1(num_classes=7).state_dict(), "seven")
    assert main(["import", "seven", *SHAPE, *options, "--out", "o.safetensors"]) == 2
    assert re.search(r"classifier.1.weight is \(7, .*--new-head", capsys.readouterr().err)


WITH_TOKEN = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, num_classes, in_channels):
        super().__init__()
        self.class_token = nn.Parameter(torch.zeros(1, 1, 6))
        self.patches = nn.Conv2d(in_channels, 6, 14, stride=14)
        self.encoder = nn.TransformerEncoderLayer(6, 2, 8, 0.0, batch_first=True)
        self.head = nn.Linear(6, num_classes)

    def forward(self, images):
        tokens = self.patches(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.class_token.expand(len(tokens), -1, -1), tokens], dim=1)
        return self.head(self.encoder(tokens)[:, 0])
"""


@pytest.mark.filterwarnings("default:the capture leaves out")
def test_a_weight_by_itself_adapts_and_gives_no_activations(folder, capsys):
    (folder / "mytoken.py").write_text(WITH_TOKEN)
    import mytoken

    torch.manual_seed(0)
    code = ("--network", "mytoken:Net")
    path = imported("token", shaken(mytoken.Net(5, 1)).state_dict(), *code)
    few = ("--tasks", "3", "--n-query", "2", *code)
    assert main(["capture", path, *few, "--out", "s.h5"]) == 0
    assert "leaves out class_token (is a weight by itself, which has no output)" in capsys.readouterr().err
    assert main(["capture", path, *few, "--layers", "class_token", "--out", "t.h5"]) == 2
    assert "'class_token' matches no layer" in capsys.readouterr().err
    assert main(["distance", path, *few]) == 0
    assert main(["freeze", path, *few, "--sets", "class_token", "class_token,encoder"]) == 0
    out = capsys.readouterr().out
    assert "class_token" in out and "class_token,encoder" in out


def test_tasks_are_clustered_by_what_a_module_of_the_users_adapts(folder, capsys):
    path = imported("mine", own_weights(), "--network", "mynet:build")
    mixed = ("--data", "mixture:glyphs,patterns", "--tasks", "5", "--fit-tasks", "12", "--n-query", "2")
    assert main(["clusters", path, *mixed]) == 2
    assert "add --network mynet:build" in capsys.readouterr().err
    assert main(["clusters", path, *mixed, "--network", "mynet:build", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["view"] for row in rows if row["measure"] == "adjusted_rand"} == {"all", "body", "head", "features"}
    assert sum(row["value"] for row in rows if row["measure"] == "usage_count") == 10


def test_what_was_done_is_told_as_json_too(folder, capsys):
    torch.save(L2LOmniglot().state_dict(), "w")
    assert main(["import", "w", *SHAPE, "--json", "--out", "c.safetensors"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["path"] == "c.safetensors" and len(told["checkpoint"]) == 12 and "OmniglotCNN" in told["network"]


def commands_in(card, name):
    return [shlex.split(line)[1:] for line in card.splitlines() if line.startswith(f"metaprobe {name} ")]


@pytest.mark.parametrize("adapts", ["all", "stem,head"])
def test_a_card_of_an_import_tells_no_training(folder, capsys, adapts):
    path = imported("mine", own_weights(), "--network", "mynet:build", "--data", "class_folder:/me", "--adapts", adapts)
    assert main(["push", path, "./pushed"]) == 0
    card = (folder / "pushed" / "README.md").read_text(encoding="utf-8")
    assert "weights were imported from mine.ckpt, and how they were trained is not known" in card
    assert "| iterations | not known |" in card and "/me" not in card and not commands_in(card, "train")
    (again,) = commands_in(card, "import")
    assert main(again) == 0  # the command of the card makes the same learner
    made, first = load_checkpoint("mine.safetensors"), load_checkpoint("pushed/model.safetensors")
    assert (made.adaptation, made.network_config) == (first.adaptation, first.network_config)
    (pull,), (evaluate,), (freeze,) = (commands_in(card, name) for name in ("pull", "evaluate", "freeze"))
    assert (
        main(pull) == 0
        and (folder / "mine.safetensors").read_bytes() == (folder / "pushed" / "model.safetensors").read_bytes()
    )
    for command in (evaluate, freeze):
        few = [word.replace("SET", "glyphs") for word in command] + ["--tasks", "2", "--n-query", "1"]
        assert main(few) == 0, capsys.readouterr().err
    assert "code, `mynet:build`, that is not in the file" in card


def test_a_card_of_an_import_that_libraries_build_names_no_code(folder):
    path = imported("l2l", shaken(L2LOmniglot()).state_dict())
    assert main(["push", path, "./pushed"]) == 0
    card = (folder / "pushed" / "README.md").read_text(encoding="utf-8")
    assert "taken for maml: " in card and not any("--network" in line for line in commands_in(card, "freeze"))


def test_a_conv4_of_learn2learn_needs_no_network(folder, capsys):
    path = imported("l2l", shaken(L2LOmniglot()).state_dict())
    assert "learn2learn OmniglotCNN, as conv4" in capsys.readouterr().out
    assert main(["freeze", path, "--tasks", "2", "--n-query", "1"]) == 0


def test_a_checkpoint_without_data_asks_for_them(folder, capsys):
    torch.save(L2LOmniglot().state_dict(), "w")
    assert main(["import", "w", *SHAPE, "--out", "c.safetensors"]) == 0
    for command in (["evaluate"], ["freeze"], ["capture", "--out", "s.h5"], ["report", "--out", "r.html"]):
        assert main([command[0], "c.safetensors", *command[1:]]) == 2
        assert re.search("does not say what it was trained on; name a data set with --data", capsys.readouterr().err)
    assert main(["evaluate", "c.safetensors", "--tasks", "2", "--n-query", "1", "--data", "glyphs"]) == 0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--network-args", "width"), "'width' is no key=value"),
        (("--network-args", "width=[1"), "neither JSON nor a Python literal"),
        (("--network-args", "width=1", "width=2"), "is given twice"),
        (("--network-args", "depth=3"), r"mynet:build\(num_classes=5, in_channels=1, depth=3\) failed: TypeError"),
        (("--network", "mynet"), "unknown network 'mynet'"),
        (("--adapts", "conv1"), "unknown layer 'conv1'"),
        (("--algorithm", "anil", "--adapts", "all"), "anil adapts head, --adapts says stem, norm, head"),
        (("--algorithm", "mamml"), "unknown algorithm 'mamml'. Did you mean"),
        (("--channels", "3"), "stem.weight is .*expects"),
        (("--key", "model"), "there is no 'model' in it"),
        (("--data", ""), ""),
    ],
)
def test_what_is_asked_wrongly_is_a_sentence(words, told, folder, capsys):
    torch.save({"state_dict": own_weights()}, "w")
    status = main(["import", "w", *SHAPE, "--network", "mynet:build", *words, "--out", "o.safetensors"])
    err = capsys.readouterr().err
    assert status == (2 if told and "--key" not in words else 3 if told else 0), err
    assert re.search(told, err) and err.count("\n") == bool(told)


def test_a_report_of_an_import_alone(folder, capsys, monkeypatch):
    study = STUDIES["raghu2020"]  # with few resamples, as what is asked is not how wide an interval is
    full = replace(study.preset("full"), replicates=39, permutations=2, head_steps=(2,))
    monkeypatch.setitem(STUDIES, "raghu2020", replace(study, presets=study.presets | {"full": full}))
    without_pdf(monkeypatch)
    weights = ResNet12(5, 1, widths=(2, 2, 2, 2)).state_dict()
    path = imported("net", weights, "--network", "resnet12", "--network-args", "widths=[2,2,2,2]")
    options = ("--study", "raghu2020", "--tasks", "3", "--capture-tasks", "2")
    assert main(["report", path, *options, "--out", "page/report.html"]) == 0
    page = (folder / "page" / "report.html").read_text()
    assert "net.run was imported from net.ckpt" in page and "trained elsewhere" in page
    assert "metaprobe import net.ckpt --network resnet12 --network-args" in commands_of(folder / "page" / "report.html")
    assert "outer step" not in page.partition("References")[0].partition("Training behind this")[2][:60]
    assert main(["freeze", "net.run", "--tasks", "2", "--n-query", "1"]) == 0  # a run, its last checkpoint
    assert main(["similarity", "net.run", "--measures", "linear_cka"]) == 0
    told = capsys.readouterr().err
    assert "its last checkpoint is taken" in told and "captures/last.h5" in told
