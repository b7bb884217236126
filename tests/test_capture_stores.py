"""What a capture writes: sketches, raw activations, precision, and disks that are full."""

import dataclasses
import itertools
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from metaprobe import probe
from metaprobe.probe.capturing import recording
from metaprobe.probe.moments import moments_of
from metaprobe.trainers.config import Adaptation
from metaprobe.trainers.errors import MetaprobeError
from tests.captures import (
    ADAPTATION,
    FOREIGN_ADAPTATION,
    foreign_network,
    rows,
    sampler,
    small_network,
    some_tasks,
    state_of,
)
from tests.several_starts import NETWORK, two_starts


def test_sketch_and_raw_show_the_same_activations_with_their_labels(tmp_path):
    network, tasks = small_network(), some_tasks(5)
    options = {"adaptation": ADAPTATION, "steps": "all", "raw": True, "chunk": 2}
    out = probe.capture(network, None, tasks, out=tmp_path / "s.h5", sketch_rows=100, **options)
    with probe.open_store(out) as store:
        for layer in store.layers:
            for step in (0, 1, 2):
                sketch = store.sketch(layer, step)
                assert len(sketch.rows) == min(100, 5 * 12 * store.layer(layer).positions)
                for task in range(5):
                    block = torch.from_numpy(store.activations(layer, step, task))
                    here = sketch.tasks == task
                    at = sketch.samples[here] * store.layer(layer).positions + sketch.positions[here]
                    np.testing.assert_array_equal(sketch.rows[here], rows(block)[at])
                    ids, labels = tasks.query.ids[task].numpy(), tasks.query.labels[task].numpy()
                    np.testing.assert_array_equal(sketch.ids[here], ids[sketch.samples[here]])
                    np.testing.assert_array_equal(sketch.labels[here], labels[sketch.samples[here]])
            for task in range(5):
                x, y = (rows(torch.from_numpy(store.activations(layer, step, task))) for step in (0, 2))
                found, expected = store.moments(layer, 2, task), moments_of(x, y)
                np.testing.assert_array_equal(found.scatter, expected.scatter)
                np.testing.assert_array_equal(found.cubic, expected.cubic)
                assert found.eps == expected.eps


def test_what_no_step_moves_is_summed_once(tmp_path, monkeypatch):
    summed = []
    monkeypatch.setattr(recording, "moments_of", lambda x, y: summed.append(1) or moments_of(x, y))
    head = dataclasses.replace(ADAPTATION, layers=("head",), steps=3)
    options = {"adaptation": head, "steps": "all", "raw": True, "chunk": 2}
    out = probe.capture(small_network(), None, some_tasks(5), out=tmp_path / "s.h5", **options)
    assert len(summed) == 5 * (4 + 3)  # of each convolution once a task, of the head after every step
    with probe.open_store(out) as store:
        for layer, step, task in itertools.product(store.layers, (1, 2, 3), range(5)):
            x, y = (rows(torch.from_numpy(store.activations(layer, at, task))) for at in (0, step))
            found, expected = store.moments(layer, step, task), moments_of(x, y)
            for name in ("mean", "scatter", "cubic", "quartic", "largest"):
                np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


