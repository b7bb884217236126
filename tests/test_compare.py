"""Two checkpoints against each other: values, intervals and nulls done again on whole activations, and refusals."""

import dataclasses

import numpy as np
import pytest

from metaprobe.analyses.aligned import aligned_rows
from metaprobe.analyses.bootstrap import task_draws
from metaprobe.analyses.compare import PHASES, phases_named
from metaprobe.analyses.measures.measure import DEFAULTS, MEASURES
from metaprobe.probe.store import open_store
from metaprobe.probe.store.picking import picked_rows
from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.files import sha256_of
from tests import reference_measures
from tests.captures import FOREIGN_ADAPTATION, some_tasks
from tests.compared_stores import QUICK, TASKS, THREE, capture, pooled, strided, the

LAYERS = ("conv1", "conv2", "conv3", "conv4", "head")


def linear_cka(x, y):
    x, y = reference_measures.centred(x), reference_measures.centred(y)
    return (np.linalg.norm(x.T @ y) ** 2) / (np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y))


def debiased_cka(x, y):
    """HSIC₁ of Song et al. (2012, eq. 5) on Gram matrices."""

    def hsic(k, m):
        n = len(k)
        return (k * m).sum() + k.sum() * m.sum() / ((n - 1) * (n - 2)) - 2 / (n - 2) * (k.sum(0) @ m.sum(0))

    k, m = x @ x.T, y @ y.T
    np.fill_diagonal(k, 0)
    np.fill_diagonal(m, 0)
    return hsic(k, m) / np.sqrt(hsic(k, k) * hsic(m, m))


REFERENCE = {"mean_cca": reference_measures.mean_cca, "linear_cka": linear_cka, "debiased_cka": debiased_cka}


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    base = tmp_path_factory.mktemp("compare")
    return tuple(capture(base / f"{name}.h5", seed) for name, seed in (("a", 1), ("b", 2)))


@pytest.fixture(scope="module")
def table(stores):
    return pooled(*stores, THREE, replicates=40, permutations=40)


def maps(path, layer, phase, size=None):
    """Whole activations (task, sample, position, feature), maps repeated to `size` × `size`."""
    with open_store(path) as store:
        step = 0 if phase == "pre" else store.steps[-1]
        blocks = np.stack([store.activations(layer, step, task) for task in range(store.tasks)])
    if blocks.ndim == 3:
        blocks = blocks[..., None, None]
    tasks, samples, channels, height, _ = blocks.shape
    times = (size or height) // height
    blocks = blocks.repeat(times, axis=3).repeat(times, axis=4)
    return blocks.transpose(0, 1, 3, 4, 2).reshape(tasks, samples, -1, channels)


def flat(blocks):
    return blocks.reshape(-1, blocks.shape[-1])


SIZE = {"conv1": 8, "conv2": 4, "conv3": 2, "conv4": 1, "head": 1}


def test_there_is_a_row_for_each_phase_pair_of_layers_and_measure(stores, table):
    expected = [
        (phase, x, y, name)
        for phase in ("pre-pre", "post-post")
        for x in LAYERS
        for y in LAYERS
        for measure in THREE
        for name in ((measure.name, f"{measure.name}_null") if x == y else (measure.name,))
    ]
    assert [(row.phase, row.layer, row.other_layer, row.measure) for row in table.rows] == expected
    a, b = stores
    with open_store(a) as one, open_store(b) as other:
        names = (one.fingerprint[:12], other.fingerprint[:12])
    assert {(row.checkpoint, row.other_checkpoint) for row in table.rows} == {names}
    assert {row.source for row in table.rows} == {f"{sha256_of(a)[:12]}+{sha256_of(b)[:12]}"}
    assert {(row.inner_steps, row.step, row.status) for row in table.rows} == {(2, None, "ok")}
    assert {row.samples for row in table.rows if row.layer == row.other_layer == "head"} == {"images"}
    assert {row.samples for row in table.rows if (row.layer, row.other_layer) != ("head", "head")} == {"positions"}


