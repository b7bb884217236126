"""What is published: checkpoints are those of their pages, and a cell of a table can be measured again from them."""

import os
import re
from pathlib import Path

import pytest

from metaprobe.analyses.table import Table
from metaprobe.analyses.testing import TestPlan
from metaprobe.analyses.weight_distance import weight_distance
from metaprobe.reports.page.files import read_tables
from metaprobe.trainers.checkpoint import load_checkpoint
from metaprobe.trainers.tasks import load_imageset

GALLERY = Path(__file__).parents[1] / "reports" / "gallery"
FOLDERS = sorted(GALLERY.glob("*/checkpoints"))
DATA = os.environ.get("METAPROBE_DATA", "")


def test_checkpoints_are_small():
    assert FOLDERS
    assert sum(path.stat().st_size for folder in FOLDERS for path in folder.rglob("*.safetensors")) < 6 << 20


@pytest.mark.parametrize("page", sorted(GALLERY.glob("*/report.html")), ids=lambda page: page.parent.name)
def test_a_page_has_the_tables_beside_it_and_names_no_place_on_a_machine(page):
    shown = page.read_text(encoding="utf-8")
    for path in (page, *(page.parent / "tables").iterdir()):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"(?<![\w<.])/(tmp|home|root|work|usr|var|private)/", text), path
        assert path.suffix != ".tex" or f'id="{path.stem}"' in shown, f"{path}: not of this page"


@pytest.mark.parametrize("folder", [one for one in FOLDERS if (one.parent / "tables" / "made.json").exists()], ids=str)
def test_checkpoints_are_those_that_the_page_was_made_of(folder):
    told = dict(read_tables(folder.parent / "tables").made.checkpoints)
    found = {
        path.relative_to(folder).with_suffix("").as_posix(): load_checkpoint(path).fingerprint
        for path in folder.rglob("*.safetensors")
    }
    assert found == {name: told[name] for name in found}
    assert {name for name in told if name.endswith("/last")} <= set(found) | {"random-seed0/last"}


@pytest.mark.skipif(not Path(DATA, "cifar100").is_dir() or not DATA, reason="METAPROBE_DATA has no cifar100")
def test_a_cell_of_the_page_is_measured_again_from_its_checkpoint():
    folder = GALLERY / "raghu2020-cifar-fs"
    path = folder / "checkpoints" / "maml" / "last.safetensors"
    images = load_imageset("cifar_fs", data_root=Path(DATA))
    again = {(row.layer, row.measure): row for row in weight_distance(path, images, TestPlan(100), 10).rows}
    rows = Table.read_csv(folder / "tables" / "distances.csv").rows
    told = [row for row in rows if row.learner == "maml" and row.iteration == 3000]
    assert {row.measure for row in told} >= {"euclidean_distance", "relative_distance"}
    for row in told:
        found = again[row.layer, row.measure]
        assert (found.checkpoint, found.n) == (row.checkpoint, row.n)
        assert (found.value, found.low, found.high) == pytest.approx((row.value, row.low, row.high), rel=2e-3)
