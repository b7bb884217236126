"""The null of exchanged images: what it exchanges, what it keeps, and that it is computed right."""

import dataclasses

import numpy as np
import pytest

from metaprobe.analyses.image_null import PERMUTATIONS, image_classes, image_null, null_ends
from metaprobe.analyses.measures.measure import MEASURES, shuffled_nulls
from metaprobe.probe.store import Sketch
from metaprobe.probe.store.picking import GROUP, picked_rows

ALL = tuple(measure for measure in MEASURES.values() if measure.needs == "moments")
TASKS, SAMPLES, POSITIONS, PICKED = 12, 6, 9, 20  # 10 tasks with one pick, 2 with another


def sketch(values, *, tasks=TASKS, picked=PICKED, dtype=np.float64):
    """Return a sketch of `values` (task, sample, position, feature), picked as a store picks."""
    places = np.concatenate(
        [task * SAMPLES * POSITIONS + picked_rows(0, task, SAMPLES, (3, 3), picked) for task in range(tasks)]
    )
    task, sample, position = np.unravel_index(places, (tasks, SAMPLES, POSITIONS))
    rows = values.reshape(-1, values.shape[-1])[places].astype(dtype)
    return Sketch(rows, task, sample, position, sample, sample % 3)


def noise(seed, features=4, tasks=TASKS):
    return np.random.default_rng(seed).normal(size=(tasks, SAMPLES, POSITIONS, features))


def related(tasks=TASKS):
    x = noise(0, tasks=tasks)
    return sketch(x, tasks=tasks), sketch(x[..., :3] + 0.5 * noise(1, 3, tasks), tasks=tasks)


def by_hand(x, y, measures, seed, permutations):
    """The null with rows moved one by one and measures of arrays."""
    images = {}
    for row, image in enumerate(zip(x.tasks.tolist(), x.samples.tolist(), strict=True)):
        images.setdefault(image, []).append(row)
    classes = {}
    for rows in images.values():
        classes.setdefault(tuple(x.positions[row] for row in rows), []).append(rows)
    classes = [members for members in classes.values() if len(members) > 1]
    generator, values = np.random.default_rng(seed), []
    for _ in range(permutations):
        left, right = [], []
        for size in sorted({len(members) for members in classes}):
            alike = [members for members in classes if len(members) == size]
            orders = generator.permuted(np.tile(np.arange(size), (len(alike), 1)), axis=1).tolist()
            for members, order in zip(alike, orders, strict=True):
                for image, other in zip(order, order[1:] + order[:1], strict=True):
                    assert image != other
                    for row, given in zip(members[image], members[other], strict=True):
                        assert x.positions[row] == x.positions[given]
                        left.append(x.rows[row])
                        right.append(y.rows[given])
        values.append([measure.function(np.array(left), np.array(right)).value for measure in measures])
    return np.array(values)


@pytest.mark.parametrize("offset", [0.0, 1e3])
def test_the_null_is_that_of_rows_exchanged_by_hand(offset):
    x, y = (dataclasses.replace(side, rows=side.rows + offset) for side in related())
    nulls = image_null(x, y, ALL, np.random.default_rng(7), 5)
    expected = by_hand(x, y, ALL, 7, 5)
    for null, values in zip(nulls, expected.T, strict=True):
        assert null.values == pytest.approx(tuple(values), abs=1e-9)
        assert null.mean == pytest.approx(values.mean(), abs=1e-9)
        assert null.spread == pytest.approx(values.std(ddof=1), abs=1e-9)
        assert null.reason == ""


def test_images_of_other_networks_are_unrelated_and_of_the_same_one_too():
    x, y = related()
    measure = MEASURES["debiased_cka"]
    (null,) = image_null(x, x, [measure], np.random.default_rng(0), 30)
    assert measure.function(x.rows, x.rows).value == pytest.approx(1)
    assert abs(null.mean) < 0.02  # a random permutation of ten keeps one image in ten, and would give 0.01 more
    (other,) = image_null(x, y, [measure], np.random.default_rng(0), 30)
    assert abs(other.mean) < 0.02


def test_what_position_alone_decides_stays_similar():
    pattern = 3 * np.random.default_rng(2).normal(size=(POSITIONS, 4))
    x, y = sketch(pattern + noise(3)), sketch(pattern[:, ::-1] ** 3 / 9 + noise(4))
    measures = [MEASURES["mean_cca"], MEASURES["linear_cka"], MEASURES["debiased_cka"]]
    whole = image_null(x, y, measures, np.random.default_rng(0), 20)
    singly = shuffled_nulls(measures, x.rows, y.rows, np.random.default_rng(0), 20)
    for measure, images, rows in zip(measures, whole, singly, strict=True):
        value = measure.function(x.rows, y.rows).value
        assert images.mean == pytest.approx(value, abs=0.05)  # images share nothing but the pattern
        assert images.mean > rows.mean + 0.3


