"""A page a similarity measure, and one with all of them."""

from __future__ import annotations

import inspect
import math
import sys

import numpy as np

from metaprobe import analyses
from metaprobe.analyses.measures.measure import ALIASES, DEFAULTS, INVARIANCES, MEASURES
from metaprobe.analyses.measures.record import Measure
from metaprobe.trainers.formats.text import count
from pages.markdown import about, bullets, contents, fenced, plain, table

__all__ = ["pages"]

_FEATURES, _SAMPLES = 32, (25, 100, 400)
_SHOWN = 100
_INTRODUCTION = f"""# Similarity measures

Two arrays of the same samples in, a number out: `analyses.linear_cka(x, y).value`, or `metaprobe similarity
STORE --measures linear_cka`. How to read one: [similarity, task by task](../similarity.md). Where no measure is named,
the six marked with • are taken. *Alike* is the value of what is wholly alike: 0 of a distance. *Noise* is what
{_SHOWN} samples of {_FEATURES} features give that have nothing to do with each other; each page has fewer and more.
"""


def pages() -> dict[str, str]:
    """Return the pages by their names."""
    noise = {name: _of_noise(measure) for name, measure in MEASURES.items()}
    made = {f"measures/{name}": _page(measure, noise[name]) for name, measure in MEASURES.items()}
    rows = [
        (_link(one), plain(one.summary), _range(one), f"{one.most_alike:g}", noise[name][_SHOWN][0])
        for name, one in MEASURES.items()
    ]
    every = table(("measure", "what it is", "range", "alike", "noise"), rows)
    return {"measures/index": "\n\n".join((_INTRODUCTION, every, contents(MEASURES))), **made}


def _link(measure: Measure) -> str:
    return f"[{measure.name}]({measure.name}.md)" + " •" * (measure in DEFAULTS)


def _page(measure: Measure, noise: dict[int, tuple[str, str]]) -> str:
    known = [alias for alias, name in ALIASES.items() if name == measure.name]
    needs = "whole images" if measure.needs == "images" else "moments of the samples, which every store has"
    facts = [
        ("range", _range(measure)),
        ("wholly alike", f"{measure.most_alike:g}" + ("" if measure.higher_is_more_similar else " (a distance)")),
        ("needs", needs),
        ("at least", f"{measure.minimum_samples} samples, of {count(measure.minimum_features, 'feature')} or more"),
    ]
    facts += [("at most", f"{measure.maximum_samples:,} images")] if measure.maximum_samples else []
    facts += [("also called", ", ".join(f"`{alias}`" for alias in known))] if known else []
    module = sys.modules[_home(measure)]
    lacks = [name for name in INVARIANCES if name not in measure.invariances]
    listed = table(("n", "value", "told with it"), [(n, *map(plain, told)) for n, told in noise.items()])
    return "\n\n".join([
        f"# {measure.name}\n\n{plain(_sentence(measure.summary))}",
        table(("", ""), facts),
        "## Definition",
        f"```{{eval-rst}}\n.. autofunction:: analyses.{measure.name}\n   :no-index:\n```",
        f"From `{module.__name__}`: {about(module)}",
        "## Invariances",
        bullets(f"**{name.replace('_', ' ')}**: {INVARIANCES[name]}" for name in INVARIANCES if name not in lacks),
        "Not: " + (", ".join(name.replace("_", " ") for name in lacks) or "none of those that are declared") + ".",
        "## When it misleads",
        plain(measure.misleads),
        f"Two arrays of {_FEATURES} independent Gaussians, n samples, one draw (seed 0):",
        listed,
        "## Ask for it",
        fenced(f"metaprobe similarity STORE --measures {measure.name}", "sh"),
        "## Sources",
        *(f"{plain(work.line)}\n\n{fenced(work.bibtex, 'bibtex')}" for work in measure.works),
    ])  # fmt: skip


def _home(measure: Measure) -> str:
    return inspect.unwrap(getattr(analyses, measure.name)).__module__


def _range(measure: Measure) -> str:
    return " … ".join("∞" if math.isinf(end) else f"{end:.3g}".replace("-", "−") for end in measure.range)


def _sentence(summary: str) -> str:
    return f"{summary[:1].upper()}{summary[1:]}."


def _number(value: float) -> str:
    return f"{round(value, 2) or 0:.2f}".replace("-", "−")


def _of_noise(measure: Measure) -> dict[int, tuple[str, str]]:
    """Return what the measure gives where there is nothing to find, and what it says with it, by number of samples."""
    found = {}
    for n in _SAMPLES:
        generator = np.random.default_rng(0)
        told = measure.function(generator.normal(size=(n, _FEATURES)), generator.normal(size=(n, _FEATURES)))
        value = "undefined" if told.value is None else _number(told.value)
        found[n] = (value, told.reason or told.remark)
    return found
