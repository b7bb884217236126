"""What the benchmark of the analyses times: ours, the matrix products that it needs, and other ways to the same values.

Inputs are float32 rows (sample, feature), as a capture leaves them, of which the products get float64 copies.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch

from metaprobe.analyses.measures.measure import MEASURES
from metaprobe.analyses.measures.pair import Pair
from metaprobe.probe.capturing import capture
from metaprobe.probe.moments import JointMoments, moments_of
from metaprobe.probe.store import open_store
from metaprobe.trainers.adapt import adapt_as, layers_of, query_logits
from metaprobe.trainers.config import Adaptation
from metaprobe.trainers.networks import Conv4
from metaprobe.trainers.tasks.episodes import Tasks
from tests.benchmarks.work import Work

FIVE = ("mean_cca", "svcca", "pwcca", "linear_cka", "procrustes")
Rows = tuple[np.ndarray, np.ndarray]


def rows_like(samples: int, features: int, seed: int = 0) -> Rows:
    """Return float32 rows before and after an adaptation that keeps part of what was there."""
    generator = np.random.default_rng([seed, samples, features])
    x = generator.standard_normal((samples, features), dtype=np.float32)
    mixing = generator.standard_normal((features, features), dtype=np.float32) / np.sqrt(np.float32(features))
    return x + 1, 0.6 * x @ mixing + generator.standard_normal((samples, features), dtype=np.float32)


def products(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return XᵀX, XᵀY and YᵀY of float64 rows: the work that no method can do without."""
    return x.T @ x, x.T @ y, y.T @ y


def products_one_by_one(x: np.ndarray, y: np.ndarray) -> list[tuple[np.ndarray, ...]]:
    """Return the products of float64 rows that each of the five needs when it is taken alone."""
    return [(x.T @ y,) if name == "procrustes" else products(x, y) for name in FIVE]


def measured(moments: JointMoments) -> dict[str, float | None]:
    """Return the values of the five measures from moments."""
    pair = Pair.of_moments(moments)
    return {name: MEASURES[name].apply(pair).value for name in FIVE}


def ours(x: np.ndarray, y: np.ndarray) -> dict[str, float | None]:
    """Return the values of the five measures from rows: check, convert, centre, accumulate, and measure."""
    return measured(moments_of(x, y))


def by_qr(x: np.ndarray, y: np.ndarray, dtype: torch.dtype = torch.float64) -> dict[str, float | None]:
    """Return the five by QR and SVD of the activations themselves, as most public implementations go (plain torch)."""
    a, b = (torch.from_numpy(side).to(dtype) for side in (x, y))
    a, b = a - a.mean(dim=0), b - b.mean(dim=0)

    def canonical(left: torch.Tensor, right: torch.Tensor) -> tuple[torch.Tensor, ...]:
        q, r = torch.linalg.qr(left)[0], torch.linalg.qr(right)[0]
        u, s, _ = torch.linalg.svd(q.T @ r, full_matrices=False)
        return q @ u, s.clamp(max=1)

    def leading(side: torch.Tensor) -> torch.Tensor:
        u, s, _ = torch.linalg.svd(side, full_matrices=False)
        held = torch.cumsum(s**2, dim=0) / torch.sum(s**2)
        return u[:, : int((held < 0.99).sum()) + 1]

    variates, rho = canonical(a, b)
    weights = (variates.T @ a).abs().sum(dim=1)
    cross, lengths = a.T @ b, a.norm() * b.norm()
    return {
        "mean_cca": float(rho.mean()),
        "svcca": float(canonical(leading(a), leading(b))[1].mean()),
        "pwcca": float(weights @ rho / weights.sum()),
        "linear_cka": float(cross.norm() ** 2 / ((a.T @ a).norm() * (b.T @ b).norm())),
        "procrustes": float(torch.linalg.svdvals(cross).sum() / lengths),
    }


def by_anatome(x: np.ndarray, y: np.ndarray) -> dict[str, float | None]:
    """Return what anatome has of the five, by QR, in float32 as it comes."""
    from anatome import distance  # type: ignore[import-not-found]

    def pair() -> tuple[torch.Tensor, torch.Tensor]:
        return torch.from_numpy(x), torch.from_numpy(y)

    return {
        "svcca": 1 - float(distance.svcca_distance(*pair(), accept_rate=0.99, backend="qr")),
        "pwcca": 1 - float(distance.pwcca_distance(*pair(), backend="qr")),
        "linear_cka": 1 - float(distance.linear_cka_distance(*pair(), reduce_bias=False)),
        "procrustes": 1 - float(distance.orthogonal_procrustes_distance(*pair())),
    }


def by_google(x: np.ndarray, y: np.ndarray) -> dict[str, float | None]:
    """Return what google/svcca's `cca_core` gives: mean CCA alone, from covariances and their roots.

    Its own mean leaves out the least correlations, whose sum is up to 2 % of all.
    """
    from cca_core import get_cca_similarity  # type: ignore[import-not-found]

    found = get_cca_similarity(x.T, y.T, epsilon=1e-10, compute_coefs=False, verbose=False)
    return {"mean_cca": float(found["cca_coef1"].mean())}


def by_netrep(x: np.ndarray, y: np.ndarray) -> dict[str, float | None]:
    """Return what netrep has of the five: its angular metric of whitened rows is of mean CCA, of rows of Procrustes."""
    from netrep.metrics import LinearMetric  # type: ignore[import-not-found]

    def cosine(alpha: float) -> float:
        metric = LinearMetric(alpha=alpha, score_method="angular")
        return math.cos(metric.fit_score(x.astype(float), y.astype(float)))

    return {"mean_cca": cosine(0.0), "procrustes": cosine(1.0)}


OTHERS: Mapping[str, tuple[str, Callable[[np.ndarray, np.ndarray], dict[str, float | None]]]] = {
    "plain QR, float64": ("torch", by_qr),
    "plain QR, float32": ("torch", lambda x, y: by_qr(x, y, torch.float32)),
    "anatome": ("anatome", by_anatome),
    "google/svcca": ("cca_core", by_google),
    "netrep": ("netrep", by_netrep),
}
"""Other ways, by name, with the module that must be importable."""


def adaptation_of(network: Conv4, work: Work) -> Adaptation:
    """Return how the capture adapts."""
    return Adaptation(layers_of(network), work.inner_lr, work.steps)


def forward_passes(network: Conv4, tasks: Tasks, work: Work, chunk: int = 4) -> list[torch.Tensor]:
    """Adapt to tasks and pass their queries through the parameters before and after; return both phases' logits."""
    start, how, logits = dict(network.named_parameters()), adaptation_of(network, work), []
    for first in range(0, len(tasks), chunk):
        batch = tasks[first : first + chunk]
        adapted = adapt_as(network, start, batch.support, how, every_step=False)
        with torch.no_grad():
            for params in (start, adapted.params):
                logits.append(query_logits(network, params, batch.support, batch.query, transductive=True))
    return logits


def captured(network: Conv4, tasks: Tasks, work: Work, path: Path, chunk: int = 4) -> dict[str, dict]:
    """Capture the convolutions and the head on tasks into a store, read it and measure; return the values by layer."""
    capture(network, None, tasks, out=path, adaptation=adaptation_of(network, work), layers="conv*,head", chunk=chunk)
    with open_store(path) as store:
        return {layer.name: measured(store.pooled(layer.name, work.steps)) for layer in store.metadata.layers}