def test_the_same_generator_gives_the_same_null():
    x, y = related()
    one, two, other = (image_null(x, y, ALL, np.random.default_rng(seed), 3) for seed in (1, 1, 2))
    assert one == two
    assert one != other
    assert [null.values for null in image_null(x, y, ALL[::-1], np.random.default_rng(1), 3)] == [
        null.values for null in one[::-1]
    ]


def test_a_pick_is_a_groups_and_a_smaller_one_is_part_of_it():
    picks = [picked_rows(0, index, 10, (10, 10), 40 + index % 2) for index in range(2 * GROUP)]
    for index in range(GROUP):
        np.testing.assert_array_equal(picks[index], picks[index % 2])
    assert set(picks[0]) < set(picks[1])
    assert len(set(picks[0]) & set(picks[GROUP])) < 20
    assert not picks[0].flags.writeable


def test_every_image_of_a_group_can_be_replaced():
    x, _ = related()
    classes = image_classes(x)
    assert sum(rows.size for rows in classes) == len(x.rows) == TASKS * PICKED
    for rows in classes:
        for image in rows:
            assert len(set(x.tasks[image])) == len(set(x.samples[image])) == 1
            np.testing.assert_array_equal(x.positions[image], x.positions[rows[0]])


def test_the_order_of_rows_means_nothing_to_the_classes():
    x, _ = related()
    order = np.random.default_rng(0).permutation(len(x.rows))
    mixed = Sketch(*(getattr(x, field.name)[order] for field in dataclasses.fields(x)))
    assert sum(rows.size for rows in image_classes(mixed)) == 0 or all(
        len(np.unique(mixed.positions[rows], axis=0)) == 1 for rows in image_classes(mixed)
    )


def test_without_partners_there_is_no_null_and_the_reason_says_what_to_do():
    x, y = (only(side, side.samples == 0) for side in related(tasks=1))
    (null,) = image_null(x, y, [MEASURES["linear_cka"]], np.random.default_rng(0), 5)
    assert (null.mean, null.spread, null.values) == (None, None, ())
    assert f"0 of {len(x.rows)} rows are of images that another image can replace" in null.reason
    assert "90% are needed; capture again" in null.reason


def only(side, rows):
    return Sketch(*(getattr(side, field.name)[rows] for field in dataclasses.fields(side)))


def test_the_images_of_one_task_can_be_exchanged():
    x, y = related(tasks=1)
    assert sum(rows.size for rows in image_classes(x)) == len(x.rows)
    nulls = image_null(x, y, ALL, np.random.default_rng(7), 5)
    for null, values in zip(nulls, by_hand(x, y, ALL, 7, 5).T, strict=True):
        assert null.values == pytest.approx(tuple(values), abs=1e-9)


def test_images_without_a_partner_are_left_out():
    x, y = related(tasks=11)  # the eleventh picks alone, and of it a single image is left
    kept = (x.tasks < 10) | (x.samples == 0)
    x, y = only(x, kept), only(y, kept)
    alone = set(np.flatnonzero(x.tasks == 10).tolist())
    assert alone and not alone & {int(row) for rows in image_classes(x) for row in rows.ravel()}
    nulls = image_null(x, y, ALL, np.random.default_rng(7), 3)
    expected = by_hand(x, y, ALL, 7, 3)
    for null, values in zip(nulls, expected.T, strict=True):
        assert null.values == pytest.approx(tuple(values), abs=1e-9)


def test_a_dead_layer_has_no_null():
    x, y = related()
    dead = dataclasses.replace(x, rows=np.zeros_like(x.rows))
    for null in image_null(dead, y, ALL, np.random.default_rng(0), 2):
        assert null.mean is None
        assert null.reason.startswith("dead layer")


def test_what_does_not_line_up_is_refused():
    x, y = related()
    with pytest.raises(ValueError, match="the positions of the rows of x and y differ; align the sketches first"):
        image_null(x, dataclasses.replace(y, positions=y.positions[::-1]), ALL, np.random.default_rng(0), 2)
    with pytest.raises(ValueError, match="permutations must be at least 1, got 0"):
        image_null(x, y, ALL, np.random.default_rng(0), 0)


@pytest.mark.parametrize("count", [39, 40, 200])
def test_the_ends_of_a_null_are_quantiles_that_exist(count):
    values = np.random.default_rng(count).gamma(2.0, size=count)
    ordered = sorted(values.tolist())

    def ranked(place):  # of rank `place`, counted from 1, linear between neighbours
        below = int(place)
        return ordered[below - 1] + (place - below) * (ordered[min(below, count - 1)] - ordered[below - 1])

    expected = [ranked((count + 1) * share) for share in (0.025, 0.975)]
    assert null_ends(tuple(values)) == pytest.approx(expected, rel=1e-12)
    if count == 39:
        assert null_ends(tuple(values)) == (ordered[0], ordered[-1])


@pytest.mark.parametrize("count", [1, 6, 38])
def test_of_too_few_orders_no_quantile_is_named(count):
    assert null_ends(tuple(range(count))) == (None, None)
    assert null_ends(tuple(range(PERMUTATIONS))) != (None, None)
