"""What `inspect --figure` draws: norms of layers, and how their weights are distributed."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from metaprobe.probe.cli import main
from metaprobe.probe.cli.figures.weights import weights_figure
from metaprobe.probe.inspection.distributions import distributions
from metaprobe.probe.inspection.inspect import inspect_file
from metaprobe.trainers.run import RunFolder
from tests.tensor_files import entry, write_raw

DEMO = RunFolder(Path(__file__).parents[1] / "reports/demo/maml-glyphs").checkpoint("last")


def test_inspect_draws_norms_and_the_distribution_of_each_layers_weights(tmp_path, capsys):
    file = tmp_path / "w.svg"
    assert main(["inspect", str(DEMO), "--glob", "conv*", "--figure", str(file)]) == 0
    assert "fingerprint check\tmatches" in capsys.readouterr().out  # values were read
    text = file.read_text()
    assert "conv2 (2,304 weights)" in text and "head (" not in text and "Conv2 has the largest norm, 4.845." in text
    assert (
        f"metaprobe inspect {DEMO} --glob &#x27;conv*&#x27;" in text
        or f"metaprobe inspect {DEMO} --glob 'conv*'" in text
    )


def test_inspect_draws_weights_without_buffers_and_names_what_it_cannot_read(tmp_path):
    entries = {"a.weight": entry("F32", [2], 0, 8), "a.num_batches_tracked": entry("I64", [], 8, 16)}
    entries |= {"b.weight": entry("F4", [4], 16, 18), "c.num_batches_tracked": entry("I64", [], 18, 26)}
    values = np.array([3, -4], "<f4").tobytes(), np.array([30_000]).tobytes(), bytes(2), bytes(8)
    found = inspect_file(write_raw(tmp_path / "w.safetensors", entries, b"".join(values)), stats=True)
    norms, spreads = weights_figure(found, ()).panels
    assert norms.places == ("a",) and norms.series[0].quantities == (5.0,)
    assert spreads.series[0].quantities == (pytest.approx(12.5**0.5),)
    caption = weights_figure(found, ()).caption
    assert caption.endswith("A has the largest norm, 5. Without norms, as values of F4 have no decoder: b.")


def test_histograms_count_every_finite_weight_once():
    weights = load_file(DEMO)
    for found in distributions(inspect_file(DEMO, stats=True)):
        own = np.concatenate([weights[name].ravel() for name in found.tensors]).astype(float)
        inside = (own >= found.edges[0]) & (own <= found.edges[-1])
        assert found.counts.sum() == inside.sum() and found.beyond == (~inside).sum() and found.counts.max() < own.size
        assert float(found.density @ np.diff(found.edges)) == pytest.approx(inside.mean())
        assert all(weights[name].ndim > 1 for name in found.tensors)
        assert (own[~inside] - own.mean() > 3.9 * own.std()).all()


def test_histograms_of_strange_numbers(tmp_path):
    x = np.random.default_rng(0).normal(size=(30, 30))
    tensors = {
        "constant.weight": np.full((3, 3), 0.25, np.float32),
        "mixed.a": x.astype(np.float16),
        "mixed.b": x,
        "holes.weight": np.where(x > 1, np.nan, np.where(x < -1, -np.inf, x)),
        "huge.weight": x * 1e307,
        "only.bias": x[0],
        "nothing.weight": np.full((2, 2), np.nan),
        "whole.weight": np.arange(4).reshape(2, 2),
        "empty.weight": np.zeros((0, 3)),
    }
    save_file(tensors, tmp_path / "a.safetensors")
    inspection = inspect_file(tmp_path / "a.safetensors", stats=True)
    found = {one.layer: one for one in distributions(inspection)}
    assert (
        {"constant", "mixed", "holes", "huge", "only"} <= set(found) and "nothing" not in found and "empty" not in found
    )
    for layer, count in (("constant", 9), ("mixed", 1800), ("huge", 900), ("only", 30)):
        assert found[layer].counts.sum() + found[layer].beyond == count
        assert np.isfinite(found[layer].density).all() and (np.diff(found[layer].edges) > 0).all()
    assert found["holes"].counts.sum() == (np.abs(x) <= 1).sum()
    assert main(["inspect", str(tmp_path / "a.safetensors"), "--figure", str(tmp_path / "a.png")]) == 0
