"""How well two groupings agree, by references that share no code with what is tested."""

import itertools
import math

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from metaprobe.analyses.clustering.partitions import (
    adjusted_rand,
    agreement_scores,
    between_score,
    chance_of_agreeing,
    normalised_mutual_information,
    purity,
    resampled,
    table_of,
)

FUNCTIONS = {
    "purity": purity,
    "adjusted_rand": adjusted_rand,
    "normalised_mutual_information": normalised_mutual_information,
}

# Manning, Raghavan and Schütze (2008), Section 16.3: 17 points of three classes in three clusters.
BOOK = np.array([[5, 1, 2], [1, 4, 0], [0, 1, 3]])


def labels_of(table):
    pairs = [(g, c) for g, row in enumerate(table) for c, count in enumerate(row) for _ in range(count)]
    return np.array(pairs).T


def rand_by_pairs(table):
    """Hubert and Arabie's index from its definition: pairs of points, counted one by one."""
    groups, clusters = labels_of(table)
    pairs = list(itertools.combinations(range(len(groups)), 2))
    same = [(groups[i] == groups[j], clusters[i] == clusters[j]) for i, j in pairs]
    both, first, second = (sum(bool(test(pair)) for pair in same) for test in (all, lambda p: p[0], lambda p: p[1]))
    expected = first * second / len(pairs)
    return (both - expected) / ((first + second) / 2 - expected)


def test_the_textbook_example():
    scores = agreement_scores(*labels_of(BOOK), 3, np.random.default_rng(0))
    assert scores["purity"].value == pytest.approx(12 / 17)
    assert scores["normalised_mutual_information"].value == pytest.approx(0.36, abs=0.005)
    assert scores["adjusted_rand"].value == pytest.approx(rand_by_pairs(BOOK), abs=1e-12)
    for name, function in FUNCTIONS.items():
        assert float(function(BOOK)) == pytest.approx(scores[name].value, abs=1e-12)


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ([[7, 0], [0, 5]], (1, 1, 1)),
        ([[0, 7], [5, 0]], (1, 1, 1)),  # which cluster is which does not matter
        ([[5, 5], [5, 5]], (1 / 2, -1 / 18, 0)),
        ([[9, 0], [3, 0]], (3 / 4, 0, 0)),  # one cluster takes all
        ([[2, 1, 0], [0, 0, 3]], (1, None, None)),
    ],
)
def test_tables_worked_out_by_hand(table, expected):
    for function, value in zip(FUNCTIONS.values(), expected, strict=True):
        if value is not None:
            assert float(function(np.array(table))) == pytest.approx(value, abs=1e-12)


def test_many_tables_at_once_give_what_scikit_learn_gives_for_each():
    generator = np.random.default_rng(1)
    tables = generator.integers(0, 9, (60, 3, 4)) * generator.integers(0, 2, (60, 1, 4))
    tables[:, :, 0] += 1
    tables[0] = [[4, 0, 0, 0], [4, 0, 0, 0], [1, 0, 0, 0]]
    values = {name: function(tables) for name, function in FUNCTIONS.items()}
    for place, table in enumerate(tables):
        groups, clusters = labels_of(table)
        assert values["adjusted_rand"][place] == pytest.approx(adjusted_rand_score(groups, clusters), abs=1e-12)
        mutual = normalized_mutual_info_score(groups, clusters)
        assert values["normalised_mutual_information"][place] == pytest.approx(mutual, abs=1e-12)
        assert values["purity"][place] == table.max(axis=0).sum() / table.sum()
        assert np.array_equal(table_of(groups, clusters, (3, 4)), table)


def test_resamples_keep_each_group_and_are_drawn_from_it():
    table = np.array([[80, 20, 0], [5, 45, 50]])
    draws = resampled(table, np.random.default_rng(2), 4000)
    assert draws.shape == (4000, 2, 3) and (draws.sum(axis=2) == 100).all()
    assert (draws[:, 0, 2] == 0).all()
    assert draws.mean(axis=0) == pytest.approx(table, abs=0.4)
    assert draws[:, 0, 0].std() == pytest.approx(np.sqrt(100 * 0.8 * 0.2), rel=0.05)  # that of a binomial


