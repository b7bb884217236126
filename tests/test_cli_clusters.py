"""`metaprobe clusters`, from training to the table, on a mixture of two folders of tiny images."""

import csv
import json
from functools import partial

import numpy as np
import pytest
from PIL import Image

from metaprobe.analyses.clustering.embedding import EmbeddingPlan
from metaprobe.probe.cli import main
from metaprobe.trainers.run import RunFolder

COMMON = [
    "--n-way", "2", "--n-query", "2", "--filters", "4", "--meta-batch", "2", "--iterations", "2", "--val-tasks", "2",
    "--inner-steps", "2", "--inner-lr", "0.5", "--val-every", "2", "--chunk", "2",
]  # fmt: skip


def draw(folder, dark, generator):
    """15 classes of 17 images, three, three and nine for validation, testing and training."""
    for number in range(15):
        split = "train" if number < 9 else "val" if number < 12 else "test"
        place = folder / split / f"class{number:02d}"
        place.mkdir(parents=True)
        pattern = (
            generator.integers(0, 2, (8, 8)) if dark else generator.integers(0, 2, (2, 2)).repeat(4, 0).repeat(4, 1)
        )
        for image in range(17):
            noisy = np.clip(180 * pattern + generator.normal(30, 20, (8, 8)), 0, 255).astype(np.uint8)
            Image.fromarray(noisy).save(place / f"{image}.png")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    made = tmp_path_factory.mktemp("clusters")
    for name, dark in (("fine", True), ("coarse", False)):
        draw(made / name, dark, np.random.default_rng(int(dark)))
    (made / "large" / "plain").mkdir(parents=True)
    Image.new("L", (12, 12)).save(made / "large" / "plain" / "0.png")
    return made


def run(root, *arguments):
    return main([*map(str, arguments), "--data-root", str(root)])


@pytest.fixture(scope="module")
def base(root):
    assert run(root, "train", "maml", "--data", "mixture:fine,coarse", *COMMON, "--out", root / "maml") == 0
    return RunFolder(root / "maml").checkpoint("last")


@pytest.fixture(scope="module")
def checkpoint(root, base):
    options = ["--base", base, "--clusters", "3", "--cluster-tasks", "20", "--out", root / "tsa"]
    assert run(root, "train", "tsa_maml", "--data", "mixture:fine,coarse", *COMMON, *options) == 0
    return RunFolder(root / "tsa").checkpoint("last")


def blocks(out):
    """The tables of TSV output by their titles."""
    found = {}
    for block in out.split("\n\n"):
        title, *lines = block.strip().split("\n")
        found[title.removeprefix("# ")] = list(csv.DictReader(lines, delimiter="\t"))
    return found


OPTIONS = ("--tasks", "9", "--fit-tasks", "12", "--n-query", "2")


def test_usage_and_agreement_in_a_pipe(root, checkpoint, capsys):
    capsys.readouterr()
    assert run(root, "clusters", checkpoint, *OPTIONS) == 0
    counts, shares, agreement = blocks(capsys.readouterr().out).values()
    assert [row["group"] for row in counts] == [row["group"] for row in shares] == ["fine", "coarse"]
    for count, share in zip(counts, shares, strict=True):
        used = [int(count[f"initialisation {place}"]) for place in range(3)]
        assert sum(used) == 9 and count["n"] == share["n"] == "9"
        assert [float(share[f"initialisation {place}"]) for place in range(3)] == pytest.approx(np.array(used) / 9)
    assert {row["view"] for row in agreement} >= {"assignment", "all", "body", "head", "features", "all~body"}
    assert [row["measure"] for row in agreement if row["view"] == "assignment"] == [
        "purity", "adjusted_rand", "normalised_mutual_information"
    ]  # fmt: skip
    assert {row["n"] for row in agreement} == {"18"}


def test_all_rows_are_in_json_and_csv(root, checkpoint, capsys, tmp_path):
    capsys.readouterr()
    file = tmp_path / "clusters.csv"
    assert run(root, "clusters", checkpoint, *OPTIONS, "--json", "--csv", file, "--seed", "4") == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["algorithm"] for row in rows} == {"tsa_maml"}
    assert sum(row["value"] for row in rows if row["measure"] == "usage_count") == 18
    with file.open(newline="") as stream:
        kept = list(csv.DictReader(stream))
    assert [(row["measure"], float(row["value"])) for row in kept] == [(row["measure"], row["value"]) for row in rows]
    assert any("seed 4" in (row["reason"] or "") for row in rows)


@pytest.mark.parametrize(("suffix", "begins"), [("svg", b"<svg"), ("pdf", b"%PDF")])
def test_the_heatmap_is_drawn(root, checkpoint, tmp_path, suffix, begins):
    file = tmp_path / f"usage.{suffix}"
    assert run(root, "clusters", checkpoint, *OPTIONS, "--figure", file) == 0
    assert file.read_bytes().startswith(begins)


