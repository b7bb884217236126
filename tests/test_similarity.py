"""From a store to rows: measures of whole activations, the jackknife over tasks and the shuffled null, done again."""

import numpy as np
import pytest
import torch
from scipy import stats

import probe
from analyses.measures.measure import MEASURES
from analyses.similarity import ALIASES, measures_named, similarity
from tests.captures import ADAPTATION, FOREIGN_ADAPTATION, foreign_network, small_network, some_tasks
from tests.conftest import make_imageset
from tests.test_training import tiny
from trainers.errors import MetaprobeError, UnreadableInput
from trainers.files import sha256_of
from trainers.outer_loop import train
from trainers.run import RunFolder

TASKS = 23  # not a multiple of the 20 groups
LAYERS = ("conv1", "conv2", "conv3", "conv4", "head")


@pytest.fixture(scope="module")
def captured(tmp_path_factory):
    path = tmp_path_factory.mktemp("similarity") / "store.h5"
    return capture(path, TASKS, steps="all")


@pytest.fixture(scope="module")
def table(captured):
    return similarity(captured)


def capture(path, tasks, network=None, **options):
    network = network or small_network(seed=1)
    return probe.capture(network, None, some_tasks(tasks), out=path, adaptation=ADAPTATION, raw=True, **options)


def activations(path, layer, step):
    """Whole activations (task, row, feature); every position of a feature map is a sample."""
    with probe.open_store(path) as store:
        blocks = np.stack([store.activations(layer, step, task) for task in range(store.tasks)])
    if blocks.ndim == 3:
        return blocks
    tasks, samples, channels, height, width = blocks.shape
    return blocks.transpose(0, 1, 3, 4, 2).reshape(tasks, samples * height * width, channels)


def the(table, **wanted):
    (row,) = [row for row in table.rows if all(getattr(row, name) == value for name, value in wanted.items())]
    return row


def test_there_is_a_row_and_a_null_for_each_layer_step_and_measure(captured, table):
    expected = [
        (layer, step, name)
        for layer in LAYERS
        for step in (1, 2)
        for measure in MEASURES
        for name in (measure, f"{measure}_null")
    ]
    assert [(row.layer, row.step, row.measure) for row in table.rows] == expected
    row = table.rows[0]
    assert (row.checkpoint, row.algorithm, row.seed, row.iteration) == (fingerprint(captured), None, None, None)
    assert (row.phase, row.inner_steps, row.frozen, row.status) == ("pre-post", 2, None, "ok")
    assert {row.source for row in table.rows} == {sha256_of(captured)[:12]}
    samples = {layer: {row.samples for row in table.rows if row.layer == layer} for layer in LAYERS}
    assert samples == {layer: {"positions"} for layer in LAYERS[:-1]} | {"head": {"images"}}


def fingerprint(path):
    with probe.open_store(path) as store:
        return store.fingerprint[:12]


@pytest.mark.parametrize("layer", ["conv1", "conv3", "head"])
@pytest.mark.parametrize("step", [1, 2])
@pytest.mark.parametrize("name", MEASURES)
def test_values_are_those_of_the_whole_activations(captured, table, name, step, layer):
    x, y = activations(captured, layer, 0), activations(captured, layer, step)
    direct = MEASURES[name].function(np.concatenate(x), np.concatenate(y))
    row = the(table, layer=layer, step=step, measure=name)
    assert row.value == pytest.approx(direct.value, abs=1e-8)
    assert row.n == direct.n == TASKS * x.shape[1]
    assert row.value < 1 - 1e-6  # something moved


def test_steps_and_layers_differ(table):
    found = {row.value for row in table.rows if row.measure == "linear_cka"}
    assert len(found) == 10


@pytest.mark.parametrize("layer", ["conv3", "head"])
@pytest.mark.parametrize("name", ["mean_cca", "linear_cka", "debiased_cka", "procrustes"])
def test_the_interval_is_a_jackknife_that_leaves_out_groups_of_tasks(captured, table, name, layer):
    x, y = activations(captured, layer, 0), activations(captured, layer, 2)
    groups = [[0, 1], [2, 3], [4, 5], *([task] for task in range(6, TASKS))]  # 23 tasks in 20 groups
    left_out = []
    for group in groups:
        kept = [task for task in range(TASKS) if task not in group]
        left_out.append(MEASURES[name].function(np.concatenate(x[kept]), np.concatenate(y[kept])).value)
    variance = 19 / 20 * sum((value - sum(left_out) / 20) ** 2 for value in left_out)
    half = stats.t.interval(0.95, 19)[1] * variance**0.5
    row = the(table, layer=layer, step=2, measure=name)
    lowest, highest = MEASURES[name].range
    assert row.low == pytest.approx(max(lowest, row.value - half), abs=1e-7)
    assert row.high == pytest.approx(min(highest, row.value + half), abs=1e-7)
    assert row.low < row.value <= row.high


