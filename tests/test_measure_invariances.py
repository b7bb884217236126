"""Every invariance that a measure declares holds, and none that it leaves out."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from metaprobe.analyses import INVARIANCES, MEASURES, Measure, Pair, Similarity
from metaprobe.analyses.measures.work import Work
from metaprobe.probe.moments import MomentAccumulator

Data = tuple[np.ndarray, np.ndarray]
Change = Callable[[np.random.Generator, np.ndarray, np.ndarray], Data]


def _rotation(rng: np.random.Generator, size: int) -> np.ndarray:
    return np.linalg.qr(rng.normal(size=(size, size)))[0]


def _invertible(rng: np.random.Generator, size: int) -> np.ndarray:
    return _rotation(rng, size) * 10 ** rng.uniform(-1, 1, size) @ _rotation(rng, size)


def _permuted_samples(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> Data:
    order = rng.permutation(len(x))
    return x[order], y[order]


CHANGES: dict[str, Change] = {
    "translation": lambda rng, x, y: (x + 10 * rng.normal(size=x.shape[1]), y + 10 * rng.normal(size=y.shape[1])),
    "isotropic_scaling": lambda rng, x, y: (x * 10 ** rng.uniform(-8, 8), y * 10 ** rng.uniform(-8, 8)),
    "orthogonal": lambda rng, x, y: (x @ _rotation(rng, x.shape[1]), y @ _rotation(rng, y.shape[1])),
    "invertible_linear": lambda rng, x, y: (x @ _invertible(rng, x.shape[1]), y @ _invertible(rng, y.shape[1])),
    "permutation_of_features": lambda rng, x, y: (rng.permutation(x, axis=1), rng.permutation(y, axis=1)),
    "permutation_of_samples": _permuted_samples,
    "symmetric": lambda rng, x, y: (y, x),
}
DECLARED = [(measure, name) for measure in MEASURES.values() for name in sorted(measure.invariances)]
LEFT_OUT = [
    (measure, name) for measure in MEASURES.values() for name in sorted(INVARIANCES.keys() - measure.invariances)
]
QUICK = settings(max_examples=12, deadline=None, derandomize=True)
EXPECTED_TO_FAIL = settings(QUICK, phases=[Phase.generate])  # nobody reads the smallest such example
SEEDS = st.integers(0, 2**32 - 1)
SIZES = st.tuples(st.integers(40, 120), st.integers(1, 9), st.integers(1, 9))


def draw(seed: int, size: tuple[int, int, int]) -> tuple[np.random.Generator, np.ndarray, np.ndarray]:
    """Return a generator and two matrices with a share in common, of a size and seed that hypothesis chose."""
    rng = np.random.default_rng(seed)
    n, p, q = size
    x = rng.normal(size=(n, p)) * rng.uniform(0.3, 3, p)
    return rng, x, rng.uniform(0, 2) * x @ rng.normal(size=(p, q)) + rng.normal(size=(n, q)) * rng.uniform(0.3, 3, q)


def check(measure: Measure, invariance: str, how: settings = QUICK) -> None:
    """Hold one measure to one invariance on many sizes and seeds."""

    @how
    @given(SEEDS, SIZES)
    def holds(seed: int, size: tuple[int, int, int]) -> None:
        n, p, q = size
        rng, x, y = draw(seed, (n, max(p, measure.minimum_features), max(q, measure.minimum_features)))
        before, after = measure.function(x, y), measure.function(*CHANGES[invariance](rng, x, y))
        assert before.value is not None and after.value is not None
        assert after.value == pytest.approx(before.value, abs=1e-9), f"moved the value by {after.value - before.value}"

    holds()


def ids(cases: list[tuple[Measure, str]]) -> list[str]:
    return [f"{measure.name}-{name}" for measure, name in cases]


def test_every_invariance_has_a_change_that_tests_it() -> None:
    assert CHANGES.keys() == INVARIANCES.keys()


@pytest.mark.parametrize(("measure", "invariance"), DECLARED, ids=ids(DECLARED))
def test_declared_invariance_holds(measure: Measure, invariance: str) -> None:
    check(measure, invariance)


@pytest.mark.parametrize(("measure", "invariance"), LEFT_OUT, ids=ids(LEFT_OUT))
def test_invariance_left_out_does_not_hold(measure: Measure, invariance: str) -> None:
    with pytest.raises(AssertionError, match="moved the value by"):
        check(measure, invariance, EXPECTED_TO_FAIL)


@pytest.mark.parametrize("measure", MEASURES.values(), ids=MEASURES)
@QUICK
@given(SEEDS, st.tuples(st.integers(2, 40), st.integers(1, 12), st.integers(1, 12)))
def test_values_stay_in_the_declared_range(measure: Measure, seed: int, size: tuple[int, int, int]) -> None:
    _, x, y = draw(seed, size)
    result = measure.function(x, y)
    assert (result.value is None) == (result.status == "undefined") == bool(result.reason)
    if result.value is not None:
        assert measure.range[0] <= result.value <= measure.range[1]


@pytest.mark.parametrize("measure", [measure for measure in MEASURES.values() if measure.needs == "moments"])
@QUICK
@given(SEEDS, SIZES, st.lists(st.floats(0, 1), max_size=6))
def test_any_split_into_chunks_gives_the_same_number(
    measure: Measure, seed: int, size: tuple[int, int, int], cuts: list[float]
) -> None:
    _, x, y = draw(seed, size)
    accumulator = MomentAccumulator()
    edges = [0, *sorted(int(cut * len(x)) for cut in cuts), len(x)]
    for start, stop in itertools.pairwise(edges):
        accumulator.add(x[start:stop], y[start:stop])
    streamed, whole = measure.from_moments(accumulator.result()), measure.function(x, y)
    assert streamed.value == pytest.approx(whole.value, abs=1e-9)
    assert (streamed.n, streamed.ranks) == (whole.n, whole.ranks)


def test_a_new_measure_is_one_function_and_one_record() -> None:
    def cosine_of_spectra(pair: Pair) -> Similarity:
        x, y = (np.linalg.svd(side.raw, compute_uv=False) for side in (pair.x, pair.y))
        count = min(len(x), len(y))
        return pair.defined(min(1.0, float(x[:count] @ y[:count] / (np.linalg.norm(x) * np.linalg.norm(y)))))

    measure = Measure(
        name="spectra",
        compute=cosine_of_spectra,
        citation=Work("nobody", "misc", ("Body, No",), "Cosine of the singular spectra", "", 2026),
        range=(0.0, 1.0),
        invariances=frozenset(INVARIANCES) - {"invertible_linear"},
        minimum_samples=3,
    )
    for invariance in sorted(measure.invariances):
        check(measure, invariance)
    with pytest.raises(AssertionError, match="moved the value by"):
        check(measure, "invertible_linear", EXPECTED_TO_FAIL)
    dead = measure.function(np.ones((9, 2)), np.eye(9))
    assert dead.measure == "spectra" and dead.value is None and "dead layer" in dead.reason