def test_embedding_is_trustworthiness_on_paper_and_points_in_the_file(root, checkpoint, capsys, tmp_path, monkeypatch):
    few = partial(EmbeddingPlan, methods=("pca", "tsne"))  # UMAP, which tests of embeddings run, compiles for seconds
    monkeypatch.setattr("metaprobe.analyses.clustering.embedding.EmbeddingPlan", few)
    capsys.readouterr()
    file, figure = tmp_path / "clusters.csv", tmp_path / "clusters.svg"
    assert run(root, "clusters", checkpoint, *OPTIONS, "--embed", "16", "--csv", file, "--figure", figure) == 0
    assert "TSA-MAML, all adapted" in figure.read_text() and "parameters: PCA" in figure.read_text()
    agreement = list(blocks(capsys.readouterr().out).values())[-1]
    trust = [row for row in agreement if row["measure"].endswith("_trustworthiness")]
    assert len(trust) == 6 and all(0 <= float(row["value"]) <= 1 for row in trust)
    assert not [row for row in agreement if row["measure"] == "tsne_x"]
    with file.open(newline="") as stream:
        points = [row for row in csv.DictReader(stream) if row["measure"] == "tsne_x"]
    assert len(points) == 3 * 32


def test_one_domain_says_why_there_is_no_agreement(root, checkpoint, capsys):
    capsys.readouterr()
    assert run(root, "clusters", checkpoint, *OPTIONS, "--data", f"class_folder:{root / 'fine'}") == 0
    _, _, agreement = blocks(capsys.readouterr().out).values()
    purity = [row for row in agreement if row["measure"] == "purity"]
    assert {(row["value"], row["status"]) for row in purity} == {("", "undefined")}
    assert all("one domain, class_folder" in row["reason"] for row in purity)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--tasks", "0"), "--tasks must be at least 1 and at most 1,000,000; got 0"),
        (("--fit-tasks", "2"), "cannot find 3 clusters in 2 tasks; raise --fit-tasks to 3"),
        (("--figure", "usage.gif"), "by the file's ending, .svg, .pdf or .png; got usage.gif"),
        (("--embed", "0"), "--embed must be at least 1 and at most 1,000,000; got 0"),
        (("--embed", "9"), "18 tasks are too few to embed"),
        (("--n-query", "17"), "n_shot=1 + n_query=17 needs 18; lower one of them"),
        (("--data", "mixture:fine,coarser"), "unknown part of a mixture 'coarser'"),
        (("--data", "class_folder:large"), "trained on images of 1 × 8 × 8; class_folder has 1 × 12 × 12"),
    ],
)
def test_what_cannot_be_done_is_told(root, checkpoint, capsys, arguments, told):
    capsys.readouterr()
    arguments = [argument.replace("class_folder:", f"class_folder:{root}/") for argument in arguments]
    assert run(root, "clusters", checkpoint, *OPTIONS, *arguments) == 2
    assert told in capsys.readouterr().err


def test_a_checkpoint_without_clusters_has_those_of_k_means(root, base, capsys, tmp_path):
    capsys.readouterr()
    drawn = tmp_path / "clusters.svg"
    assert run(root, "clusters", base, *OPTIONS, "--figure", drawn, "--label-orders", "2", "--cluster-steps", "3") == 0
    counts, _, agreement = blocks(capsys.readouterr().out).values()
    assert list(counts[0]) == ["group", "n", "cluster 0", "cluster 1"]  # one a domain
    assert [sum(int(row[f"cluster {place}"]) for place in range(2)) for row in counts] == [9, 9]
    assert {row["view"] for row in agreement} >= {"all", "body", "head", "features"}
    assert all("3 inner steps, mean over 2 label orders" in row["reason"] for row in agreement)
    assert "cluster 1" in drawn.read_text()
    assert run(root, "clusters", base, *OPTIONS, "--clusters", "4", "--symmetric-head", "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["cluster"] for row in rows if row["measure"] == "usage_count"} == {0, 1, 2, 3}
    stay = {row["view"]: row["value"] for row in rows if row["measure"] == "unchanged_by_label_order"}
    assert stay["body"] == 1.0  # under a symmetric head the order of labels cannot count
    assert {row["view"] for row in rows if row["measure"] == "usage_count"} == {"body"}


def test_own_clusters_are_assigned_in_their_own_way(root, checkpoint, capsys):
    capsys.readouterr()
    assert run(root, "clusters", checkpoint, *OPTIONS, "--label-orders", "2", "--symmetric-head") == 2
    told = capsys.readouterr().err
    assert "has clusters of its own" in told and "leave out --label-orders and --symmetric-head" in told
