"""The tutorials run as they stand, in small sizes, and the code that extends the project stays within its budgets."""

import dataclasses
import re

import numpy as np
import pandas as pd
import pytest
import torch

from metaprobe.analyses.similarity import measures_named, similarity
from metaprobe.analyses.table import Table
from metaprobe.probe.capturing.from_checkpoint import capture_checkpoint
from metaprobe.probe.cli import main
from metaprobe.reports.registry import STUDIES
from metaprobe.trainers.adapt import adapt_as
from metaprobe.trainers.algorithms import ALGORITHMS
from metaprobe.trainers.outer_loop import train
from metaprobe.trainers.run import RunFolder
from metaprobe.trainers.tasks.episodes import EpisodeSampler
from metaprobe.trainers.update_rules import UPDATE_RULES
from tests.notebooks import DOCS, cells, run_page, tagged
from tests.test_measure_invariances import check
from tests.test_training import tiny

EXTENDING = (DOCS / "extending.md").read_text(encoding="utf-8")


def block(name):
    return re.search(rf"<!-- test: {name} -->\n```python\n(.*?)```", EXTENDING, re.S).group(1)


def run(name):
    scope = {}
    exec(compile(block(name), f"extending.md: {name}", "exec"), scope)
    return scope


def test_first_study_and_the_files_that_it_leaves(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    scope = run_page("tutorials/first-study.md")
    assert set(scope["rows"]["layer"]) == {"conv1", "conv2", "conv3", "conv4", "head"}
    scope = run_page("files.md")
    assert scope["metadata"].iteration == 3
    assert scope["layers"] == {"conv1": 4, "conv2": 4, "conv3": 4, "conv4": 4, "head": 5}
    assert {row.frozen for row in scope["table"].rows} >= {"", "conv1,conv2,conv3,conv4"}
    capsys.readouterr()


def test_own_arrays(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert any("# → " in source for source, _ in cells("tutorials/own-arrays.md"))
    run_page("tutorials/own-arrays.md")
    assert (tmp_path / "map.svg").exists()
    assert Table.read_csv("arrays.csv").rows
    capsys.readouterr()


def test_imported_weights(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    run_page("tutorials/imported.md")
    told = capsys.readouterr().out
    assert "learn2learn" in told
    assert {row.frozen for row in Table.read_csv("freezing.csv").rows} >= {"conv1,conv2,conv3,conv4"}


def test_own_network(tmp_path, monkeypatch):
    page = "tutorials/own-network.md"
    assert len([line for line in tagged(page, "own-model").splitlines() if line]) <= 10
    monkeypatch.chdir(tmp_path)
    with torch.random.fork_rng():
        torch.set_rng_state(torch.Generator().manual_seed(0).get_state())
        scope = run_page(page)
    network = scope["network"]
    layers = {"stem", "block1", "block1.first", "block1.second", "block2", "block2.first", "block2.second", "head"}

    images = torch.linspace(-1, 1, 8 * 9).reshape(1, 8, 3, 3)
    for residual in (network.block1, network.block2):  # without its weights, what comes in goes out
        zeros = {name: torch.zeros_like(value) for name, value in residual.state_dict().items()}
        assert torch.equal(torch.func.functional_call(residual, zeros, images), images)
    assert not [module for module in network.modules() if "norm" in type(module).__name__.lower()]

    similar = pd.read_csv("similarity.csv")
    assert set(similar["layer"]) == layers
    cka = similar[similar["measure"] == "linear_cka"].set_index("layer")
    assert set(cka.index) == layers
    assert np.isfinite(cka[["value", "low", "high"]]).all(axis=None)
    assert (cka["value"] < 1 - 1e-6).all()

    frozen = pd.read_csv("freezing.csv", keep_default_na=False)
    accuracy = frozen[frozen["measure"] == "accuracy"]
    blocks = ["", "stem", "stem,block1", "stem,block1,block2"]
    assert accuracy[["algorithm", "frozen"]].values.tolist() == [
        [who, block] for who in ("", "random") for block in blocks
    ]
    assert np.isfinite(frozen[["value", "low", "high"]].astype(float)).all(axis=None)

    head_alone = dataclasses.replace(scope["adaptation"], layers=("head",))
    store = scope["capture"](network, None, scope["tasks"], adaptation=head_alone, out="head.h5")
    frame = similarity(store, measures_named(["linear_cka"])).frame()
    value = frame[frame["measure"] == "linear_cka"].set_index("layer")["value"]
    assert value.drop("head").tolist() == pytest.approx([1] * 7, abs=1e-12)
    assert value["head"] < 1 - 1e-6


def test_own_algorithm(tmp_path, toy, monkeypatch):
    assert len(block("algorithm").splitlines()) <= 80
    algorithm = run("algorithm")["BOIL"]
    monkeypatch.setitem(ALGORITHMS, "boil", algorithm)
    last = train(tiny("boil"), toy, tmp_path / "run")
    assert last.adaptation.layers == ("conv1", "conv2", "conv3", "conv4")


def test_own_update_rule(tmp_path, toy, monkeypatch):
    assert len(block("update-rule").splitlines()) <= 40
    monkeypatch.setitem(UPDATE_RULES, "tensor_rates", run("update-rule")["TENSOR_RATES"])
    last = train(tiny(update_rule="tensor_rates", rates_clamp=(0.0, 0.1), outer_lr=0.01), toy, tmp_path / "run")
    rates = torch.cat(list(last.rule.values()))
    assert float(rates.min()) < 0.1 == pytest.approx(float(rates.max()))
    path = RunFolder(tmp_path / "run").checkpoint("last")
    capture_checkpoint(path, toy, tmp_path / "store.h5", tasks=2, n_query=2)
    tasks = EpisodeSampler(toy, "test", 3, 1, 2, seed=0).batch(range(2))
    once = dataclasses.replace(last.adaptation, steps=1)
    moved, plain = (
        adapt_as(last.network(), last.start(), tasks.support, dataclasses.replace(once, rule=rule)).params["head.bias"]
        for rule in ("tensor_rates", "sgd")
    )
    rate = float(last.rule["update_rule.head.bias.rate"])
    expected = last.params["head.bias"] + rate / last.adaptation.inner_lr * (plain - last.params["head.bias"])
    torch.testing.assert_close(moved, expected)


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


def test_own_study(tmp_path, monkeypatch):
    for name, study in list(STUDIES.items()):
        monkeypatch.setitem(STUDIES, name, study)  # so that the new one goes with the test
    assert len(block("study").splitlines()) <= 60
    run("study")
    monkeypatch.chdir(tmp_path)
    options = "--iterations 2 --tasks 4 --val-tasks 2 --n-way 2 --n-query 2 --filters 4 --meta-batch 2 --image-size 14"
    assert main(["study", "mine", *options.split(), "--out", "mine"]) == 0
    assert "M1" in (tmp_path / "mine" / "report.html").read_text(encoding="utf-8")
    rows = Table.read_csv(tmp_path / "mine" / "tables" / "cost.csv").rows
    assert [(row.measure, row.minus) for row in rows] == [("accuracy_difference", "frozen=none")] * 4
