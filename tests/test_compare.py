"""Two checkpoints against each other: values, intervals and nulls done again on whole activations, and refusals."""

import dataclasses
import functools
import json

import numpy as np
import pytest
import torch
from torch import nn

import probe
from analyses.aligned import aligned_rows
from analyses.bootstrap import task_draws
from analyses.compare import PHASES, compare, compare_layers, phases_named
from analyses.measures.measure import DEFAULTS, MEASURES
from analyses.similarity import measures_named
from probe.cli import main
from probe.store import open_store
from probe.store.picking import picked_rows
from tests import reference_measures
from tests.captures import ADAPTATION, FOREIGN_ADAPTATION, sampler, small_network, some_tasks
from trainers.errors import MetaprobeError, UnreadableInput
from trainers.files import sha256_of

pooled = functools.partial(compare, over="tasks")
TASKS = 5
LAYERS = ("conv1", "conv2", "conv3", "conv4", "head")
THREE = measures_named(["cca", "cka", "debiased_cka"])
QUICK = {"replicates": 0, "permutations": 0}


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


def capture(path, seed, tasks=None, network=None, adaptation=ADAPTATION, **options):
    network = network or small_network(seed=seed)
    tasks = some_tasks(TASKS) if tasks is None else tasks
    return probe.capture(network, None, tasks, out=path, adaptation=adaptation, raw=True, **options)


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


def the(table, **wanted):
    (row,) = [row for row in table.rows if all(getattr(row, name) == value for name, value in wanted.items())]
    return row


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
    monkeypatch.setattr("probe.store.writing.picked_rows", lambda seed, *rest: picked_rows(seed + 1, *rest))
    theirs = capture(tmp_path / "b.h5", 2, tasks, sketch_rows=3000)
    found = the(
        pooled(ours, theirs, THREE, phases=[("pre", "pre")], layers="matching", **QUICK),
        layer="conv1", other_layer="conv1", measure="mean_cca",
    )  # fmt: skip
    assert found.value is None
    assert "another version of metaprobe picked one of them; capture again" in found.reason


def test_too_few_shared_places_are_undefined_with_the_numbers(tmp_path):
    a, b = (capture(tmp_path / f"{s}.h5", s, sketch_rows=30) for s in (1, 2))
    table = pooled(a, b, THREE, phases=[("pre", "pre")], replicates=40, permutations=0)
    row = the(table, layer="conv1", other_layer="conv2", measure="mean_cca")
    assert (row.value, row.low, row.status, row.samples) == (None, None, "undefined", "positions")
    assert "places of the two feature maps, 40 are needed for 4 and 4 features; capture fewer tasks" in row.reason
    assert the(table, layer="conv1", other_layer="conv1", measure="mean_cca").value is not None


class Strided(nn.Module):
    """A convolution whose map is finer one way, and a head."""

    def __init__(self, stride, seed):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.conv = nn.Conv2d(1, 4, 3, stride=stride, padding=1)
            self.head = nn.Linear(4, 3)

    def forward(self, x):
        return self.head(torch.relu(self.conv(x)).mean(dim=(2, 3)))


def strided(stride, seed=0):
    return Strided(stride, seed).to(torch.float64)


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


def test_a_dead_layer_has_no_number_and_says_why(tmp_path, stores):
    network = small_network(seed=3)
    with torch.no_grad():
        network.conv3.norm.weight.zero_()
        network.conv3.norm.bias.fill_(-1.0)
    table = pooled(stores[0], capture(tmp_path / "dead.h5", 3, network=network), THREE, replicates=40, permutations=3)
    for row in table.rows:
        if row.other_layer in ("conv1", "conv2"):
            assert row.status == "ok" and row.value is not None
        elif row.phase == "pre-pre" and row.other_layer in ("conv3", "conv4"):
            assert (row.value, row.low, row.high, row.status) == (None, None, None, "undefined")
            assert row.reason == "dead layer: all 4 features of y are constant within rounding"


@pytest.mark.parametrize(
    ("other", "what"),
    [
        ({"seed": 1}, "support ids of task 0, image 0: expected "),
        ({"n_query": 5}, "query images in a task: expected 12, as in a.h5, got 15 in other.h5"),
    ],
)
def test_other_tasks_are_refused(tmp_path, stores, other, what):
    path = capture(tmp_path / "other.h5", 2, some_tasks(TASKS, **other))
    with pytest.raises(MetaprobeError, match=what) as refused:
        pooled(stores[0], path, THREE, **QUICK)
    told = str(refused.value)
    assert str(stores[0]) in told and str(path) in told and told.endswith("same --data, --tasks, --seed and --n-query")
    assert refused.value.exit_code == 2


def test_another_number_or_order_of_tasks_is_refused(tmp_path, stores):
    fewer = capture(tmp_path / "fewer.h5", 2, some_tasks(TASKS - 1))
    with pytest.raises(MetaprobeError, match=r"number of tasks: expected 5, as in a.h5, got 4 in fewer.h5"):
        pooled(stores[0], fewer, THREE, **QUICK)
    order = capture(tmp_path / "order.h5", 2, sampler().batch([0, 1, 3, 2, 4]))
    with pytest.raises(MetaprobeError, match=r"index of the task in place 2: expected 2, as in a.h5, got 3"):
        pooled(stores[0], order, THREE, **QUICK)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (
            {"data_fingerprint": "f" * 64, "data": "other"},
            r"data: expected unnamed \(no fingerprint\).*got other \(fff",
        ),
        ({"split": "val"}, "split: expected not told, as in a.h5, got val in b.h5"),
        ({"task_seed": 3}, "seed of the tasks: expected not told, as in a.h5, got 3 in b.h5"),
        ({"sketch_seed": 4}, "seed of the sketch: expected 0, as in a.h5, got 4 in b.h5"),
    ],
)
def test_every_part_of_a_task_sets_identity_counts(stores, change, what):
    with open_store(stores[0]) as a, open_store(stores[1]) as b:
        from analyses.aligned import check_same_tasks

        check_same_tasks(a, b)
        b.metadata = dataclasses.replace(b.metadata, **change)
        with pytest.raises(MetaprobeError, match=what):
            check_same_tasks(a, b)


