"""The README's code runs as it stands, and its extensions stay within their budgets."""

import re
from pathlib import Path

import numpy as np
import pytest

from analyses import MEASURES
from probe.cli import clusters, files, listing, measuring, reporting, training
from tests.test_measure_invariances import check
from tests.test_training import tiny
from trainers.algorithms import ALGORITHMS
from trainers.outer_loop import train

README = (Path(__file__).resolve().parents[1] / "README.md").read_text(encoding="utf-8")


def block(name):
    return re.search(rf"<!-- test: {name} -->\n```python\n(.*?)```", README, re.S).group(1)


def run(name):
    scope = {}
    exec(compile(block(name), f"README: {name}", "exec"), scope)
    return scope


def test_own_model(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    scope = run("own-model")
    assert (tmp_path / "store.h5").exists()
    frame = scope["similarity"](scope["store"]).frame()
    assert set(frame["layer"]) == {"0", "1", "2", "3", "4"}
    frozen = frame[(frame["layer"] == "0") & (frame["measure"] == "linear_cka")]
    assert frozen["value"].item() == pytest.approx(1)
    assert "linear_cka" in capsys.readouterr().out


def test_own_algorithm(tmp_path, toy, monkeypatch):
    assert len(block("algorithm").splitlines()) <= 80
    algorithm = run("algorithm")["BOIL"]
    monkeypatch.setitem(ALGORITHMS, "boil", algorithm)
    last = train(tiny("boil"), toy, tmp_path / "run")
    assert last.adaptation.layers == ("conv1", "conv2", "conv3", "conv4")


def test_own_measure():
    assert len(block("measure").splitlines()) <= 40
    measure = run("measure")["SPECTRAL"]
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(60, 5)), generator.normal(size=(60, 4))
    spectra = [np.linalg.eigvalsh(np.cov(z.T))[::-1] for z in (x, y)]
    a, b = spectra[0], np.append(spectra[1], 0)
    assert measure.function(x, y).value == pytest.approx(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
    for invariance in measure.invariances:
        check(measure, invariance)


def test_every_command_that_it_names_exists():
    known = {name for room in (training, files, measuring, clusters, reporting, listing) for name in room.COMMANDS}
    named = set(re.findall(r"`metaprobe (\w+)", README))
    assert named <= known
    assert named >= known - {"train"}
    assert set(MEASURES) >= set(re.findall(r"analyses\.(\w+)\(", README))
