"""Plug-ins by entry points, as installed distributions have them: found, listed, used; broken ones are told."""

import json
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from metaprobe.analyses.measures.measure import MEASURES
from metaprobe.analyses.similarity import measures_named
from metaprobe.probe.cli import main
from metaprobe.reports.registry import STUDIES
from metaprobe.trainers.algorithms import ALGORITHMS, algorithm_named
from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.plugins import homes_of_plugins
from metaprobe.trainers.tasks import DATASETS

ROOT = Path(__file__).resolve().parents[1]
REGISTRIES = {"algorithms": ALGORITHMS, "datasets": DATASETS, "measures": MEASURES, "studies": STUDIES}
MODULE = """
from dataclasses import replace
from metaprobe.trainers.algorithms.base import Algorithm, adapt_all, meta_gradient
from metaprobe.trainers.config import Adaptation
from metaprobe.trainers.tasks import Dataset

def adaptation(config, layers):
    return Adaptation(layers[:-1], config.inner_lr, config.inner_steps, adapt_norm=config.adapt_norm)

def load(request):
    from tests.conftest import make_imageset
    return make_imageset(15, 20, 28, name=f"tiny{request.argument}")

BOIL = Algorithm("boil", "the body alone", "Oh 2021", adaptation, meta_gradient)
TINY = Dataset("tiny", load, "noise", "here", "MIT", argument="SIZE")

def __getattr__(name):
    if name == "SPECTRAL":
        from metaprobe.analyses.measures.cka import LINEAR_CKA
        return replace(LINEAR_CKA, name="spectral")
    if name == "MINE":
        from metaprobe.reports.registry import STUDIES
        return replace(STUDIES["raghu2020"], name="mine")
    raise AttributeError(name)
"""
GOOD = {
    "algorithms": {"boil": "mine:BOIL"},
    "datasets": {"tiny": "mine:TINY"},
    "measures": {"spectral": "mine:SPECTRAL"},
    "studies": {"mine": "mine:MINE"},
}


