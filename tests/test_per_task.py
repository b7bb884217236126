"""Each task by itself: means over tasks done again from raw activations, intervals, nulls and calibrated values."""

import json
import weakref

import numpy as np
import pytest

from metaprobe import probe
from metaprobe.analyses.bootstrap import over_seeds, task_draws
from metaprobe.analyses.compare import compare
from metaprobe.analyses.measures.measure import DEFAULTS, MEASURES
from metaprobe.analyses.similarity import measures_named, similarity, similarity_over_seeds
from metaprobe.probe.cli import main
from metaprobe.probe.store import Store, open_store
from tests.captures import ADAPTATION, small_network, some_tasks
from tests.reference_measures import REFERENCES

TASKS, REPLICATES = 6, 45


LAYERS = ("conv1", "conv2", "conv3", "conv4", "head")


EVERY = tuple(MEASURES.values())


OF_IMAGES = [name for name, measure in MEASURES.items() if measure.needs == "images"]


OF_MANY = ("mutual_knn", "cknna", "r2_y_from_x", "r2_x_from_y")  # undefined of twelve samples


FEW = {"replicates": REPLICATES, "permutations": 8}


def capture(path, seed=1, tasks=TASKS, **options):
    options = {"raw": True, "steps": "all"} | options
    return probe.capture(small_network(seed=seed), None, some_tasks(tasks), out=path, adaptation=ADAPTATION, **options)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("per-task")


@pytest.fixture(scope="module")
def captured(folder):
    return capture(folder / "a.h5")


@pytest.fixture(scope="module")
def other(folder):
    return capture(folder / "b.h5", 2)


@pytest.fixture(scope="module")
def table(captured):
    return similarity(captured, EVERY, **FEW)


@pytest.fixture(scope="module")
def compared(captured, other):
    return compare(captured, other, EVERY, **FEW)


def the(table, **wanted):
    (row,) = [row for row in table.rows if all(getattr(row, name) == value for name, value in wanted.items())]
    return row


def blocks(path, layer, step, size=None):
    """One task's activations after the other, (image, channel, height, width), maps repeated to `size`."""
    with open_store(path) as store:
        for task in range(store.tasks):
            block = store.activations(layer, step, task)
            block = block[..., None, None] if block.ndim == 2 else block
            times = (size or block.shape[-1]) // block.shape[-1]
            yield block.repeat(times, axis=2).repeat(times, axis=3)


def rows(block, name):
    """What a sample is to a measure: for some an image, otherwise a position."""
    if name in OF_IMAGES:
        return block.reshape(len(block), -1)
    return block.transpose(0, 2, 3, 1).reshape(-1, block.shape[1])


def few(row, name):
    """Whether a row says that twelve samples do not determine a measure, as they do not."""
    told = f"in all {TASKS} tasks: " in row.reason and ("12 samples" in row.reason)
    return (
        name in OF_MANY
        and told
        and (name in OF_IMAGES or "conv4" in (row.layer, row.other_layer) or row.layer == "head")
    )


@pytest.mark.parametrize("name", MEASURES)
@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("step", [1, 2])
def test_values_are_means_of_each_tasks_own(captured, table, name, layer, step):
    pairs = zip(blocks(captured, layer, 0), blocks(captured, layer, step), strict=True)
    expected = [REFERENCES[name](rows(x, name), rows(y, name)) for x, y in pairs]
    row = the(table, layer=layer, step=step, measure=name)
    if row.status == "undefined" and few(row, name):
        return
    assert row.value == pytest.approx(np.mean(expected), abs=1e-9)
    assert (row.over, row.status, row.low < row.value < row.high) == ("task", "ok", True)
    deviations = task_draws(TASKS, REPLICATES) @ np.array(expected) / TASKS
    interval = over_seeds(np.array([row.value]), deviations[None], tasks=TASKS, range=MEASURES[name].range)
    assert (row.low, row.high) == pytest.approx((interval.low, interval.high), abs=1e-9)


