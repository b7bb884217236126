"""How fast the five similarity measures are (CCA, SVCCA, PWCCA, CKA, Procrustes), against what they cannot do without.

    pip install -e '.[bench]'
    OMP_NUM_THREADS=1 python -m pytest tests/benchmarks/analyses.py --benchmark-only -s

Each round times our side and, just before it, the float64 products XᵀX, XᵀY, YᵀY of the same data with as many BLAS
threads (or the same adaptation and forward passes without a capture), so that both meet the machine in one state; a
line for each prints medians, the ratio (the median over rounds) and its target. The data are those of 375 query images
through conv4 with 32 channels: positions are samples, 42², 21², 10² and 5² of them an image. Ours starts from float32
rows and pays for checking, converting and centring them; the products start from float64 copies, made beforehand.
`METAPROBE_BENCH_TASKS` (4 by default) is how many tasks a round of the capture takes; both sides grow with it alike.

Nothing here can fail because the machine is busy. That both sides do the same work is for
tests/test_analyses_benchmark.py.
"""

from __future__ import annotations

import importlib.util
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from threadpoolctl import threadpool_limits

from metaprobe.probe.moments import moments_of
from metaprobe.trainers.parallel import one_thread
from tests.benchmarks.similarities import (
    OTHERS,
    captured,
    forward_passes,
    measured,
    ours,
    products,
    products_one_by_one,
    rows_like,
)
from tests.benchmarks.work import Work

IMAGES, CHANNELS, SIDES = 375, 32, (42, 21, 10, 5)
QUERIES = 75
TASKS = int(os.environ.get("METAPROBE_BENCH_TASKS", "4"))
ROUNDS = 7


@pytest.fixture(autouse=True)
def one_blas_thread():
    """Both sides run on one thread: on matrices this small more only wait."""
    with one_thread(), threadpool_limits(1):
        yield


def in_turn(
    benchmark: Any,
    what: str,
    ours: Callable[[], object],
    needed: Callable[[], object],
    target: float | None,
    rounds: int,
) -> None:
    """Time `needed` and then `ours`, round after round, and print how they compare."""
    before = []

    def setup() -> None:
        began = time.perf_counter()
        needed()
        before.append(time.perf_counter() - began)

    benchmark.pedantic(ours, setup=setup, rounds=rounds, warmup_rounds=1)
    own = benchmark.stats.stats.data
    ratios = [mine / its for mine, its in zip(own, before[-rounds:], strict=True)]
    ratio = statistics.median(ratios)
    benchmark.extra_info.update(ratio=ratio, target=target, needed_s=before[-rounds:])
    told = "" if target is None else f", target {target}: {'met' if ratio <= target else 'missed'}"
    spread = f"{min(ratios):.2f}–{max(ratios):.2f}"
    times = f"{1e3 * statistics.median(own):.2f} ms against {1e3 * statistics.median(before[-rounds:]):.2f} ms"
    print(f"\n{what}: {times}, ratio {ratio:.2f} ({spread}){told}")


@pytest.mark.parametrize("side", SIDES)
def test_five_measures_of_one_layer(benchmark, side):
    x, y = rows_like(IMAGES * side**2, CHANNELS)
    a, b = x.astype(float), y.astype(float)
    in_turn(benchmark, f"five measures at {side}²", lambda: ours(x, y), lambda: products(a, b), None, ROUNDS)


def test_five_measures_of_all_layers(benchmark):
    data = [rows_like(IMAGES * side**2, CHANNELS) for side in SIDES]
    doubles = [(x.astype(float), y.astype(float)) for x, y in data]
    in_turn(
        benchmark,
        "five measures, all four layers, against float64 products",
        lambda: [ours(*rows) for rows in data],
        lambda: [products(*rows) for rows in doubles],
        1.2,
        ROUNDS,
    )


def test_five_measures_against_the_products_of_each_alone(benchmark):
    data = [rows_like(IMAGES * side**2, CHANNELS) for side in SIDES]
    doubles = [(x.astype(float), y.astype(float)) for x, y in data]
    in_turn(
        benchmark,
        "five measures, all four layers, against the float64 products that they need one by one",
        lambda: [ours(*rows) for rows in data],
        lambda: [products_one_by_one(*rows) for rows in doubles],
        0.6,
        ROUNDS,
    )


@pytest.mark.parametrize("features", [32, 64])
def test_five_measures_from_moments(benchmark, features):
    """What a replicate of a bootstrap costs, once its moments are there."""
    moments = moments_of(*rows_like(20_000, features))
    benchmark(measured, moments)
    print(
        f"\nfive measures from moments, {features} + {features} features: {1e3 * benchmark.stats.stats.median:.2f} ms"
    )


def test_capture_and_analysis(benchmark, tmp_path: Path):
    work = Work("full", channels=3, image_size=84, filters=CHANNELS, downsample="max-pool", tasks=TASKS)
    network, tasks = work.problem()
    doubles = [[side.astype(float) for side in rows_like(QUERIES * side**2, CHANNELS)] for side in SIDES]

    def needed() -> None:
        forward_passes(network, tasks, work)
        for _ in range(TASKS):
            for rows in doubles:
                products(*rows)

    def whole() -> None:
        captured(network, tasks, work, tmp_path / "store.h5")

    what = f"capture and analysis of {TASKS} tasks, against forward passes and products"
    in_turn(benchmark, what, whole, needed, 1.3, 3)


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("side", [21, 10])
def test_other_implementations(benchmark, name, side):
    module, other = OTHERS[name]
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{name}: there is no module {module} to import; install it to compare")
    x, y = rows_like(IMAGES * side**2, CHANNELS)
    in_turn(benchmark, f"{name} at {side}², against ours", lambda: other(x, y), lambda: ours(x, y), None, 3)