def install(folder, name, points, **modules):
    """Put a distribution into a folder of the path as an installer would: its modules, and a dist-info folder."""
    for module, text in modules.items():
        (folder / f"{module}.py").write_text(text)
    about = folder / f"{name.replace('-', '_')}-1.2.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
    groups = [
        f"[metaprobe.{kind}]\n" + "".join(f"{entry} = {value}\n" for entry, value in entries.items())
        for kind, entries in points.items()
    ]
    (about / "entry_points.txt").write_text("\n".join(groups))


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder on the path for distributions, and registries that have not looked for plug-ins yet."""
    monkeypatch.syspath_prepend(tmp_path)
    for registry in REGISTRIES.values():
        monkeypatch.setattr(registry, "_entries", dict(registry._entries))
        monkeypatch.setattr(registry, "_homes", {})
        monkeypatch.setattr(registry, "_looked", False)
    yield tmp_path
    for name in ("mine", "broken", "other"):
        sys.modules.pop(name, None)


def names(capsys, kind):
    assert main(["list", kind, "--json"]) == 0
    return [row["name"] for row in json.loads(capsys.readouterr().out)]


def test_an_installed_distribution_adds_one_of_each(site, capsys, tmp_path):
    assert homes_of_plugins() == []
    install(site, "metaprobe-mine", GOOD, mine=MODULE)
    assert homes_of_plugins() == ["metaprobe-mine 1.2"]  # a part of what results depend on
    for kind, points in GOOD.items():
        listed = names(capsys, kind)
        assert listed[-1] == next(iter(points)) and len(listed) == len(set(listed)) == len(REGISTRIES[kind])
    words = ["--n-way", "3", "--n-query", "2", "--iterations", "2", "--meta-batch", "2", "--inner-steps", "1"]
    words += ["--filters", "4", "--val-tasks", "2", "--out", str(tmp_path / "run")]
    assert main(["train", "boil", "--data", "tiny:9", *words]) == 0
    last = Path(capsys.readouterr().out.splitlines()[-1])
    assert main(["inspect", str(last), "--json"]) == 0
    assert '"boil"' in capsys.readouterr().out
    assert main(["evaluate", str(last), "--tasks", "2"]) == 0  # data and algorithm as the checkpoint names them
    assert [one.name for one in measures_named(["spectral", "cka"])] == ["spectral", "linear_cka"]
    assert main(["train", "boil", "--data", "tiny"]) == 2
    assert "expected tiny:SIZE" in capsys.readouterr().err


def test_nothing_is_imported_for_names_of_our_own(site):
    install(site, "metaprobe-broken", {"algorithms": {"x": "broken:X"}, "measures": {"x": "broken:X"}}, broken="1 / 0")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert algorithm_named("maml").name == "maml" and "pwcca" in MEASURES
        assert measures_named(["cka"])[0].name == "linear_cka"
    assert "broken" not in sys.modules


def test_what_is_broken_is_told_with_its_distribution_and_breaks_nothing(site):
    install(site, "metaprobe-mine", GOOD, mine=MODULE)
    install(site, "metaprobe-broken", {"algorithms": {"aaa": "broken:AAA"}}, broken="import nothing_of_that_name")
    points = {"maml": "other:MAML", "boil": "other:ZBOIL", "seven": "other:SEVEN", "gone": "other:GONE"}
    points |= {"named": "other:MAML"}
    install(
        site,
        "zzz-other",
        {"algorithms": points},
        other="from metaprobe.trainers.algorithms.maml import MAML\nSEVEN = 7",
    )
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        assert list(ALGORITHMS)[-1] == "boil"
        assert len(ALGORITHMS) == len(list(ALGORITHMS)) and "aaa" not in ALGORITHMS
    assert [
        str(one.message).removeprefix("plug-in ").replace(" (metaprobe.algorithms) is left out", "") for one in told
    ] == [
        "aaa of metaprobe-broken 1.2: importing broken:AAA failed: ModuleNotFoundError: No module named "
        "'nothing_of_that_name'; update or uninstall it",
        "boil of zzz-other 1.2: metaprobe-mine 1.2 has that name; rename one of them",
        "gone of zzz-other 1.2: importing other:GONE failed: AttributeError: module 'other' has no attribute 'GONE'; "
        "update or uninstall it",
        "maml of zzz-other 1.2: metaprobe itself has that name; rename one of them",
        "named of zzz-other 1.2: it calls itself 'maml'; its entry point and its name must agree",
        "seven of zzz-other 1.2: other:SEVEN is of class int, expected Algorithm",
    ]
    assert ALGORITHMS["boil"].summary == "the body alone" and ALGORITHMS["maml"].name == "maml"


def test_an_unknown_name_lists_those_of_plug_ins(site):
    install(site, "metaprobe-mine", GOOD, mine=MODULE)
    with pytest.raises(MetaprobeError, match=r"unknown algorithm 'boyl'. Did you mean boil"):
        algorithm_named("boyl")


def test_in_a_process_of_its_own_a_broken_plug_in_is_a_line_and_help_imports_none(tmp_path):
    points = {"measures": {"x": "broken:X"}, "studies": {"x": "broken:X"}}
    install(tmp_path, "metaprobe-broken", points, broken="raise SystemError('no\\nlicence')")
    code = (
        "import sys\nsys.path.insert(0, sys.argv.pop(1))\nfrom metaprobe.probe.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    assert 'broken' not in sys.modules\n"
        "status = main(['list', 'measures'])\nassert 'torch' not in sys.modules\nsys.exit(status)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    assert done.stderr == (
        "warning: plug-in x of metaprobe-broken 1.2 (metaprobe.measures) is left out: importing broken:X failed: "
        "SystemError: no licence; update or uninstall it\n"
    )
