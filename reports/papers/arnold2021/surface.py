"""The loss surface of the deep model in one dimension, and where meta-training leads on it (arnold2021, Figure 2)."""

from __future__ import annotations

from typing import Any

from analyses.theory.plans import Descent
from reports.evidence import Evidence

# fmt: off
_EDGE, _POINTS = 1.35, 121  # of the plane, in units of 1/√α; a side
_PATH, _POINT = "#d55e00", "#0072b2"

def draw(evidence: Evidence) -> list[Any] | None:
    """Draw the error that one inner step leaves on average, by the weights it starts from, and paths of trainings."""
    def path(training: str) -> list[tuple[float, float]]:
        first, second = ({row.iteration: row.value for row in evidence.where(f"weight_{name}", "deep", view=training)}
                         for name in "ab")
        return [(a, b) for at, a in first.items() if a is not None and (b := second.get(at)) is not None]
    paths = {one: found for one in evidence.distinct("view", "weight_a", "deep") if (found := path(one))}
    if not paths:
        return None
    import numpy as np  # matplotlib: not before there is something to draw
    from matplotlib.colors import LogNorm

    from analyses.theory.scalar import deep_loss, stationary_points
    from reports.blocks.canvas import Key, Sketch, tell

    alpha, levels = Descent.alpha, np.logspace(-3, 2, 11)
    edge = _EDGE * alpha**-0.5
    a, b = np.meshgrid(line := np.linspace(-edge, edge, _POINTS), line)
    excess = np.clip(2 * deep_loss(a, b, alpha) - 1, levels[0], levels[-1])
    def paint(axes: Any) -> None:
        shades = axes.contourf(a, b, excess, levels, norm=LogNorm(), cmap="Greys")
        axes.figure.colorbar(shades, ax=axes, label="Error after one step, less the noise", format="%g")
        for name, path in paths.items():
            (drawn,) = axes.plot(*zip(*path, strict=True), color=_PATH, linewidth=0.9)
            axes.plot(*path[0], "o", color=_PATH, markersize=2.5)
            ends = (", ".join(f"{weight} = {at:.2f}" for weight, at in zip("ab", end, strict=True))
                    for end in (path[0], path[-1]))
            tell(drawn, f"{name}: from {' to '.join(ends)}")
        for point in stationary_points(alpha):
            (mark,) = axes.plot(point.a, point.b, "x" if point.a == point.b else "*", color=_POINT, markersize=6)
            tell(mark, f"{point.name}: the Hessian of 2L is diag({point.printed[0]:g}, {point.printed[1]:g})")
        axes.set(xlabel="a", ylabel="b", xlim=(-edge, edge), ylim=(-edge, edge))
        axes.set_aspect("equal")
        axes.grid(visible=False)
    keys = (Key("training, from its circle", _PATH, "o", "-"), Key("minimum", _POINT, "*"),
            Key("maximum at the origin", _POINT, "x"))
    return [Sketch(f"The deep model ŷ = abx, α = {alpha:g}", paint, keys, lambda width: 0.85 * width)]