SIZE = {"conv1": 8, "conv2": 4, "conv3": 2, "conv4": 1, "head": 1}


@pytest.mark.parametrize("name", MEASURES)
@pytest.mark.parametrize("both", [*((layer, layer) for layer in LAYERS), ("conv1", "conv2"), ("head", "conv3")])
@pytest.mark.parametrize("phase", ["pre-pre", "post-post"])
def test_values_of_two_checkpoints_are_means_of_each_tasks_own(captured, other, compared, name, both, phase):
    size, step = max(map(SIZE.get, both)), 0 if phase == "pre-pre" else 2
    one, two = (
        blocks(path, layer, step, None if name in OF_IMAGES else size)
        for path, layer in zip((captured, other), both, strict=True)
    )
    expected = [REFERENCES[name](rows(x, name), rows(y, name)) for x, y in zip(one, two, strict=True)]
    row = the(compared, layer=both[0], other_layer=both[1], phase=phase, measure=name)
    if row.status == "undefined" and few(row, name):
        return
    assert row.value == pytest.approx(np.mean(expected), abs=1e-9)
    assert (row.over, row.n) == ("task", 12 * (1 if name in OF_IMAGES else size**2))


def test_without_raw_activations_the_sketches_rows_of_a_task_are_compared(folder):
    few = [capture(folder / f"few{s}.h5", s, raw=False, sketch_rows=40 * TASKS) for s in (1, 2)]
    found = compare(*few, measures_named(["cka", "cca", "rsa_pearson"]), phases=[("pre", "pre")], **FEW)
    with open_store(few[0]) as a, open_store(few[1]) as b:
        x, y = a.sketch("conv1", 0), b.sketch("conv1", 0)
    for name in ("linear_cka", "mean_cca"):
        expected = [REFERENCES[name](x.rows[x.tasks == task], y.rows[y.tasks == task]) for task in range(TASKS)]
        row = the(found, layer="conv1", other_layer="conv1", measure=name)
        assert row.value == pytest.approx(np.mean(expected), abs=1e-9)
        assert row.n == 40
    # every place of the finer map that was picked lies in a cell of the coarser one that was picked
    assert the(found, layer="conv1", other_layer="conv2", measure="linear_cka").n == 40
    assert the(found, layer="head", other_layer="head", measure="rsa_pearson").value is not None
    lacking = the(found, layer="conv1", other_layer="conv1", measure="rsa_pearson")
    assert lacking.status == "undefined"
    assert lacking.reason == (
        f"in all {TASKS} tasks: conv1: whole images are needed, the store has a sketch of rows; capture with raw=True "
        "(--raw)"
    )


def test_too_few_shared_places_of_a_task_are_undefined(folder):
    few = [capture(folder / f"least{s}.h5", s, raw=False, sketch_rows=24 * TASKS) for s in (1, 2)]
    found = compare(*few, measures_named(["cka"]), phases=[("pre", "pre")], **FEW)
    row = the(found, layer="conv1", other_layer="conv2", measure="linear_cka")
    assert row.status == "undefined"
    assert f"in all {TASKS} tasks: the sketches share 24 places of the two feature maps, 40 are needed" in row.reason
    assert the(found, layer="conv1", other_layer="conv1", measure="linear_cka").n == 24


