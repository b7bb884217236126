"""Damaged clusters in a checkpoint: loading is refused in one line that names file and tensor, a look shows them."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from metaprobe.probe.cli import main
from metaprobe.probe.inspection.diff import diff_files
from metaprobe.probe.inspection.inspect import inspect_file
from metaprobe.probe.inspection.views import show_difference, show_inspection
from metaprobe.trainers.checkpoint import (
    Checkpoint,
    load_checkpoint,
    metadata_for,
    read_tensors,
    save_checkpoint,
    write_tensors,
)
from metaprobe.trainers.clustering.clusters import Clusters
from metaprobe.trainers.clustering.moves import Moves
from metaprobe.trainers.errors import UnreadableInput
from metaprobe.trainers.formats.checkpoint_format import METADATA_KEY, metadata_json
from metaprobe.trainers.networks import build_network
from tests.several_starts import ADAPTATION, NETWORK, checkpoint_of
from tests.tensor_files import entry, write_checkpoint, write_raw

Damage = Callable[[dict[str, Tensor]], object]

MEMBERS = "clusters.members"
CENTRE = "clusters.centres.conv1.conv.weight"
INIT = "clusters.initialisations.head.bias"
NASTY = "clusters.centres.a\n\x1b[31mb\u202e"


def _checkpoint(m: int = 2, dtype: torch.dtype = torch.float32) -> Checkpoint:
    base = {name: value.detach().to(dtype) for name, value in build_network(NETWORK, 1).named_parameters()}
    starts = {name: torch.stack([value + 0.1 * cluster for cluster in range(m)]) for name, value in base.items()}
    centres = {name: value.clone() for name, value in starts.items()}
    members = torch.arange(1, m + 1)
    return checkpoint_of(Clusters(base, centres, starts, members, Moves(ADAPTATION), "centres"))


def _without(*beginnings: str) -> Damage:
    def damage(tensors: dict[str, Tensor]) -> None:
        for name in [name for name in tensors if name.startswith(beginnings)]:
            del tensors[name]

    return damage


def _with(name: str, value: Tensor) -> Damage:
    return lambda tensors: tensors.__setitem__(name, value)


def _changed(name: str, change: Callable[[Tensor], Tensor]) -> Damage:
    return lambda tensors: tensors.__setitem__(name, change(tensors[name]))


def _one_more(tensors: dict[str, Tensor]) -> None:
    for name in [name for name in tensors if name.startswith("clusters.initialisations.")]:
        tensors[name] = torch.cat([tensors[name], tensors[name][:1]])


DAMAGE: dict[str, tuple[Damage, str]] = {
    "members missing": (_without(MEMBERS), r"clusters\.members is missing; expected torch\.int64 \(m,\)"),
    "members of another dtype": (
        _changed(MEMBERS, Tensor.float),
        r"clusters\.members is torch\.float32 \(2,\), expected",
    ),
    "members of two axes": (_changed(MEMBERS, lambda x: x[None]), r"clusters\.members is torch\.int64 \(1, 2\)"),
    "members a number": (_changed(MEMBERS, Tensor.sum), r"clusters\.members is torch\.int64 \(\), expected"),
    "no members": (_changed(MEMBERS, lambda x: x[:0]), r"clusters\.members is torch\.int64 \(0,\), expected"),
    "negative members": (_changed(MEMBERS, lambda x: -x), r"clusters\.members counts -2 tasks in cluster 1"),
    "one member more": (
        _changed(MEMBERS, lambda x: torch.cat([x, x[:1]])),
        r"clusters\.centres\.conv1\.conv\.weight is .*\(2, 4, 1, 3, 3\), expected .*\(3, 4, 1, 3, 3\)",
    ),
    "a million members": (
        _with(MEMBERS, torch.zeros(1, dtype=torch.int64).repeat(10**6)),
        r"clusters\.centres\.conv1\.conv\.weight is .*, expected torch\.float32 \(1000000, 4, 1, 3, 3\)",
    ),
    "centres missing": (_without("clusters.centres."), r"clusters\.centres\.\* is missing"),
    "initialisations missing": (
        _without("clusters.initialisations."),
        r"clusters\.initialisations\.conv1\.conv\.weight is missing",
    ),
    "one initialisation missing": (_without(INIT), r"clusters\.initialisations\.head\.bias is missing"),
    "one initialisation more": (_one_more, r"clusters\.initialisations\.conv1\.conv\.weight is .*\(3, .*expected"),
    "a centre of another dtype": (_changed(CENTRE, Tensor.half), r"conv1\.conv\.weight is torch\.float16 .*expected"),
    "a centre of another shape": (_changed(CENTRE, lambda x: x[..., :2]), r"conv1\.conv\.weight is .*\(2, 4, 1, 3, 2"),
    "a centre without axes": (_changed(CENTRE, Tensor.sum), r"conv1\.conv\.weight is torch\.float32 \(\), expected"),
    "an extra part": (_with("clusters.more.conv1.conv.weight", torch.zeros(2)), r"clusters\.more\.conv1.* is neither"),
    "an extra tensor": (_with("clusters.centres.conv9.weight", torch.zeros(2, 3)), r"conv9\.weight is neither"),
    "a part without parameter": (_with("clusters.centres", torch.zeros(2)), r"clusters\.centres is neither"),
    "an empty name": (_with("clusters.", torch.zeros(2)), r"clusters\. is neither"),
    "a name of escapes": (_with(NASTY, torch.zeros(2)), r"clusters\.centres\.a\\n\\x1b\[31mb\\u202e is neither"),
}


def _write(path: Path, checkpoint: Checkpoint, damage: Damage | None = None) -> Path:
    """Write a checkpoint whose tensors were damaged before their fingerprint was taken."""
    tensors = checkpoint.tensors()
    if damage is not None:
        damage(tensors)
    write_tensors(path, tensors, metadata_for(checkpoint, tensors=tensors))
    return path


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    return _write(tmp_path / "sound.safetensors", _checkpoint())


def test_what_is_sound_comes_back(sound: Path) -> None:
    found, made = load_checkpoint(sound), _checkpoint()
    assert found.clusters is not None
    assert made.clusters is not None
    assert found.clusters.members.tolist() == [1, 2]
    for part in ("centres", "initialisations"):
        read, written = getattr(found.clusters, part), getattr(made.clusters, part)
        assert list(read) == list(found.params)  # in the order of the base
        assert all(torch.equal(read[name], written[name]) for name in written)


@pytest.mark.parametrize("gone", [("conv", "head"), ("conv", "head", "clusters.c", "clusters.i"), ("head",)])
def test_a_base_that_lacks_weights_is_no_network(tmp_path, gone):
    path = _write(tmp_path / "damaged.safetensors", _checkpoint(), _without(*gone))
    with pytest.raises(UnreadableInput, match=r"damaged\.safetensors: the weights do not fit network.* is not there"):
        load_checkpoint(path)


@pytest.mark.parametrize("what", DAMAGE)
def test_loading_damaged_clusters_is_refused_in_one_line(what: str, tmp_path: Path) -> None:
    damage, reason = DAMAGE[what]
    path = _write(tmp_path / "damaged.safetensors", _checkpoint(), damage)
    with pytest.raises(UnreadableInput, match=rf"damaged\.safetensors: its clusters are damaged: .*{reason}") as caught:
        load_checkpoint(path)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("stats", [False, True])
@pytest.mark.parametrize("what", DAMAGE)
def test_damaged_clusters_are_shown_with_what_is_wrong(what: str, stats: bool, sound: Path, tmp_path: Path) -> None:
    damage, reason = DAMAGE[what]
    path = _write(tmp_path / "damaged.safetensors", _checkpoint(), damage)
    found = inspect_file(path, stats=stats)
    assert found.clusters is not None
    assert found.clusters.clusters == ()
    assert 1 <= len(found.clusters.problems) <= 6
    named = {"int64": "I64", "float32": "F32", "float16": "F16"}
    told = " ".join(found.clusters.problems)
    for torchs, ours in named.items():
        told = told.replace(ours, f"torch.{torchs}")
    assert told.isprintable()
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(told)
    stream = io.StringIO()
    show_inspection(found, stream=stream)
    assert "\nproblem with the clusters\t" in stream.getvalue()
    for a, b in ((path, sound), (sound, path), (path, path)):
        stream = io.StringIO()
        show_difference(diff_files(a, b), stream=stream)
        assert "\nclusters\tthe clusters are not compared\n" in stream.getvalue()


def test_the_command_line_shows_damaged_clusters_and_refuses_changed_ones(
    sound: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = _write(tmp_path / "damaged.safetensors", _checkpoint(), DAMAGE["one initialisation missing"][0])
    assert main(["inspect", str(path), "--stats"]) == 0
    told = "problem with the clusters\tclusters.initialisations.head.bias is missing; every parameter"
    assert told in capsys.readouterr().out
    assert main(["diff", str(path), str(sound)]) == 1
    assert main(["distance", str(path)]) == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {path}: its clusters are damaged: clusters.initialisations.head.bias is missing")
    content = bytearray(sound.read_bytes())
    content[-1] ^= 1
    sound.write_bytes(content)
    assert main(["inspect", str(sound), "--stats"]) == 3
    with pytest.raises(UnreadableInput, match=r"sound\.safetensors: the tensors were changed after"):
        load_checkpoint(sound)


def test_a_checkpoint_whose_config_asks_for_clusters_and_has_none_is_told(tmp_path: Path) -> None:
    path = _write(tmp_path / "damaged.safetensors", _checkpoint(), _without("clusters."))
    found = inspect_file(path).clusters
    assert found is not None
    assert (found.count, found.clusters) == (None, ())
    assert found.problems[0].startswith("clusters.members is missing; expected I64 (m,)")


def test_a_config_that_asks_for_another_number_is_told_beside_the_clusters(tmp_path: Path) -> None:
    made = _checkpoint()
    path = tmp_path / "a.safetensors"
    save_checkpoint(path, dataclasses.replace(made, config=dataclasses.replace(made.config, clusters=5)))
    found = inspect_file(path).clusters
    assert found is not None
    assert found.problems == ("there are 2 clusters, but its config asked for 5",)
    assert [cluster.members for cluster in found.clusters] == [1, 2]


@pytest.mark.parametrize("stats", [False, True])
def test_settings_of_any_kind_are_shown_and_not_obeyed(stats: bool, tmp_path: Path) -> None:
    values = {"w": np.ones(3, "f4"), "clusters.centres.w": np.ones((2, 3), "f4"), MEMBERS: np.array([0, 0])}
    values["clusters.initialisations.w"] = values["clusters.centres.w"]
    strange = {"config": {"clusters": ["\x1b[31m"] * 99, "assign_to": {"\n": 1}, "clustered": 3}}
    strange |= {"adaptation": {"layers": [{}]}, "provenance": {"base": ["\n" * 99]}}
    path = write_checkpoint(tmp_path / "a.safetensors", values, **strange)
    found = inspect_file(path, stats=stats)
    assert found.clusters is not None
    assert [cluster.share for cluster in found.clusters.clusters] == [None, None]  # of no tasks
    assert "asked for" in found.clusters.problems[0]
    stream = io.StringIO()
    show_inspection(found, stream=stream)
    show_difference(diff_files(path, path), stream=stream)
    assert "\x1b" not in stream.getvalue()


def test_more_clusters_than_a_table_holds_are_counted(tmp_path: Path) -> None:
    many = 1001
    path = _write(tmp_path / "a.safetensors", _checkpoint(many))
    assert load_checkpoint(path).clusters is not None
    found = inspect_file(path).clusters
    assert found is not None
    assert (found.count, found.clusters) == (many, ())
    assert found.problems == ("1,001 clusters are more than the 1,000 that are listed",)


def test_members_that_the_file_does_not_hold_cost_nothing(tmp_path: Path) -> None:
    metadata = {METADATA_KEY: metadata_json(metadata_for(_checkpoint()))}
    header = {"__metadata__": metadata, "w": entry(), MEMBERS: entry("I64", (2**40,), 4, 4 + 2**43)}
    path = write_raw(tmp_path / "evil.safetensors", header, bytes(12))
    for look in (inspect_file, read_tensors, load_checkpoint):
        with pytest.raises(UnreadableInput, match=r"evil\.safetensors: not a readable safetensors file"):
            look(path)
    # tensors of no elements are honest about any number of rows
    header[MEMBERS] = entry("I64", (2**40, 0), 4, 4)
    header["clusters.centres.w"] = entry("F32", (2**40, 0), 4, 4)
    found = inspect_file(write_raw(path, header, bytes(4)), stats=True).clusters
    assert found is not None
    assert found.problems[0].startswith("clusters.members is I64 (1099511627776, 0), expected")
