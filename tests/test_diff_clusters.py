"""How `diff` tells two checkpoints with clusters apart, and one from a checkpoint without."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from metaprobe.probe.cli import main
from metaprobe.probe.inspection.diff import Difference, diff_files
from metaprobe.probe.inspection.views import difference_grids, show_difference
from metaprobe.trainers.formats.checkpoint_format import read_metadata
from tests.clustered_runs import LAYERS, files, vector
from tests.tensor_files import write_checkpoint

__all__ = ["files"]  # a fixture


def _compared(files: dict[str, Path], a: str, b: str) -> tuple[Difference, str]:
    found = diff_files(files[a], files[b])
    assert found.clusters is not None
    return found, "\n".join(found.clusters.sentences)


def test_clusters_of_two_files_are_compared_by_number_as_numpy_does(files: dict[str, Path]) -> None:
    found, told = _compared(files, "two", "two, seed 1")
    assert found.clusters is not None
    assert "both have 2 clusters, compared by number" in told
    a, b = load_file(files["two"]), load_file(files["two, seed 1"])
    part = "clusters.initialisations."
    names = [name.removeprefix(part) for name in a if name.startswith(part)]
    for each in found.clusters.clusters:
        x = vector(a, part, names, each.cluster)
        to_all = [float(np.linalg.norm(x - vector(b, part, names, other))) for other in (0, 1)]
        assert each.initialisations is not None
        assert each.initialisations.l2 == pytest.approx(to_all[each.cluster], rel=1e-12)
        assert each.nearest_in_b == int(np.argmin(to_all))
        assert (each.members_a, each.members_b) == tuple(
            side["clusters.members"].tolist()[each.cluster] for side in (a, b)
        )
    differing = [layer.name for layer in found.layers if layer.different]
    assert "clusters.initialisations.conv1" in differing
    assert not set(differing) & set(LAYERS)  # the base is the same checkpoint


def test_a_cluster_finds_its_twin_under_another_number(files: dict[str, Path], tmp_path: Path) -> None:
    tensors, metadata = load_file(files["two"]), read_metadata(files["two"])
    turned = {name: value[::-1].copy() if name.startswith("clusters.") else value for name, value in tensors.items()}
    parts = {part: getattr(metadata, part) for part in ("config", "network", "adaptation", "provenance")}
    other = write_checkpoint(tmp_path / "turned.safetensors", turned, **parts)
    found, told = _compared(files | {"turned": other}, "two", "turned")
    assert found.clusters is not None
    assert [each.nearest_in_b for each in found.clusters.clusters] == [1, 0]
    first, second = tensors["clusters.members"].tolist()
    if first != second:
        assert f"their members differ: {first} and {second} tasks in A, {second} and {first} in B" in told


def test_another_number_of_clusters_is_one_clear_line(files: dict[str, Path]) -> None:
    found, told = _compared(files, "two", "three")
    assert told == (
        "A has 2 clusters, B has 3, so the shapes of their centres and initialisations differ and only the bases "
        "are compared"
    )
    assert found.clusters is not None
    assert found.clusters.clusters == ()
    assert {layer.name for layer in found.layers if layer.distance} >= set(LAYERS)


def test_other_settings_are_told(files: dict[str, Path]) -> None:
    _, told = _compared(files, "two", "body")
    assert "clustered by differ: all in A, body in B; centres are compared over those that both have" in told
    assert "compared with differs: centres in A, initialisations in B" in told
    _, told = _compared(files, "two", "orders")
    differs = "by 20 inner steps in A, by 3 inner steps, mean over 4 orders of their labels in B"
    assert f"how tasks adapt to be clustered differs: {differs}" in told
    assert "the norms' parameters are among those in B alone; centres are compared without" in told
    _, told = _compared(files, "body", "symmetric")
    assert "by 20 inner steps in A, by 20 inner steps under a head of equal rows in B" in told


def test_against_plain_maml_the_base_is_compared_and_the_clusters_are_of_one_side(files: dict[str, Path]) -> None:
    found, told = _compared(files, "two", "maml")
    assert told == (
        "only A has 2 clusters: its 21 tensors clusters.* have no counterpart in B, and its base is compared with "
        "the weights of B"
    )
    assert [(layer.name, layer.different) for layer in found.layers] == [(layer, 0) for layer in LAYERS]
    assert {tensor.layer.partition(".")[0] for tensor in found.only_a} == {"clusters"}
    _, told = _compared(files, "maml", "one")
    assert told.startswith("only B has 1 cluster: its 21 tensors")
    assert diff_files(files["maml"], files["maml"]).clusters is None


def test_the_same_file_is_the_same(files: dict[str, Path]) -> None:
    found, told = _compared(files, "two", "two")
    assert found.same
    assert told.endswith("each has as many members in A as in B")
    assert [each.nearest_in_b for each in found.clusters.clusters] == [0, 1] if found.clusters else False


def test_the_command_line_tells_them_apart(files: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    two, three, maml = (str(files[name]) for name in ("two", "three", "maml"))
    assert main(["inspect", two]) == 0
    assert "\n# clusters\ncluster\tmembers\tshare\n0\t" in capsys.readouterr().out
    assert [main(["diff", two, other]) for other in (two, three, maml)] == [0, 1, 1]
    assert "clusters\tonly A has 2 clusters" in capsys.readouterr().out
    assert main(["diff", two, three, "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["difference"]["clusters"]["clusters"] == []


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_whole_names_and_no_silent_columns(
    files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    stream = _Terminal()
    show_difference(diff_files(files["two"], files["two, seed 1"]), stream=stream)
    text = re.sub(r"\x1b\[[0-9;]*m", "", stream.getvalue())
    assert re.search(r"^ ?clusters\.initialisations\.conv1\.conv\.weight ", text, re.M)
    assert re.search(r"^ ?clusters\.initialisations\.conv1 ", text, re.M)
    assert "dtype_a" not in text
    assert "dtype_a" in difference_grids(diff_files(files["two"], files["two, seed 1"]))[3].columns
    assert max(map(len, text.splitlines())) <= 100
