"""All tasks together: measures of whole activations, the bootstrap over tasks and seeds, and the null, done again."""

import functools

import numpy as np
import pytest
import torch

from metaprobe import probe
from metaprobe.analyses.bootstrap import task_draws
from metaprobe.analyses.image_null import image_null
from metaprobe.analyses.measures.measure import ALIASES, DEFAULTS, MEASURES
from metaprobe.analyses.similarity import measures_named, similarity, similarity_over_seeds
from metaprobe.trainers.errors import MetaprobeError, UnreadableInput
from metaprobe.trainers.files import sha256_of
from metaprobe.trainers.outer_loop import train
from metaprobe.trainers.run import RunFolder
from tests.captures import ADAPTATION, FOREIGN_ADAPTATION, foreign_network, small_network, some_tasks
from tests.conftest import make_imageset
from tests.test_training import tiny

pooled = functools.partial(similarity, over="tasks")
pooled_over_seeds = functools.partial(similarity_over_seeds, over="tasks")
OF_MOMENTS = [measure.name for measure in DEFAULTS]
TASKS = 12  # ten share their picks, and two
REPLICATES, PERMUTATIONS = 45, 40
LAYERS = ("conv1", "conv2", "conv3", "conv4", "head")


@pytest.fixture(scope="module")
def captured(tmp_path_factory):
    path = tmp_path_factory.mktemp("similarity") / "store.h5"
    return capture(path, TASKS, steps="all")


@pytest.fixture(scope="module")
def table(captured):
    return pooled(captured, replicates=REPLICATES, permutations=PERMUTATIONS)


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
        for name in [*(name for measure in OF_MOMENTS for name in (measure, f"{measure}_null")), "forced_correlations"]
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
@pytest.mark.parametrize("name", OF_MOMENTS)
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


def basic(value, replicates, measure):
    """The basic bootstrap's interval of one seed, by hand: ranks 2.5 % and 97.5 % of R + 1."""
    ordered = np.sort(replicates)
    ranks = [share * (len(ordered) + 1) - 1 for share in (0.975, 0.025)]
    cut = [ordered[int(rank)] + rank % 1 * (ordered[int(rank) + 1] - ordered[int(rank)]) for rank in ranks]
    return tuple(np.clip([2 * value - at for at in cut], *measure.range))


@pytest.mark.parametrize("layer", ["conv3", "head"])
@pytest.mark.parametrize("name", OF_MOMENTS)
def test_the_interval_is_a_bootstrap_that_draws_tasks(captured, table, name, layer):
    x, y = activations(captured, layer, 0), activations(captured, layer, 2)
    resampled = []
    for times in task_draws(TASKS, REPLICATES):
        tasks = [task for task in range(TASKS) for _ in range(times[task])]
        resampled.append(MEASURES[name].function(np.concatenate(x[tasks]), np.concatenate(y[tasks])).value)
    row = the(table, layer=layer, step=2, measure=name)
    assert (row.low, row.high) == pytest.approx(basic(row.value, resampled, MEASURES[name]), abs=1e-7)
    assert row.low < row.high


def test_one_task_has_no_interval_and_no_replicates_give_none(tmp_path, captured):
    alone = pooled(capture(tmp_path / "one.h5", 1), measures_named(["cka", "cca"]), permutations=0)
    assert {(row.low, row.high) for row in alone.rows} == {(None, None)}
    assert the(alone, layer="conv1", step=2, measure="linear_cka").value is not None
    none = pooled(captured, measures_named(["cka"]), replicates=0, permutations=0)
    assert {row.measure for row in none.rows} == {"linear_cka", "forced_correlations"}
    assert {(row.low, row.high) for row in none.rows} == {(None, None)}


@pytest.mark.parametrize("layer", ["conv3", "head"])
def test_the_null_is_that_of_exchanged_images(captured, table, layer):
    with probe.open_store(captured) as store:
        before, after = store.sketch(layer, 0), store.sketch(layer, 2)
        generator = np.random.default_rng([store.layers.index(layer), 2])
        nulls = image_null(before, after, [MEASURES[name] for name in OF_MOMENTS], generator, PERMUTATIONS)
    for name, null in zip(OF_MOMENTS, nulls, strict=True):
        row = the(table, layer=layer, step=2, measure=f"{name}_null")
        assert row.value == pytest.approx(null.mean, abs=1e-12)
        assert (row.low, row.high) == pytest.approx(
            tuple(np.quantile(null.values, [0.025, 0.975], method="weibull")), abs=1e-12
        )
        assert row.n == len(before.rows)
        if layer != "head":  # of all tasks together, whose labels are in any order, a head looks like chance
            assert the(table, layer=layer, step=2, measure=name).value > row.high