@pytest.mark.parametrize("phase", ["pre-pre", "post-post"])
@pytest.mark.parametrize(
    ("x", "y"),
    [(x, x) for x in LAYERS] + [("conv1", "conv2"), ("conv3", "conv1"), ("conv2", "head"), ("head", "conv4")],
)
def test_values_are_those_of_whole_maps_the_coarser_one_repeated(stores, table, x, y, phase):
    size = max(SIZE[x], SIZE[y])
    first, second = phase.split("-")
    rows = flat(maps(stores[0], x, first, size)), flat(maps(stores[1], y, second, size))
    for name, reference in REFERENCE.items():
        row = the(table, layer=x, other_layer=y, measure=name, phase=phase)
        assert row.n == len(rows[0])
        assert row.value == pytest.approx(reference(*rows), abs=1e-7)


def test_phases_mix_as_they_are_named(stores):
    table = pooled(*stores, THREE, phases=phases_named(["pre-post", "post-pre"]), layers="matching", **QUICK)
    assert {row.phase for row in table.rows} == {"pre-post", "post-pre"}
    assert [row.layer for row in table.rows] == [row.other_layer for row in table.rows]
    for phase in ("pre-post", "post-pre"):
        first, second = PHASES[phase]
        x, y = (flat(maps(store, "conv3", p)) for store, p in zip(stores, (first, second), strict=True))
        row = the(table, layer="conv3", measure="linear_cka", phase=phase)
        assert row.value == pytest.approx(linear_cka(x, y), abs=1e-8)
        assert (row.low, row.high) == (None, None)
    with pytest.raises(MetaprobeError, match=r"unknown phase 'prepre'\. Did you mean pre-pre.*post-post"):
        phases_named(["prepre"])


def test_a_store_against_itself_is_alike(stores):
    table = pooled(stores[0], stores[0], layers="matching", **QUICK)
    of_moments = [row for row in table.rows if not row.measure.startswith("rsa")]
    assert len(of_moments) == 2 * len(LAYERS) * len(DEFAULTS)
    assert all(row.value == pytest.approx(1, abs=1e-9) for row in of_moments)


@pytest.mark.parametrize("name", REFERENCE)
def test_the_interval_draws_tasks_again(stores, table, name):
    x, y = (maps(store, "conv2", "pre") for store in stores)
    values = [
        REFERENCE[name](*(flat(np.repeat(side, draw, axis=0)) for side in (x, y))) for draw in task_draws(TASKS, 40)
    ]
    row = the(table, layer="conv2", other_layer="conv2", measure=name, phase="pre-pre")
    lowest, highest = MEASURES[name].range
    low, high = (2 * row.value - end for end in np.quantile(values, [0.975, 0.025], method="weibull"))
    assert row.low == pytest.approx(np.clip(low, lowest, highest), abs=1e-6)
    assert row.high == pytest.approx(np.clip(high, lowest, highest), abs=1e-6)
    assert row.low < row.high


def test_the_null_is_what_exchanged_images_give(stores, table):
    x, y = (maps(store, "conv2", "pre").reshape(-1, 16, 4) for store in stores)  # (image, position, feature)
    generator = np.random.default_rng(7)
    orders = [generator.permutation(len(y)) for _ in range(60)]
    for name, reference in REFERENCE.items():
        values = [reference(flat(x), flat(y[order])) for order in orders]
        row = the(table, layer="conv2", other_layer="conv2", measure=f"{name}_null", phase="pre-pre")
        assert abs(row.value - np.mean(values)) < 4 * np.std(values) * (1 / 40 + 1 / 60) ** 0.5 + 0.02 * abs(row.value)
        assert row.low <= row.value <= row.high
        assert row.value < the(table, layer="conv2", other_layer="conv2", measure=name, phase="pre-pre").value


