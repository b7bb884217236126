"""MAML on regression in one dimension, shallow and deep, in closed form (Arnold et al. 2021, sections 4.1–4.4 and A.1).

A task is a number θ ~ N(0, 1); of its samples x ~ N(0, 1) and y ~ N(θx, 1). The shallow model says ŷ = cx, the deep one
ŷ = abx. The loss is an expectation, ℓ = ½E(y − ŷ)² = ½(1 + (w − θ)²) with w = c or ab, and adaptation is one step at
rate α. Nothing here is an estimate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from metaprobe.analyses.theory.plans import ORIGIN, SOLUTIONS

__all__ = ["StationaryPoint", "adapted_deep", "adapted_shallow", "deep_loss", "hessian"]
__all__ += ["meta_gradient", "shallow_loss", "stationary_points", "task_loss"]

Number = TypeVar("Number", float, np.ndarray, Tensor)


def task_loss(slope: Number, theta: Number) -> Number:
    """Return ℓ = ½E(y − wx)² = ½(1 + (w − θ)²) of the slope w on the task θ; the 1 is the noise of y."""
    return 0.5 * (1 + (slope - theta) ** 2)


def adapted_shallow(c: Number, theta: Number, alpha: float) -> Number:
    """Return c after one step, (1 − α)c + αθ (Eq. 14)."""
    return (1 - alpha) * c + alpha * theta


def adapted_deep(a: Number, b: Number, theta: Number, alpha: float, hold_a: bool = False) -> tuple[Number, Number]:
    """Return a and b after one step: a − αb(ab − θ), b − αa(ab − θ) (Eqs. 18, 19); a as it was with `hold_a`."""
    error = a * b - theta
    return (a if hold_a else a - alpha * b * error), b - alpha * a * error


def shallow_loss(c: Number, alpha: float) -> Number:
    """Return the MAML loss of the shallow model, ½(1 + (1 − α)²(c² + 1)).

    Up to a constant ½(1 − α)²c²; the paper prints 2(1 − α)²c² (Eqs. 11 and 35), whose minimum is the same.
    """
    return 0.5 * (1 + (1 - alpha) ** 2 * (c**2 + 1))


def deep_loss(a: Number, b: Number, alpha: float) -> Number:
    """Return the MAML loss of the deep model, both weights moving: the L of Eq. 53 and ½ for the noise of y.

    ½(2 + p₁² + p₂² + 3p₃² + 2p₁p₃ − 2p₂), with p₁ = ab − α(a² + b²)ab + α²a³b³, p₂ = α(a² + b²) − 2α²a²b², p₃ = α²ab
    (Eq. 49).
    """
    squares, product = a**2 + b**2, a * b
    p1 = product - alpha * squares * product + alpha**2 * product**3
    p2 = alpha * squares - 2 * alpha**2 * product**2
    p3 = alpha**2 * product
    return 0.5 * (2 + p1**2 + p2**2 + 3 * p3**2 + 2 * p1 * p3 - 2 * p2)


@dataclass(frozen=True)
class StationaryPoint:
    """A point where the paper says that the deep model's MAML loss is stationary, and the Hessian it prints there.

    Attributes:
        name: as the paper writes it.
        a: its first weight.
        b: its second.
        printed: the diagonal of the printed Hessian; off it the paper has zeros.
    """

    name: str
    a: float
    b: float
    printed: tuple[float, float]


def stationary_points(alpha: float) -> tuple[StationaryPoint, ...]:
    """Return the five stationary points that section A.1.2 names, the origin first, with the printed Hessians.

    There are more: saddles and maxima between the valleys. The Hessians are those of Eqs. 55–57.

    The second entry at (±1/√α, 0) is printed as 6α³; it is that of 2L as `hessian` finds it.
    """
    root, steep, flat = alpha**-0.5, 8 * alpha, 6 * alpha**3
    places = ((root, 0.0), (-root, 0.0), (0.0, root), (0.0, -root))
    solutions = (
        StationaryPoint(name, a, b, (steep, flat) if a else (flat, steep))
        for name, (a, b) in zip(SOLUTIONS, places, strict=True)
    )
    return StationaryPoint(ORIGIN, 0.0, 0.0, (-4 * alpha, -4 * alpha)), *solutions


def meta_gradient(a: float, b: float, alpha: float) -> Float[np.ndarray, " weight"]:
    """Return ∂L/∂(a, b) of `deep_loss` by automatic differentiation in float64."""
    return _gradient(_point(a, b), alpha).detach().numpy()


def hessian(a: float, b: float, alpha: float) -> Float[np.ndarray, "weight weight"]:
    """Return the Hessian of `deep_loss` by automatic differentiation in float64."""
    point = _point(a, b)
    rows = [torch.autograd.grad(entry, point, retain_graph=True)[0] for entry in _gradient(point, alpha)]
    return torch.stack(rows).numpy()


def _point(a: float, b: float) -> Tensor:
    return torch.tensor([a, b], dtype=torch.float64, requires_grad=True)


def _gradient(point: Tensor, alpha: float) -> Tensor:
    return torch.autograd.grad(deep_loss(point[0], point[1], alpha), point, create_graph=True)[0]