@pytest.mark.parametrize("layer", ["conv2", "head"])
@pytest.mark.parametrize("name", [measure.name for measure in DEFAULTS])
def test_the_null_exchanges_images_within_tasks_and_calibrates(captured, table, name, layer):
    rng, nulls = np.random.default_rng(3), []
    for x, y in zip(blocks(captured, layer, 0), blocks(captured, layer, 2), strict=True):
        turned = []
        for _ in range(25):
            ring, order = rng.permutation(len(y)), np.empty(len(y), dtype=int)
            order[ring] = np.roll(ring, -1)
            turned.append(REFERENCES[name](rows(x, name), rows(y[order], name)))
        nulls.append(turned)
    null = the(table, layer=layer, step=2, measure=f"{name}_null")
    apart = np.std(nulls, axis=1, ddof=1)
    error = np.sqrt(np.mean(apart**2) * (1 / 25 + 1 / 7) / TASKS)  # of 25 orders here, and of seven a task there
    assert null.value == pytest.approx(np.mean(nulls), abs=4 * error)
    assert null.low < null.value < null.high
    assert (null.high - null.low) / 3.92 == pytest.approx(np.sqrt(np.mean(apart**2) / TASKS), rel=0.5)
    row, share = (the(table, layer=layer, step=2, measure=name + end) for end in ("", "_calibrated"))
    assert share.value == pytest.approx((row.value - null.value) / (1 - null.value), abs=1e-9)  # the sketch is whole
    assert share.low < share.value < share.high and (share.n, null.n) == (row.n, row.n)


def test_the_mean_over_seeds_draws_tasks_and_seeds_together(captured, other):
    measures = measures_named(["cka", "debiased_cka"])
    table = similarity_over_seeds([captured, other], measures, **FEW)
    per_seed = [
        [
            REFERENCES["linear_cka"](rows(x, ""), rows(y, ""))
            for x, y in zip(blocks(path, "conv1", 0), blocks(path, "conv1", 2), strict=True)
        ]
        for path in (captured, other)
    ]
    values = np.array(per_seed)
    resampled = values @ task_draws(TASKS, REPLICATES).T / TASKS
    expected = over_seeds(values.mean(axis=1), resampled, tasks=TASKS, range=(0, 1))
    row = the(table, layer="conv1", step=2, measure="linear_cka", seed=None, checkpoint=None)
    assert (row.value, row.low, row.high) == pytest.approx((expected.value, expected.low, expected.high), abs=1e-9)
    each = [the(similarity(one, measures, **FEW), layer="conv1", step=2, measure="debiased_cka_calibrated")
            for one in (captured, other)]  # fmt: skip
    share = the(table, layer="conv1", step=2, measure="debiased_cka_calibrated", checkpoint=None)
    assert share.value == pytest.approx(np.mean([one.value for one in each]), abs=1e-12)
    null = the(table, layer="conv1", step=2, measure="linear_cka_null", checkpoint=None)
    assert null.low < null.value < null.high < row.value


def test_forced_correlations_are_counted_of_a_task(folder):
    path = folder / "short.h5"
    tasks = some_tasks(2, n_query=2)
    probe.capture(small_network(seed=1), None, tasks, out=path, adaptation=ADAPTATION)
    found = similarity(path, measures_named(["cca"]), permutations=0)
    assert (the(found, layer="head", measure="forced_correlations").value) == 1.0  # 3 + 3 − (6 − 1)
    row = the(found, layer="head", measure="mean_cca")
    assert (row.n, row.status) == (6, "ok") and "few samples" in row.reason


def test_a_task_is_done_with_before_the_one_after_the_next_is_read(captured, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # one layer and step at a time
    held, reads, read = weakref.WeakSet(), [], Store.moments

    def counted(*asked):
        found = read(*asked)
        held.add(found)
        reads.append(len(held))
        return found

    monkeypatch.setattr(Store, "moments", counted)
    similarity(captured, DEFAULTS, **FEW)
    assert len(reads) == len(LAYERS) * 2 * TASKS  # once each
    assert max(reads) <= 2


def test_the_command_asks_for_either(captured, other, capsys):
    for words, over in (((), "task"), (("--over", "tasks"), "tasks")):
        assert main(["similarity", str(captured), "--measures", "cka", "--json", *words]) == 0
        assert {row["over"] for row in json.loads(capsys.readouterr().out)} == {over}
        pair = [str(captured), str(other), "--layers", "matching"]
        assert main(["similarity", *pair, "--measures", "cka", "--json", *words]) == 0
        found = json.loads(capsys.readouterr().out)
        assert {row["over"] for row in found} == {over}
        assert any(row["measure"] == "linear_cka_calibrated" for row in found) == (over == "task")