def test_the_same_stores_give_the_same_rows(stores, table):
    heard = []
    again = pooled(*stores, THREE, replicates=40, permutations=40, progress=lambda *told: heard.append(told))
    assert again == table
    assert heard == [(done, 50) for done in range(1, 51)]


def test_sketches_that_hold_a_part_of_the_rows_estimate_the_whole(tmp_path, stores):
    tasks = some_tasks(20)
    pairs = [(capture(tmp_path / f"{s}{n}.h5", s, tasks, sketch_rows=n)) for n in (3000, 20_000) for s in (1, 2)]
    part, whole = (pooled(a, b, THREE, phases=[("pre", "pre")], **QUICK) for a, b in (pairs[:2], pairs[2:]))
    few = the(part, layer="conv1", other_layer="conv2", measure="debiased_cka")
    all_rows = the(whole, layer="conv1", other_layer="conv2", measure="debiased_cka")
    assert few.n == 3000 < all_rows.n  # the picks of a coarser map lie over those of the finer one
    assert few.value == pytest.approx(all_rows.value, abs=0.03)


def test_rows_picked_by_another_version_are_not_compared_by_their_accidental_overlap(tmp_path, monkeypatch):
    tasks = some_tasks(20)
    ours = capture(tmp_path / "a.h5", 1, tasks, sketch_rows=3000)
    monkeypatch.setattr("metaprobe.probe.store.writing.picked_rows", lambda seed, *rest: picked_rows(seed + 1, *rest))
    theirs = capture(tmp_path / "b.h5", 2, tasks, sketch_rows=3000)
    found = the(
        pooled(ours, theirs, THREE, phases=[("pre", "pre")], layers="matching", **QUICK),
        layer="conv1", other_layer="conv1", measure="mean_cca",
    )  # fmt: skip
    assert found.value is None
    assert "another version of metaprobe picked one of them; capture again" in found.reason


def test_maps_of_which_neither_is_finer_are_undefined_and_others_are_centred(tmp_path):
    adaptation = dataclasses.replace(FOREIGN_ADAPTATION, layers=("conv", "head"))
    strides = {"wide": (4, 2), "tall": (2, 4), "odd": (3, 3), "fine": (2, 2)}
    found = {
        name: capture(tmp_path / f"{name}.h5", 0, network=strided(stride), adaptation=adaptation)
        for name, stride in strides.items()
    }
    row = the(pooled(found["wide"], found["tall"], THREE, **QUICK), layer="conv", other_layer="conv", phase="pre-pre",
              measure="mean_cca")  # fmt: skip
    assert (row.value, row.status) == (None, "undefined")
    assert row.reason == "feature maps of 4×8 and 8×4 positions: neither is finer than the other in every direction"
    with open_store(found["fine"]) as a, open_store(found["odd"]) as b:  # 8×8 against 6×6
        rows = aligned_rows(a, b, ("conv", "conv"), (0, 0))
        fine, odd = a.activations("conv", 0, 3), b.activations("conv", 0, 3)
    cells = [int((p + 0.5) * 6 / 8) for p in range(8)]
    here = rows.x.tasks == 3
    for x, y, sample, position in zip(
        rows.x.rows[here], rows.y.rows[here], rows.y.samples[here], rows.y.positions[here], strict=True
    ):
        i, j = divmod(int(position), 8)
        assert np.array_equal(x, fine[sample, :, i, j])
        assert np.array_equal(y, odd[sample, :, cells[i], cells[j]])


def test_a_map_of_another_size_has_a_null_too(tmp_path):
    adaptation = dataclasses.replace(FOREIGN_ADAPTATION, layers=("conv", "head"))
    a, b = (
        capture(tmp_path / f"{s}.h5", 0, network=strided(stride, s), adaptation=adaptation)
        for s, stride in enumerate([(4, 4), (2, 2)])
    )
    row = the(pooled(a, b, THREE, replicates=0, permutations=5), layer="conv", other_layer="conv", phase="pre-pre",
              measure="mean_cca_null")  # fmt: skip
    assert row.value is not None and row.n == TASKS * 12 * 64
