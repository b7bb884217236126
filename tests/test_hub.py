"""`metaprobe push` and `pull`: through a folder, and through the Hub's client, which stands in for the network."""

import json
import shutil
import sys
import types

import pytest
import torch
from safetensors import safe_open

from metaprobe.probe.cli import main
from metaprobe.probe.hub import pull, push
from metaprobe.probe.hub.moving import local_folder
from metaprobe.trainers.checkpoint import load_checkpoint
from metaprobe.trainers.config import TrainConfig
from metaprobe.trainers.errors import MetaprobeError, UnreadableInput
from metaprobe.trainers.outer_loop import train
from metaprobe.trainers.run import RunFolder
from tests.conftest import make_imageset


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run on a folder of the user's."""
    small = {"n_way": 3, "n_query": 2, "iterations": 2, "meta_batch": 2, "inner_steps": 1, "filters": 4, "val_tasks": 2}
    config = TrainConfig("anil", "class_folder:/home/me/secret/birds", **small, chunk=1, gradient="unrolled")
    folder = RunFolder(tmp_path_factory.mktemp("hub") / "anil")
    train(config, make_imageset(15, 20, 28), folder.path)
    return folder


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_through_a_folder_and_back(run, here, capsys):
    assert main(["push", str(run.path), "./birds", "--licence", "mit"]) == 0
    told = capsys.readouterr()
    assert told.out == f"{here / 'birds'}\n"
    assert "by a path of this machine: class_folder:/home/me/secret/birds" in told.err
    assert {file.name for file in (here / "birds").iterdir()} == {"model.safetensors", "README.md"}
    with safe_open(here / "birds" / "model.safetensors", framework="pt") as file:
        assert file.metadata()["format"] == "pt"
    assert main(["pull", f"file://{here}/birds"]) == 0
    assert (here / "birds.safetensors").read_bytes() == run.checkpoint("last").read_bytes()
    assert main(["pull", "./birds"]) == 0  # the same once more changes nothing
    (here / "birds.safetensors").write_text("mine")
    assert main(["pull", "./birds"]) == 2
    assert "birds.safetensors is there with other content" in capsys.readouterr().err
    assert main(["pull", "./birds", "--out", "birds.safetensors"]) == 0
    assert load_checkpoint("birds.safetensors").iteration == 2
    assert main(["push", str(run.checkpoint("start")), "birds/../birds"]) == 2  # neither a path nor user/name


def test_the_card_says_what_it_is_and_no_path(run, here):
    push(run.checkpoint("last"), "./birds", licence="mit")
    text = (here / "birds" / "README.md").read_text(encoding="utf-8")
    loaded = load_checkpoint(run.checkpoint("last"))
    front, body = text.removeprefix("---\n").split("\n---\n", 1)
    lines = dict(line.split(": ", 1) for line in front.splitlines())
    assert lines["library_name"] == "metaprobe" and json.loads(lines["license"]) == "mit"
    assert json.loads(lines["tags"]) == ["meta-learning", "few-shot-learning", "anil", "class_folder"]
    assert "secret" not in text
    value, half = loaded.metrics["val_accuracy"], loaded.metrics["val_accuracy_half_width"]
    for told in (
        "# anil on class_folder, 3-way 1-shot",
        "2 of 2, 2 tasks each",
        "head: 1 step of sgd, rate 0.1",
        loaded.fingerprint[:12],
        f"Validation accuracy {value:.1f} ± {half:.1f} % (95 % interval over 2 validation tasks",
        "metaprobe train anil --data class_folder:PATH --n-way 3",
        "metaprobe pull ./birds --out mine.safetensors",
        "Raghu",
        "CITATION.cff",
    ):
        assert told in body, told
    push(run.checkpoint("start"), "./start")
    assert "tells no validation" in (here / "start" / "README.md").read_text(encoding="utf-8")
    assert "license" not in (here / "start" / "README.md").read_text(encoding="utf-8")


def test_a_folder_with_a_readme_of_its_own_is_left_alone(run, here):
    (here / "mine").mkdir()
    (here / "mine" / "README.md").write_text("# My garden\n")
    with pytest.raises(MetaprobeError, match=r"README.md is not a card of metaprobe's and would be replaced"):
        push(run.checkpoint("last"), "./mine")
    assert [file.name for file in (here / "mine").iterdir()] == ["README.md"]