def test_a_sketch_whose_images_cannot_be_exchanged_has_no_null(tmp_path):
    store = probe.capture(
        small_network(seed=1), None, some_tasks(1), out=tmp_path / "s.h5", adaptation=ADAPTATION, sketch_rows=1
    )
    row = the(pooled(store, measures_named(["cka"])), layer="conv1", measure="linear_cka_null")
    assert (row.value, row.low, row.high, row.status) == (None, None, None, "undefined")
    assert "rows are of images that another image can replace" in row.reason


def test_forced_correlations_are_counted(tmp_path, table):
    assert {row.value for row in table.rows if row.measure == "forced_correlations"} == {0.0}
    few = probe.capture(
        small_network(seed=1), None, some_tasks(1, n_query=2), out=tmp_path / "s.h5", adaptation=ADAPTATION
    )
    row = the(pooled(few, measures_named(["cka"]), permutations=0), layer="head", measure="forced_correlations")
    assert (row.value, row.n, row.phase) == (1.0, 6, "pre-post")  # 3 + 3 − (6 − 1)


def test_the_same_store_gives_the_same_rows(captured, table):
    few = {"replicates": REPLICATES, "permutations": PERMUTATIONS}
    assert pooled(captured, **few) == table
    two = pooled(captured, measures_named(["procrustes", "cka"]), **few)
    names = {"procrustes", "procrustes_null", "linear_cka", "linear_cka_null", "forced_correlations"}
    assert {row.measure for row in two.rows} == names
    assert set(two.rows) < set(table.rows)


def test_a_dead_layer_has_no_number_and_says_why(tmp_path):
    network = small_network(seed=1)
    with torch.no_grad():
        network.conv3.norm.weight.zero_()
        network.conv3.norm.bias.fill_(-1.0)  # ReLU makes every output 0, and nothing after it can vary
    table = pooled(capture(tmp_path / "s.h5", 4, network), replicates=REPLICATES, permutations=PERMUTATIONS)
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
    for row in pooled(store, measures_named(["debiased_cka", "cca"])).rows:
        if row.layer == "head" and row.measure != "forced_correlations":  # three samples of three features
            assert (row.value, row.status, row.n) == (None, "undefined", 3)
            assert row.reason


def test_a_network_of_ones_own_has_rows_by_its_modules(tmp_path):
    network = foreign_network()
    store = probe.capture(network, None, some_tasks(4), out=tmp_path / "s.h5", adaptation=FOREIGN_ADAPTATION, raw=True)
    table = pooled(store, measures_named(["cka"]))
    x, y = (np.concatenate(activations(store, "0", step)) for step in (0, 2))
    row = the(table, layer="0", measure="linear_cka")
    assert row.value == pytest.approx(MEASURES["linear_cka"].function(x, y).value, abs=1e-8)
    assert (row.algorithm, row.seed, row.iteration) == (None, None, None)


def test_a_checkpoints_capture_names_it_in_every_row(tmp_path):
    imageset = make_imageset(9, 18, 16)
    last = train(tiny("anil", iterations=2, seed=7), imageset, tmp_path / "run")
    path = RunFolder(tmp_path / "run").checkpoint("last")
    table = pooled(probe.capture_checkpoint(path, imageset, tmp_path / "s.h5", tasks=3, n_query=4))
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
        MetaprobeError, match=r"unknown measure 'svca'\. Did you mean svcca.*Known: mean_cca, .*, shape_metric\.$"
    ):
        measures_named(["cka", "svca"])


def test_a_file_that_is_no_store_is_refused(tmp_path):
    (tmp_path / "s.h5").write_bytes(b"no store")
    with pytest.raises(UnreadableInput, match=r"s\.h5"):
        pooled(tmp_path / "s.h5")
