"""What `inspect` says of a checkpoint with clusters is what numpy finds in its file."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from metaprobe.probe.inspection.inspect import inspect_file
from metaprobe.probe.inspection.views import inspection_grids, show_inspection
from metaprobe.trainers.formats.checkpoint_format import read_metadata
from metaprobe.trainers.formats.cluster_format import layer_of_tensor
from tests.clustered_runs import LAYERS, RUNS, files, vector
from tests.tensor_files import entry, write_checkpoint, write_raw

__all__ = ["files"]  # a fixture


def test_the_base_comes_first_and_clusters_are_layered_like_it(files: dict[str, Path]) -> None:
    layers = [layer.name for layer in inspect_file(files["two"]).layers]
    parts = [f"clusters.{part}.{layer}" for part in ("centres", "initialisations") for layer in LAYERS]
    assert layers == [*LAYERS, *parts, "clusters.members"]
    layers = [layer.name for layer in inspect_file(files["head"]).layers]
    assert [layer for layer in layers if "centres" in layer] == ["clusters.centres.head"]


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("clusters.centres.conv1.conv.weight", "clusters.centres.conv1"),
        ("clusters.initialisations.head.bias", "clusters.initialisations.head"),
        ("clusters.members", "clusters.members"),
        ("clusters.more.conv1", "clusters.more"),
        ("clusters.centres", "clusters.centres"),
        ("clusters.centres.", "clusters.centres"),
        ("clusters.", "clusters"),
        ("clusters", "clusters"),
        ("clustersX.centres.conv1", "clustersX"),
        ("conv1.clusters.centres", "conv1"),
        ("", ""),
    ],
)
def test_the_layer_of_a_name(name: str, layer: str) -> None:
    assert layer_of_tensor(name) == layer


@pytest.mark.parametrize(
    ("glob", "layers"),
    [
        ("conv*", LAYERS[:4]),
        ("clusters.initialisations.*", [f"clusters.initialisations.{layer}" for layer in LAYERS]),
        ("clusters.*.head", ["clusters.centres.head", "clusters.initialisations.head"]),
        ("clusters.centres.conv1", ["clusters.centres.conv1"]),
    ],
)
def test_a_pattern_chooses_the_base_or_a_part_of_the_clusters(
    glob: str, layers: list[str], files: dict[str, Path]
) -> None:
    found = inspect_file(files["two"], glob=glob)
    assert [layer.name for layer in found.layers] == layers
    assert found.clusters == inspect_file(files["two"]).clusters  # of the file, whatever was chosen


@pytest.mark.parametrize("name", RUNS)
def test_members_are_shown_without_reading_the_weights(name: str, files: dict[str, Path]) -> None:
    found = inspect_file(files[name]).clusters
    assert found is not None
    members = load_file(files[name])["clusters.members"]
    assert [cluster.cluster for cluster in found.clusters] == list(range(RUNS[name]["clusters"]))
    assert [cluster.members for cluster in found.clusters] == members.tolist()
    assert [cluster.share for cluster in found.clusters] == (members / 12).tolist()
    assert {cluster.centre_to_base for cluster in found.clusters} == {None}
    assert (found.count, found.problems) == (len(members), ())
    assert found.clustered_by == RUNS[name].get("clustered", "all")
    assert found.compared_with == RUNS[name].get("assign_to", "centres")
    assert found.base == read_metadata(files["maml"]).fingerprint


@pytest.mark.parametrize("name", RUNS)
def test_distances_to_the_base_are_those_of_numpy(name: str, files: dict[str, Path]) -> None:
    found, tensors = inspect_file(files[name], stats=True).clusters, load_file(files[name])
    assert found is not None
    for each in found.clusters:
        for part, told in (
            ("clusters.centres.", each.centre_to_base),
            ("clusters.initialisations.", each.initialisation_to_base),
        ):
            names = [name.removeprefix(part) for name in tensors if name.startswith(part)]
            expected = np.linalg.norm(vector(tensors, part, names, each.cluster) - vector(tensors, "", names))
            assert told == pytest.approx(expected, rel=1e-12)
    if name == "one":
        assert found.clusters[0].centre_to_base == 0


def test_distances_do_not_depend_on_the_pieces_and_say_nothing_of_nan(tmp_path: Path) -> None:
    noise = np.random.default_rng(0)
    base = noise.normal(size=(700, 1000)).astype("f4")  # more than one piece
    starts = noise.normal(size=(2, 700, 1000)).astype("f4")
    starts[1, 0, 0] = np.nan
    tensors = {"w": base, "clusters.centres.w": starts, "clusters.initialisations.w": starts}
    path = write_checkpoint(tmp_path / "a.safetensors", tensors | {"clusters.members": np.array([1, 2])})
    found = inspect_file(path, stats=True).clusters
    assert found is not None
    assert found.clusters[0].centre_to_base == pytest.approx(np.linalg.norm((starts[0] - base).astype("f8")), rel=1e-6)
    assert found.clusters[1].centre_to_base is None


def test_other_files_have_no_clusters(files: dict[str, Path], tmp_path: Path) -> None:
    assert inspect_file(files["maml"]).clusters is None
    assert inspect_file(files["two"].with_name("last.resume.safetensors")).clusters is None
    names = {"clusters.members": entry(), "clusters.centres.conv1": entry(start=4, end=8)}
    assert inspect_file(write_raw(tmp_path / "a.safetensors", names, bytes(8))).clusters is None


def test_an_inspection_shows_clusters_as_table_facts_and_json(files: dict[str, Path]) -> None:
    found = inspect_file(files["body"], stats=True)
    grids = {grid.title: grid for grid in inspection_grids(found)}
    assert grids["clusters"].columns[3:] == ("centre_to_base_l2", "initialisation_to_base_l2")
    assert len(grids["clusters"].rows) == 2
    facts = dict(row for row in grids["file"].rows if len(row) == 2)
    assert facts["clusters of tasks"] == 2
    assert facts["clustered by"] == "the parameters of the body but the norms', after adaptation from the base"
    assert facts["tasks adapt for that by"] == "20 inner steps"
    assert facts["tasks are compared with"] == "the initialisations"
    assert facts["id of the base checkpoint"] == read_metadata(files["maml"]).checkpoint_id
    orders = dict(row for row in inspection_grids(inspect_file(files["orders"]))[0].rows)
    assert orders["tasks adapt for that by"] == "3 inner steps, mean over 4 orders of their labels"
    assert orders["clustered by"] == "all parameters, after adaptation from the base"
    symmetric = dict(row for row in inspection_grids(inspect_file(files["symmetric"]))[0].rows)
    assert symmetric["tasks adapt for that by"] == "20 inner steps under a head of equal rows"
    assert symmetric["clustered by"] == "the parameters of the body but the norms', after adaptation from the base"
    without = {grid.title: grid for grid in inspection_grids(inspect_file(files["body"]))}
    assert without["clusters"].columns == ("cluster", "members", "share")
    stream = io.StringIO()
    show_inspection(found, json_wanted=True, stream=stream)
    told = json.loads(stream.getvalue())["clusters"]
    assert [told[key] for key in ("count", "clustered_by", "compared_with")] == [2, "body", "initialisations"]
    assert told["clusters"][1]["members"] == grids["clusters"].rows[1][1]


def test_inspecting_and_comparing_clusters_needs_no_torch(files: dict[str, Path]) -> None:
    program = (
        "import sys\nfrom metaprobe.probe.inspection.inspect import inspect_file\n"
        "assert inspect_file(sys.argv[1]).clusters.count == 2\n"
        "inspect_file(sys.argv[1], stats=True)\n"
        "from metaprobe.probe.inspection.diff import diff_files\n"
        "diff_files(*sys.argv[1:])\nassert 'torch' not in sys.modules\n"
    )
    command = [sys.executable, "-c", program, str(files["two"]), str(files["body"])]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[1])
    assert done.returncode == 0, done.stderr