def test_what_is_damaged_or_not_ours_is_neither_pushed_nor_pulled(run, here):
    push(run.checkpoint("last"), "./birds")
    file = here / "birds" / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-3] ^= 0x40
    file.write_bytes(content)
    with pytest.raises(UnreadableInput, match="changed after the file was written"):
        pull("./birds")
    with pytest.raises(UnreadableInput, match="changed after the file was written"):
        push(file, "./again")
    with pytest.raises(
        UnreadableInput, match=r"^\./nowhere is not there, or no folder; name one that `metaprobe push`"
    ):
        pull("./nowhere")
    (here / "empty").mkdir()
    with pytest.raises(UnreadableInput, match=r"^\./empty has no model\.safetensors, so nothing that `metaprobe push`"):
        pull("./empty")
    assert not (here / "birds.safetensors").exists() and not (here / "again").exists()


class HubError(OSError):
    """What the client raises where the Hub refuses."""


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """The Hub's client, whose repositories are folders; a list of what was asked of it."""
    asked, served = [], tmp_path / "served"

    class HfApi:
        """As far as it is used."""

        def create_repo(self, repo_id, *, private=None, exist_ok=False):
            asked.append(("create", repo_id, private, exist_ok))
            if repo_id.startswith("others/"):
                raise HubError("403 Forbidden:\nyou have no right")
            (served / repo_id).mkdir(parents=True, exist_ok=exist_ok)

        def upload_folder(self, *, repo_id, folder_path, commit_message):
            asked.append(("upload", repo_id, commit_message))
            shutil.copytree(folder_path, served / repo_id, dirs_exist_ok=True)

    def hf_hub_download(repo_id, filename, *, revision=None):
        asked.append(("download", repo_id, filename, revision))
        found = served / repo_id / filename
        if repo_id == "me/unreached":
            raise errors.LocalEntryNotFoundError("Please check your connection")
        if not found.exists():
            raise errors.EntryNotFoundError(filename)
        return str(found)

    errors = types.ModuleType("huggingface_hub.errors")
    errors.HfHubHTTPError = HubError
    errors.HFValidationError = type("HFValidationError", (ValueError,), {})
    errors.EntryNotFoundError = type("EntryNotFoundError", (HubError,), {})
    errors.LocalEntryNotFoundError = type("LocalEntryNotFoundError", (errors.EntryNotFoundError,), {})
    client = types.ModuleType("huggingface_hub")
    client.HfApi, client.hf_hub_download, client.errors = HfApi, hf_hub_download, errors
    monkeypatch.setitem(sys.modules, "huggingface_hub", client)
    monkeypatch.setitem(sys.modules, "huggingface_hub.errors", errors)
    return asked


def test_through_the_hub_and_back(run, here, hub, capsys):
    assert main(["push", str(run.checkpoint("last")), "me/birds", "--private"]) == 0
    assert capsys.readouterr().out == "https://huggingface.co/me/birds\n"
    fingerprint = load_checkpoint(run.checkpoint("last")).fingerprint[:12]
    assert hub == [
        ("create", "me/birds", True, True),
        ("upload", "me/birds", f"metaprobe push: anil, iteration 2, {fingerprint}"),
    ]
    assert "metaprobe pull me/birds" in (here / "served" / "me" / "birds" / "README.md").read_text(encoding="utf-8")
    assert main(["pull", "me/birds", "--revision", "v1"]) == 0
    assert hub[-1] == ("download", "me/birds", "model.safetensors", "v1")
    assert (here / "birds.safetensors").read_bytes() == run.checkpoint("last").read_bytes()


def test_what_the_hub_refuses_is_a_sentence(run, here, hub, capsys):
    assert main(["push", str(run.checkpoint("last")), "others/birds"]) == 2
    assert "push to others/birds failed: 403 Forbidden: you have no right. (`hf auth login`" in capsys.readouterr().err
    assert main(["pull", "me/nothing"]) == 3
    assert "me/nothing has no model.safetensors" in capsys.readouterr().err
    assert main(["pull", "me/unreached"]) == 2
    assert "pull from me/unreached failed: Please check your connection" in capsys.readouterr().err
    torch.save({}, here / "weights.pt")
    assert main(["push", str(here / "weights.pt"), "me/birds"]) == 3
    assert [call[0] for call in hub] == ["create", "download", "download"]


def test_without_the_client_it_is_a_sentence(run, here, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    for do in (lambda: push(run.checkpoint("last"), "me/birds"), lambda: pull("me/birds")):
        with pytest.raises(MetaprobeError, match=r"needs huggingface_hub .*pip install 'metaprobe\[hub\]'; a folder"):
            do()


@pytest.mark.parametrize("repo", ["birds", "a/b/c", "me/", "", "https://huggingface.co/me/birds"])
def test_what_names_no_repository_is_refused(repo, here):
    with pytest.raises(MetaprobeError, match=r"expected user/name on the Hub, or a folder as \./folder"):
        local_folder(repo)


def test_a_revision_is_of_the_hub(here):
    with pytest.raises(MetaprobeError, match=r"--revision v1 is of a repository of the Hub; ./birds is a folder"):
        pull("./birds", revision="v1")
