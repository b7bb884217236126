"""The README's code runs as it stands, and its extensions stay within their budgets."""

import dataclasses
import importlib
import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from analyses import MEASURES
from analyses.similarity import measures_named, similarity
from analyses.table import Table
from probe.capturing.from_checkpoint import capture_checkpoint
from probe.cli import (
    clusters,
    converting,
    files,
    freezing,
    importing,
    listing,
    main,
    measuring,
    reporting,
    training,
)
from reports.registry import STUDIES
from tests.test_measure_invariances import check
from tests.test_training import tiny
from trainers.adapt import adapt_as
from trainers.algorithms import ALGORITHMS
from trainers.outer_loop import train
from trainers.run import RunFolder
from trainers.tasks import load_imageset
from trainers.tasks.episodes import EpisodeSampler
from trainers.update_rules import UPDATE_RULES

README = (Path(__file__).resolve().parents[1] / "README.md").read_text(encoding="utf-8")


def block(name):
    return re.search(rf"<!-- test: {name} -->\n```python\n(.*?)```", README, re.S).group(1)


def run(name):
    scope = {}
    exec(compile(block(name), f"README: {name}", "exec"), scope)
    return scope


def train_a_little(model, tasks):
    """Make a user's checkpoint: some steps of supervised training on the labels of a few tasks, in plain torch."""
    with torch.random.fork_rng():
        torch.set_rng_state(torch.Generator().manual_seed(0).get_state())
        network = model.ResidualNet()
    start = {name: value.clone() for name, value in network.state_dict().items()}
    optimiser = torch.optim.Adam(network.parameters(), lr=0.01)
    for images, labels in zip(tasks.query.images, tasks.query.labels, strict=True):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(network(images), labels).backward()
        optimiser.step()
    assert any(not torch.equal(start[name], value) for name, value in network.state_dict().items())
    save_file(network.state_dict(), "mine.safetensors")


def test_own_model(tmp_path, monkeypatch):
    assert len([line for line in block("own-model").splitlines() if line]) <= 10
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "my_model.py").write_text(block("my-model"), encoding="utf-8")
    model = importlib.import_module("my_model")
    monkeypatch.setitem(sys.modules, "my_model", model)
    train_a_little(model, EpisodeSampler(load_imageset("glyphs"), "train", 5, 1, 15, seed=1).batch(range(3)))
    scope = run("own-model")
    layers = {"stem", "block1", "block1.first", "block1.second", "block2", "block2.first", "block2.second", "head"}

    images = torch.linspace(-1, 1, 8 * 9).reshape(1, 8, 3, 3)
    for residual in (model.trained().block1, model.trained().block2):  # without its weights, what comes in goes out
        zeros = {name: torch.zeros_like(value) for name, value in residual.state_dict().items()}
        assert torch.equal(torch.func.functional_call(residual, zeros, images), images)
    assert not [module for module in model.trained().modules() if "norm" in type(module).__name__.lower()]

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
    store = scope["capture"](model.trained(), None, scope["tasks"], adaptation=head_alone, out="head.h5")
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


def test_every_command_that_it_names_exists():
    known = {
        name
        for room in (training, importing, files, measuring, freezing, clusters, converting, reporting, listing)
        for name in room.COMMANDS
    }
    named = set(re.findall(r"`metaprobe (\w+)", README))
    assert named <= known
    assert named >= known - {"train"}
    assert set(MEASURES) >= set(re.findall(r"analyses\.(\w+)\(", README))