def test_stores_without_a_layer_in_common_compare_all_or_are_refused(tmp_path, stores):
    adaptation = dataclasses.replace(FOREIGN_ADAPTATION, layers=("conv", "head"))
    other = capture(tmp_path / "f.h5", 0, network=strided((2, 2)), adaptation=adaptation, layers="conv")
    part = capture(tmp_path / "p.h5", 1, layers="conv1")
    with pytest.raises(MetaprobeError, match=r"no layer has the same name in both: p\.h5 has conv1, f\.h5 has conv;"):
        pooled(part, other, THREE, layers="matching", **QUICK)
    assert {(row.layer, row.other_layer) for row in pooled(part, other, THREE, **QUICK).rows} == {("conv1", "conv")}


def test_what_is_no_store_is_refused(tmp_path, stores):
    (tmp_path / "s.h5").write_bytes(b"no store")
    with pytest.raises(UnreadableInput, match=r"s\.h5"):
        pooled(stores[0], tmp_path / "s.h5", THREE)


def test_a_resample_without_a_row_has_no_value(stores):
    with open_store(stores[0]) as a, open_store(stores[1]) as b:
        samples, found = compare_layers(
            a, b, ("head", "head"), PHASES["pre-pre"], THREE, over="tasks", replicates=40, permutations=0
        )
    assert samples == "images"
    assert all(np.isfinite(compared.replicates).all() and compared.null is None for compared in found.values())


def cli(capsys, *words):
    status = main(["similarity", "--over", "tasks", *map(str, words)])
    out, err = capsys.readouterr()
    return status, out, err


def test_the_command_compares_every_two_stores(stores, capsys, tmp_path):
    third = capture(tmp_path / "c.h5", 3)
    csv, figure = tmp_path / "t.csv", tmp_path / "t.svg"
    words = (
        *stores,
        third,
        "--measures",
        "cka",
        "--phases",
        "pre-pre",
        "--csv",
        csv,
        "--figure",
        figure,
        "--json",
        "--replicates",
        "39",
        "--permutations",
        "2",
    )
    status, out, _ = cli(capsys, *words)
    found = json.loads(out)
    assert status == 0
    assert len(found) == 3 * (25 + 5) == len(csv.read_text().splitlines()) - 1
    assert {row["phase"] for row in found} == {"pre-pre"}
    assert len({(row["checkpoint"], row["other_checkpoint"]) for row in found}) == 3
    assert figure.read_text().startswith("<svg") and "Before adaptation" in figure.read_text()


def test_each_store_by_itself_as_before(stores, capsys):
    status, out, _ = cli(capsys, *stores, "--each", "--measures", "cka", "--permutations", "2")
    assert status == 0
    lines = [line.split("\t") for line in out.splitlines()]
    assert "other_layer" not in lines[0]
    assert {row[lines[0].index("phase")] for row in lines[1:]} == {"pre-post"}


def test_matching_layers_and_a_pdf(stores, capsys, tmp_path):
    figure = tmp_path / "t.pdf"
    few = ("--replicates", "39", "--permutations", "2")
    status, out, _ = cli(capsys, *stores, "--measures", "cka", "--layers", "matching", "--figure", figure, *few)
    assert status == 0
    assert figure.read_bytes().startswith(b"%PDF")
    assert len(out.splitlines()) == 1 + 2 * 5 * 2


@pytest.mark.parametrize(
    ("words", "status", "what"),
    [
        (["{a}", "{a}"], 2, "a.h5 is given twice; name each store once, or compare with itself by --each"),
        (["{a}", "{b}", "--phases", "pre"], 2, "unknown phase 'pre'. Did you mean pre-pre"),
        (["{a}", "{b}", "--phases", ""], 2, "give at least one phase after --phases; got none"),
        (["{a}", "{b}", "--figure", "x.png"], 2, "by the file's ending, .svg or .pdf; got x.png"),
        (["{a}", "--figure", "x.svg"], 2, "--figure is for comparing stores with each other; give two, without --each"),
        (["{a}", "{b}", "--each", "--phases", "pre-pre"], 2, "--phases is for comparing stores with each other"),
        (["{a}", "missing.h5"], 3, "missing.h5"),
        (["{a}", "{text}"], 3, "text.h5"),
    ],
)  # fmt: skip
def test_bad_input_is_told_in_one_line(stores, capsys, tmp_path, words, status, what):
    text = tmp_path / "text.h5"
    text.write_text("no store")
    given = [word.format(a=stores[0], b=stores[1], text=text) for word in words]
    code, out, err = cli(capsys, *given, "--measures", "cka")
    assert (code, out) == (status, "")
    assert err.count("\n") == 1 and what in err


def test_another_task_set_is_told_in_one_line(stores, capsys, tmp_path):
    other = capture(tmp_path / "o.h5", 2, some_tasks(TASKS, n_query=5))
    status, out, err = cli(capsys, stores[0], other)
    assert (status, out) == (2, "")
    assert "were not captured on the same tasks: query images in a task: expected 12" in err and err.count("\n") == 1