def test_sketches_of_different_weights_on_the_same_tasks_line_up_and_other_seeds_pick_others(tmp_path):
    def sketch(weights, seed):
        out = tmp_path / f"{weights}{seed}.h5"
        options = {"adaptation": ADAPTATION, "sketch_rows": 64, "seed": seed, "layers": "conv2"}
        probe.capture(small_network(weights), None, some_tasks(3), out=out, **options)
        with probe.open_store(out) as store:
            return store.sketch("conv2", 2)

    one, two, other = sketch(0, 0), sketch(1, 0), sketch(0, 1)
    for name in ("tasks", "samples", "positions", "ids", "labels"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
    assert not np.array_equal(one.rows, two.rows)
    assert not np.array_equal(one.positions, other.positions)
    assert list(np.bincount(one.tasks)) == [21, 21, 22]


def test_the_same_capture_gives_the_same_bytes_from_a_batch_and_from_a_stream(tmp_path):
    network, source = small_network(), sampler()
    options = {"adaptation": ADAPTATION, "raw": True, "chunk": 2}
    done = []
    probe.capture(network, None, source.batch(range(6)), out=tmp_path / "a.h5", **options, advance=done.append)
    stream = (source.batch(range(first, first + 2)) for first in (0, 2, 4))
    probe.capture(network, None, stream, out=tmp_path / "b.h5", n_tasks=6, **options)
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()
    assert done == [2, 2, 2]


@pytest.mark.parametrize(
    ("announced", "match"),
    [
        (None, "give n_tasks"),
        (5, "stream ended after 4 tasks; n_tasks=5"),
        (3, "more tasks than n_tasks=3"),
        (0, "expected 0, got 0|at least one task"),
    ],
)
def test_a_stream_that_is_not_as_long_as_announced_leaves_nothing(tmp_path, announced, match):
    stream = iter([some_tasks(2), some_tasks(2)])
    with pytest.raises(MetaprobeError, match=match):
        probe.capture(
            small_network(), None, stream, out=tmp_path / "s.h5", adaptation=ADAPTATION, n_tasks=announced, chunk=2
        )
    assert list(tmp_path.iterdir()) == []


def test_what_does_not_fit_is_named(tmp_path):
    def attempt(match, network=None, params=None, tasks=None, adaptation=ADAPTATION, **options):
        network = network or small_network()
        held, out = state_of(network), tmp_path / "s.h5"
        with pytest.raises(MetaprobeError, match=match):
            probe.capture(network, params, tasks or some_tasks(2), out=out, adaptation=adaptation, **options)
        assert state_of(network) == held
        assert list(tmp_path.iterdir()) == []

    attempt("unknown parameter 'head.wait'.*head.weight", params={"head.wait": torch.zeros(1)})
    attempt(r"'head.bias' has shape \(2,\), the network expects \(3,\)", params={"head.bias": torch.zeros(2)})
    attempt("layer pattern 'conv9'", layers="conv9")
    clusters = two_starts(sampler(size=8), 2, dataclasses.replace(NETWORK, filters=5), dtype=torch.float64)
    attempt(r"clusters do not fit the network: conv1.conv.weight is \(5, 1, 3, 3\), expected \(4,", params=clusters)
    attempt("takes no step", adaptation=Adaptation((), 0.1, 0))
    attempt("leave the argument out", network=foreign_network(), adaptation=FOREIGN_ADAPTATION, transductive=False)
    attempt("channel_axis=7: layer 'conv1'", channel_axis=7)
    uneven = [some_tasks(1), some_tasks(1, n_query=3)]
    attempt("query_ids has shape.*9.*the first task of the stream had 12", tasks=uneven)
    broken = {"conv3.norm.bias": torch.full((4,), torch.nan).double()}
    frozen = Adaptation((), 0.1, 2)
    attempt("layer 'conv3', task 0, x before adaptation and y after inner step 2.*NaN", None, broken, None, frozen)
    wide = nn.Sequential(nn.Flatten(), nn.Linear(256, 5000), nn.Linear(5000, 3)).double()
    attempt("layer '1' has 5000 features", network=wide, layers="1", adaptation=Adaptation(("2",), 0.1, 1))


def test_float16_overflow_names_layer_value_and_way_out(tmp_path):
    network = small_network(dtype=torch.float32)
    params = {"conv2.norm.weight": torch.full((4,), 1e5)}
    half, tasks = probe.RawOptions(dtype="float16"), some_tasks(2, dtype=torch.float32)
    with pytest.raises(MetaprobeError, match=r"layer 'conv2' reaches \d.*float16 ends at 65504; .* as computed"):
        probe.capture(network, params, tasks, out=tmp_path / "s.h5", adaptation=ADAPTATION, raw=half)
    assert list(tmp_path.iterdir()) == []


def test_float16_and_zstd_keep_the_values_to_half_precision(tmp_path):
    pytest.importorskip("hdf5plugin")
    network, tasks = small_network(), some_tasks(3)
    for name, raw in (("exact", True), ("half", probe.RawOptions("float16", zstd=True))):
        probe.capture(network, None, tasks, out=tmp_path / name, adaptation=ADAPTATION, raw=raw)
    with probe.open_store(tmp_path / "exact") as exact, probe.open_store(tmp_path / "half") as half:
        one, two = exact.activations("conv1", 2, 1), half.activations("conv1", 2, 1)
    assert (one.dtype, two.dtype, two.shape) == (np.float64, np.float16, (12, 4, 8, 8))
    np.testing.assert_array_equal(one.astype(np.float16), two)


def test_zstd_without_its_package_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "hdf5plugin", None)
    with pytest.raises(MetaprobeError, match=r"pip install 'metaprobe\[zstd\]'"):
        probe.capture(
            small_network(),
            None,
            some_tasks(1),
            out=tmp_path / "s.h5",
            adaptation=ADAPTATION,
            raw=probe.RawOptions(zstd=True),
        )
    assert list(tmp_path.iterdir()) == []


FULL_DISK = """
import resource, signal, sys
from metaprobe import probe
from tests.captures import ADAPTATION, small_network, some_tasks
from metaprobe.trainers.errors import MetaprobeError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
try:
    probe.capture(small_network(), None, some_tasks(8), out=sys.argv[1], adaptation=ADAPTATION, raw=True)
except MetaprobeError as error:
    print(f"refused: {error}")
"""


@pytest.mark.parametrize("room", [1_000, 60_000, 200_000, 500_000])
def test_a_disk_that_fills_up_is_a_clear_error_and_leaves_nothing(tmp_path, room):
    command = [sys.executable, "-c", FULL_DISK, str(tmp_path / "s.h5"), str(room)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr
    assert "refused: the store cannot be written in" in ended.stdout
    assert "make room" in ended.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_cannot_fit_is_refused_before_it_is_begun(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 1000}))
    with pytest.raises(MetaprobeError, match=r"would take .* MB and .* 0.0 MB free.*layer 'conv1' has 4 features"):
        probe.capture(small_network(), None, some_tasks(2), out=tmp_path / "s.h5", adaptation=ADAPTATION)
    assert list(tmp_path.iterdir()) == []