@pytest.mark.parametrize("name", ["purity", "adjusted_rand"])
def test_intervals_cover_the_value_of_the_population(name):
    shares, generator = np.array([[0.9, 0.1], [0.25, 0.75]]), np.random.default_rng(3)
    truth = float(FUNCTIONS[name]((shares * 10_000_000).astype(np.int64)))
    covered = 0
    for _ in range(200):
        score = agreement_scores(*labels_of(generator.multinomial(120, shares)), 2, generator)[name]
        covered += score.low <= truth <= score.high
    assert 0.9 <= covered / 200 <= 0.985


def test_intervals_are_the_same_for_the_same_generator_and_degenerate_where_nothing_can_vary():
    groups, clusters = labels_of(BOOK)
    first, second, third = (agreement_scores(groups, clusters, 3, np.random.default_rng(seed)) for seed in (4, 4, 5))
    assert first == second != third
    assert first["purity"].low < first["purity"].value < first["purity"].high
    perfect = agreement_scores(np.array([0, 0, 1, 1]), np.array([1, 1, 0, 0]), 3, np.random.default_rng(0))
    assert {(score.value, score.low, score.high) for score in perfect.values()} == {(1.0, 1.0, 1.0)}
    alone = agreement_scores(np.array([0, 0, 1]), np.array([1, 1, 0]), 2, np.random.default_rng(0))
    assert {(score.value, score.low, score.high) for score in alone.values()} == {(1.0, None, None)}
    one = agreement_scores(np.array([0, 0, 1, 1]), np.zeros(4, np.int64), 1, np.random.default_rng(0))
    assert [(one[name].value, one[name].low, one[name].high) for name in FUNCTIONS] == [(0.5,) * 3, (0,) * 3, (0,) * 3]


def test_two_clusterings_are_compared_over_all_groups_and_resampled_within_them():
    generator = np.random.default_rng(6)
    groups = np.repeat([0, 1], 200)
    first = generator.integers(0, 3, 400)
    second = np.where(generator.random(400) < 0.8, (first + 1) % 3, generator.integers(0, 3, 400))
    score = between_score(groups, first, second, 3, np.random.default_rng(0))
    assert score.value == adjusted_rand_score(first, second)
    draws = []
    for _ in range(1000):  # tasks themselves, not counts
        chosen = np.concatenate([generator.integers(0, 200, 200), generator.integers(200, 400, 200)])
        draws.append(adjusted_rand_score(first[chosen], second[chosen]))
    assert (score.low, score.high) == pytest.approx(np.quantile(draws, [0.025, 0.975]), abs=0.012)
    assert between_score(np.array([0, 1, 1]), np.zeros(3, int), np.zeros(3, int), 3, generator).low is None


def test_chance_of_agreeing_is_the_mean_and_spread_over_all_exchanges():
    first, second = np.array([0, 0, 1, 2, 2, 2, 1, 0]), np.array([1, 0, 1, 2, 0, 2, 2, 2])
    every = [
        sum(a == b for a, b in zip(order, second.tolist(), strict=True)) / 8
        for order in itertools.permutations(first.tolist())
    ]
    found = chance_of_agreeing(first, second, 3, np.random.default_rng(0))
    assert found.value == pytest.approx(math.fsum(every) / len(every), rel=1e-12)
    inside = [found.low <= one <= found.high for one in every]
    assert sum(inside) / len(inside) >= 0.95
    assert 0.5 < sum(found.low < one < found.high for one in every) / len(every) < 0.95
    same = np.repeat(np.arange(3), 400)
    large = chance_of_agreeing(same, same, 3, np.random.default_rng(0))
    assert large.value == pytest.approx(1 / 3)
    assert (large.high - large.low) / 2 == pytest.approx(1.96 * math.sqrt(2 / 9 / 1199), rel=0.3)
