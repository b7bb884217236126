"""k-means over tasks: scikit-learn's, and its failures as plain sentences."""

from __future__ import annotations

import warnings

import numpy as np
from jaxtyping import Float, Int64
from threadpoolctl import threadpool_limits

from metaprobe.trainers.errors import MetaprobeError

__all__ = ["k_means"]


def k_means(
    points: Float[np.ndarray, "task coordinate"], m: int, seed: int, features: int
) -> Int64[np.ndarray, " task"]:
    """Return the cluster of each point: Lloyd's k-means, the best of ten k-means++ starts (scikit-learn).

    One thread does the work, so that the result does not depend on how many there are.

    Args:
        points: one a task; only the distances between them matter.
        m: how many clusters.
        seed: of the starts.
        features: of the vectors that the points stand for. scikit-learn stops when centres move by less than a share of
            a column's mean variance, which is larger in fewer coordinates; it is told to stop where it would with all.

    Raises:
        MetaprobeError: there are more clusters than tasks, or one is left empty.
    """
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    if m > len(points):
        raise MetaprobeError(f"{m} clusters cannot be found in {len(points)} tasks; ask for fewer, or use more tasks")
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct points than clusters: told below
        tolerance = 1e-4 * points.shape[1] / features
        model = KMeans(m, n_init=10, tol=tolerance, random_state=seed)  # pyright: ignore[reportArgumentType]
        labels = model.fit_predict(points)
    counts = np.bincount(labels, minlength=m)
    if not counts.all():
        raise MetaprobeError(
            f"k-means left {int((counts == 0).sum())} of {m} clusters empty: the {len(points)} tasks are at only "
            f"{len(np.unique(points, axis=0))} different points; ask for fewer, or use more or other tasks"
        )
    return labels.astype(np.int64)