def test_few_tasks_are_a_group_each_and_one_task_has_no_interval(tmp_path):
    store = capture(tmp_path / "three.h5", 3)
    x, y = activations(store, "head", 0), activations(store, "head", 2)
    measure = MEASURES["linear_cka"].function
    left_out = np.array(
        [measure(*(np.concatenate(np.delete(z, task, axis=0)) for z in (x, y))).value for task in range(3)]
    )
    half = stats.t.ppf(0.975, 2) * np.sqrt(2 / 3 * ((left_out - left_out.mean()) ** 2).sum())
    row = the(similarity(store, measures_named(["cka"])), layer="head", measure="linear_cka")
    assert row.low == pytest.approx(max(0, row.value - half), abs=1e-7)
    assert row.high == pytest.approx(min(1, row.value + half), abs=1e-7)
    alone = similarity(capture(tmp_path / "one.h5", 1), measures_named(["cka", "cca"]))
    assert {(row.low, row.high) for row in alone.rows} == {(None, None)}
    assert the(alone, layer="conv1", measure="linear_cka").value is not None


@pytest.mark.parametrize("name", MEASURES)
def test_the_null_is_what_shuffling_gives(captured, table, name):
    x, y = (np.concatenate(activations(captured, "conv3", step)) for step in (0, 2))
    generator = np.random.default_rng(99)
    shuffled = np.array([MEASURES[name].function(x, y[generator.permutation(len(y))]).value for _ in range(40)])
    row = the(table, layer="conv3", step=2, measure=f"{name}_null")
    spread = shuffled.std(ddof=1) / np.sqrt(5) + shuffled.std(ddof=1) / np.sqrt(40)  # of a mean of five, and of this
    assert abs(row.value - shuffled.mean()) < 4 * spread
    assert row.n == len(x)  # the sketch of a capture this small holds every row
    value = the(table, layer="conv3", step=2, measure=name).value
    assert abs(value - row.value) > 10 * spread
    assert (row.low, row.high) == (None, None)


def test_the_same_store_gives_the_same_rows(captured, table):
    assert similarity(captured) == table
    two = similarity(captured, measures_named(["procrustes", "cka"]))
    assert {row.measure for row in two.rows} == {"procrustes", "procrustes_null", "linear_cka", "linear_cka_null"}
    assert set(two.rows) < set(table.rows)


def test_a_dead_layer_has_no_number_and_says_why(tmp_path):
    network = small_network(seed=1)
    with torch.no_grad():
        network.conv3.norm.weight.zero_()
        network.conv3.norm.bias.fill_(-1.0)  # ReLU makes every output 0, and nothing after it can vary
    table = similarity(capture(tmp_path / "s.h5", 4, network))
    for row in table.rows:
        if row.layer in ("conv1", "conv2"):
            assert (row.status, row.reason) == ("ok", None)
            assert row.value is not None
        else:
            assert (row.value, row.low, row.high, row.status) == (None, None, None, "undefined")
            width = 3 if row.layer == "head" else 4
            assert row.reason == f"dead layer: all {width} features of x are constant within rounding"


def test_too_few_samples_are_undefined_with_a_reason(tmp_path):
    tasks = some_tasks(1, n_query=1)
    store = probe.capture(small_network(seed=1), None, tasks, out=tmp_path / "s.h5", adaptation=ADAPTATION)
    for row in similarity(store, measures_named(["debiased_cka", "cca"])).rows:
        if row.layer == "head":  # three samples of three features
            assert (row.value, row.status, row.n) == (None, "undefined", 3)
            assert row.reason


def test_a_network_of_ones_own_has_rows_by_its_modules(tmp_path):
    network = foreign_network()
    store = probe.capture(network, None, some_tasks(4), out=tmp_path / "s.h5", adaptation=FOREIGN_ADAPTATION, raw=True)
    table = similarity(store, measures_named(["cka"]))
    x, y = (np.concatenate(activations(store, "0", step)) for step in (0, 2))
    row = the(table, layer="0", measure="linear_cka")
    assert row.value == pytest.approx(MEASURES["linear_cka"].function(x, y).value, abs=1e-8)
    assert (row.algorithm, row.seed, row.iteration) == (None, None, None)


def test_a_checkpoints_capture_names_it_in_every_row(tmp_path):
    imageset = make_imageset(9, 18, 16)
    last = train(tiny("anil", iterations=2, seed=7), imageset, tmp_path / "run")
    path = RunFolder(tmp_path / "run").checkpoint("last")
    table = similarity(probe.capture_checkpoint(path, imageset, tmp_path / "s.h5", tasks=3, n_query=4))
    identities = {(row.checkpoint, row.algorithm, row.seed, row.iteration, row.inner_steps) for row in table.rows}
    assert identities == {(last.fingerprint[:12], "anil", 7, 2, 2)}
    for name in ("linear_cka", "mean_cca", "procrustes"):
        for layer in LAYERS[:-1]:  # ANIL leaves its body as it was
            assert the(table, layer=layer, measure=name).value == pytest.approx(1, abs=1e-6)
        assert the(table, layer="head", measure=name).value < 1 - 1e-6


def test_aliases_and_unknown_measures():
    assert [measure.name for measure in measures_named(["cca", "cka", "svcca"])] == ["mean_cca", "linear_cka", "svcca"]
    assert set(ALIASES.values()) <= set(MEASURES)
    assert measures_named([]) == ()
    with pytest.raises(
        MetaprobeError, match=r"unknown measure 'svca'\. Did you mean svcca.*Known: mean_cca, .*, cka\.$"
    ):
        measures_named(["cka", "svca"])


def test_a_file_that_is_no_store_is_refused(tmp_path):
    (tmp_path / "s.h5").write_bytes(b"no store")
    with pytest.raises(UnreadableInput, match=r"s\.h5"):
        similarity(tmp_path / "s.h5")
