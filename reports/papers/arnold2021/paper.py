"""What claims, sections and answer of arnold2021 share: its learners' keys, its figures as printed, its questions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from reports.blocks.declared import Dots, Series
from reports.evidence import Evidence
from reports.names import GROUP_MARKS, INK
from reports.quantities import Quantity, Query, q

# fmt: off
RULES = {"meta_sgd": "Meta-SGD", "meta_curvature": "Meta-Curvature", "t_nets": "T-Nets", "meta_kfo": "Meta-KFO"}
HOWS = {"": "plain MAML", "linnet": "LinNet", **RULES}  # what a network has, by the end of its learner's key
COMPARED = ("", "linnet", "meta_kfo")  # what networks of every depth have
DEPTHS = (2, 3, 4, 6)  # convolutions of the paper's networks
SOFTMAX = "softmax"
MARGIN = 2.0  # points of a gain from which something counts as learned, as on the other pages
NEAR = 5.0  # points from chance that count as near it: the paper shows a figure only ("slightly improve upon chance")

# mean accuracy in percent, 5-way 5-shot: Omniglot, CIFAR-FS, mini-ImageNet
_LINEAR = {  # Tables 1 and 2: plain, LinNet
    ("maml", 2): ((66.8, 62.2, 52.6), (88.1, 66.1, 60.5)), ("maml", 3): ((93.5, 68.9, 54.0), (95.5, 71.1, 60.2)),
    ("maml", 4): ((98.5, 70.9, 64.1), (98.1, 74.4, 64.9)), ("maml", 6): ((97.6, 71.3, 64.6), (97.6, 71.9, 64.1)),
    ("anil", 2): ((91.0, 66.1, 56.42), (93.02, 67.55, 56.64))}
RULED = {  # Tables 3 and B.4, with two convolutions
    "maml": {"": (66.6, 62.2, 52.6), "meta_sgd": (74.07, 62.82, 59.9), "meta_curvature": (94.63, 68.37, 58.95),
             "t_nets": (92.27, 66.42, 58.47), "meta_kfo": (96.62, 69.64, 59.08)},
    "anil": {"": (91.0, 66.1, 56.42), "meta_sgd": (92.47, 67.55, 57.45), "meta_curvature": (92.67, 67.43, 59.07),
             "meta_kfo": (94.4, 68.81, 62.65)}}

def printed(algorithm: str, depth: int, how: str) -> tuple[Sequence[float], Sequence[float]]:
    """Return what the paper prints of a learner, and in the same table of the plain one; of others it is empty."""
    if how in RULES:
        table = RULED[algorithm] if depth == 2 else {}
        return table.get(how, ()), table.get("", ())
    plain, deep = _LINEAR.get((algorithm, depth), ((), ()))
    return deep if how else plain, plain

def printed_gain(algorithm: str, depth: int, how: str) -> tuple[float, ...]:
    """Return by how much a learner is better than the plain one on each of the paper's data sets, points."""
    return tuple(one - plain for one, plain in zip(*printed(algorithm, depth, how), strict=False))

def key_of(algorithm: str, depth: int, how: str = "") -> str:
    """Return what the study calls a learner: "maml-cnn2-linnet"; of depth 0 the network is softmax regression."""
    return "-".join(filter(None, (algorithm, f"cnn{depth}" if depth else SOFTMAX, how)))

def told_by(key: str) -> tuple[str, int, str]:
    """Return what `key_of` made a key of."""
    algorithm, network, *how = key.split("-")
    return algorithm, 0 if network == SOFTMAX else int(network.removeprefix("cnn")), "".join(how)

def label_of(key: str) -> str:
    """Return what the page calls a learner: "MAML CNN(2) + LinNet"."""
    algorithm, depth, how = told_by(key)
    network = f"CNN({depth})" if depth else "softmax regression"
    return f"{algorithm.upper()} {network}" + f" + {HOWS[how]}" * bool(how)

def trained(evidence: Evidence) -> tuple[str, ...]:
    """Return the keys of what was trained on images, in the study's order; the theory's models are not among them."""
    return tuple(one for one in evidence.learners if one.split("-")[0] in RULED)

def depths(evidence: Evidence, *hows: str) -> tuple[int, ...]:
    """Return how many convolutions there are in MAML's networks that have one of these, ascending."""
    return tuple(one for one in DEPTHS if any(key_of("maml", one, how) in evidence.learners for how in hows))

def shallowest(evidence: Evidence) -> int:
    """Return the fewest convolutions of all networks."""
    return next(iter(depths(evidence, "")), DEPTHS[0])

def measured(algorithm: str, depth: int, how: str = "", **columns: Any) -> Query:
    """Ask for the test accuracy of a learner, percent."""
    return q("accuracy", learner=key_of(algorithm, depth, how), **columns)

def gain(algorithm: str, depth: int, how: str) -> Quantity:
    """Ask for what a learner gains over the plain one, points."""
    return measured(algorithm, depth, how) - measured(algorithm, depth)

def series(how: str, label: str, quantities: Iterable[Quantity], nulls: Iterable[Quantity] = ()) -> Series:
    """Return readings in the look of what a network has."""
    colour, mark = GROUP_MARKS[list(HOWS).index(how)]
    return Series(label, colour, tuple(quantities), mark, nulls=tuple(nulls))

def by_depth(title: str, at: Sequence[int], names: Mapping[str, str], ask: Callable[[str, int, str], Quantity],
             line: tuple[float, str] | None = None) -> Dots:
    """Return the panel of what is asked of MAML's networks by depth; `names`: of what they have, in the legend."""
    shown = tuple(series(how, name, (ask("maml", one, how) for one in at)) for how, name in names.items())
    return Dots(title, tuple(f"CNN({one})" for one in at), shown, line=line)

def gains(evidence: Evidence, title: str, algorithm: str, hows: Iterable[str], *,
          beside: bool = False) -> Dots:
    """Return the panel of gains in the shallowest network; the paper's `beside` them if asked for."""
    least = shallowest(evidence)
    known = [how for how in hows if key_of(algorithm, least, how) in evidence.learners]
    theirs = ((at, one) for at, how in enumerate(known) if beside for one in printed_gain(algorithm, 2, how))
    ours = Series("", INK, tuple(gain(algorithm, least, how) for how in known))
    return Dots(title, tuple(HOWS[how] for how in known), (ours,), lying=True, line=(0.0, ""), printed=tuple(theirs))
