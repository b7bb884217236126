"""The claims of arnold2021, A1–A4 on models in closed form and A5–A11 on images, and what all parts of it share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise, product
from typing import Any

from metaprobe.analyses.theory.plans import HELD, MOVING, ORIGIN, SOLUTIONS
from metaprobe.reports.claims import POINTS, Claim, Part, Told, above, below, within
from metaprobe.reports.evidence import Evidence
from metaprobe.reports.probing.questions import untaught
from metaprobe.reports.quantities import ANY, Computed, Quantity, Query, q

# fmt: off
RULES = {"meta_sgd": "Meta-SGD", "meta_curvature": "Meta-Curvature", "t_nets": "T-Nets", "meta_kfo": "Meta-KFO"}
HOWS = {"": "plain MAML", "linnet": "LinNet", **RULES}  # what a network has, by the end of its learner's key
COMPARED = ("", "linnet", "meta_kfo")  # what networks of every depth have
DEPTHS = (2, 3, 4, 6)  # convolutions of the paper's networks
SOFTMAX = "softmax"
NEAR = 5.0  # points from chance that count as near it: the paper shows a figure only ("slightly improve upon chance")

# mean accuracy in percent, 5-way 5-shot: Omniglot, CIFAR-FS, mini-ImageNet
_LINEAR = {  # Tables 1 and 2
    ("maml", 2): {"": (66.8, 62.2, 52.6), "linnet": (88.1, 66.1, 60.5)},
    ("maml", 3): {"": (93.5, 68.9, 54.0), "linnet": (95.5, 71.1, 60.2)},
    ("maml", 4): {"": (98.5, 70.9, 64.1), "linnet": (98.1, 74.4, 64.9)},
    ("maml", 6): {"": (97.6, 71.3, 64.6), "linnet": (97.6, 71.9, 64.1)},
    ("anil", 2): {"": (91.0, 66.1, 56.42), "linnet": (93.02, 67.55, 56.64)}}
RULED = {  # Tables 3 and B.4, with two convolutions
    "maml": {"": (66.6, 62.2, 52.6), "meta_sgd": (74.07, 62.82, 59.9), "meta_curvature": (94.63, 68.37, 58.95),
             "t_nets": (92.27, 66.42, 58.47), "meta_kfo": (96.62, 69.64, 59.08)},
    "anil": {"": (91.0, 66.1, 56.42), "meta_sgd": (92.47, 67.55, 57.45), "meta_curvature": (92.67, 67.43, 59.07),
             "meta_kfo": (94.4, 68.81, 62.65)}}

def printed(algorithm: str, depth: int, how: str) -> tuple[Sequence[float], Sequence[float]]:
    """Return what the paper prints of a learner, and in the same table of the plain one; of others it is empty."""
    table = RULED[algorithm] if how in RULES and depth == 2 else _LINEAR.get((algorithm, depth), {})
    return table.get(how, ()), table.get("", ())

def printed_gain(algorithm: str, depth: int, how: str) -> tuple[float, ...]:
    """Return by how much a learner is better than the plain one on each of the paper's data sets, points."""
    return tuple(one - plain for one, plain in zip(*printed(algorithm, depth, how), strict=False))

def key_of(algorithm: str, depth: int, how: str = "") -> str:
    """Return what the study calls a learner: "maml-cnn2-linnet"; of depth 0 the network is softmax regression."""
    return "-".join(filter(None, (algorithm, f"cnn{depth}" if depth else SOFTMAX, how)))

TOLD_BY = {key_of(*name): name for name in product(RULED, (0, *DEPTHS), HOWS)}  # what a key was made of

def label_of(key: str) -> str:
    """Return what the page calls a learner: "MAML CNN(2) + LinNet"."""
    algorithm, depth, how = TOLD_BY[key]
    network = f"CNN({depth})" if depth else "softmax regression"
    return f"{algorithm.upper()} {network}" + f" + {HOWS[how]}" * bool(how)

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

_EXACT = 1e-9  # of numbers that float64 gives to its rounding
_GAINS = above(0, "a gain", "no gain")
_SETTING = "5-way 5-shot, 5 inner steps; Omniglot, CIFAR-FS, mini-ImageNet"

def claims(evidence: Evidence) -> tuple[Claim, ...]:
    """Return the claims, put to these networks and rules."""
    alike = any(one.what == "own rates" for one in evidence.made.differs)
    told = "But for LinNet on pixels all learners have one pair of rates here; the paper tuned each." * alike
    found = (*_linear(evidence), *_convolutional(evidence))
    return (*_theory(), *(replace(claim, remark=lambda _: told) for claim in found))

def scalar(measure: str, learner: str = "deep", **asked: Any) -> Quantity:
    """Ask for a number of the models in one dimension."""
    return q(measure, learner=learner, steps=ANY, **asked)

def logistic(layers: int, view: str, at: int | str = "last") -> Quantity:
    """Ask for the accuracy of a logistic regression behind so many linear layers, percent; `view`: how labels are."""
    return q("accuracy", learner=f"lr+{layers}" if layers else "lr", view=view, at=at, steps=ANY)

def _theory() -> Iterator[Claim]:
    nothing = "The study holds no models in closed form."
    shallow, deep = (scalar("excess_error", model) for model in ("shallow", "deep"))
    yield Claim("A1", "In one dimension the deep model learns to adapt in one step, the shallow one does not",
        "mean squared error on new tasks after one inner step, less that of the noise",
        "the shallow model stays where it is, the deep one falls at once (no number)", "Figure 1", "y = θx + noise",
        "at the end of training the deep model's is under 0.1, and the shallow one's larger by more than 0.5",
        (Part("deep", deep, below(0.1)), Part("shallow − deep", shallow - deep, above(0.5))), nothing, ("descent",),
        digits=3, counted="trainings", remark=lambda _: "The shallow model moves, too, to the least that one step "
        "leaves it, (1 − α)² = 0.81: that no training can do better is algebra.", beside=tuple(
            Told(f"{model} at the start", scalar("excess_error", model, at=0)) for model in ("shallow", "deep")))
    exact, points = within(-_EXACT, _EXACT, "as printed", "not as printed"), (ORIGIN, *SOLUTIONS)
    yield Claim("A2", "The deep model's MAML loss is stationary at five points, four of them minima",
        "gradient and Hessian there", "(0, 0): −4αI; (±1/√α, 0): diag(8α, 6α³); (0, ±1/√α): diag(6α³, 8α)",
        "Section 4.4, Eqs. 55–57", "the loss L of Eq. 53",
        "the gradient vanishes at each, and the printed Hessians are those of 2L (differences relative to the largest "
        "entry), by automatic differentiation in float64: a check of printed formulas, not of a training",
        (*(Part(f"gradient at {one}", scalar("meta_gradient_norm", view=one), exact) for one in points),
         *(Part(f"Hessian of 2L at {one}", scalar("hessian_of_2l", view=one), exact) for one in points)), nothing,
        ("stationary",), digits=2, remark=lambda _: "Those of L are half. There are further stationary points, saddles "
        "and maxima between the valleys.",
        beside=tuple(Told(f"Hessian of L at {one}", scalar("hessian_of_l", view=one)) for one in points[:2]))
    yield Claim("A3", "One step from (1/√α, b) solves any task exactly, whatever b is",
        "largest |ab − θ| after one inner step, |b| ≤ 2, |θ| ≤ 3", "exact, for any b, with a held", "Eq. 20",
        "population gradients", "it vanishes with a held fixed: a check of a printed formula",
        (Part(f"{HELD}, any b", scalar("one_step_error", view=HELD, step=1), exact),), nothing, ("one-step",), digits=2,
        beside=(Told("both move, b = 0", scalar("one_step_error", view=MOVING, step=0)),
                Told("both move, any b", scalar("one_step_error", view=MOVING, step=1))))
    near = within(50 - NEAR, 50 + NEAR, "near chance", "not near chance")
    yield Claim("A4", "Logistic regression alone does not learn to adapt, with linear layers before it it does",
        "accuracy on new tasks after one inner step, percent", "at chance; near 100 with 2 or 3 linear layers",
        "Figures 1 and B.1", "2 dimensions, labels drawn from σ(θᵀx)",
        f"without layers it is within {NEAR:g} points of chance (50), with 2 and with 3 above 90",
        (Part("no layers", logistic(0, "drawn"), near),
         *(Part(f"{n} layers", logistic(n, "drawn"), above(90)) for n in (2, 3))), nothing, ("logistic",), unit=" %",
        counted="test tasks", remark=lambda _: "Where labels are drawn, nobody is right on more than 69.3 %, so that "
        "the paper's “near 100” must be of other labels; and one step of the shallow model from MAML's solution, the "
        "origin, goes along the sum of (y − ½)x, the task's own direction.",
        beside=tuple(Told(f"{told}, {n or 'no'} layers{when}", logistic(n, view, at))
                     for view, told in (("drawn", "drawn"), ("sign", "by sign")) for n in (0, 2, 3)
                     for at, when in ((0, " before training"), ("last", "")) if (view, at) != ("drawn", "last")))

def _taught(*learner: Any) -> Any:
    return partial(untaught, learners=[key_of(*learner)])

def _linear(evidence: Evidence) -> Iterator[Claim]:
    plain, deep, chance = measured("maml", 0), measured("maml", 0, "linnet"), 100 / evidence.n_way
    missing = "The study holds no tests of softmax regression."
    yield Claim("A5", "Softmax regression hardly learns to adapt, with linear layers before it it does",
        "test accuracy", "near chance (20 %), much higher with LinNet (figures only)", "Figures 3 and B.2", _SETTING,
        f"softmax regression is within {NEAR:g} points of chance, with LinNet it is farther above",
        (Part("softmax regression", plain, within(chance - NEAR, chance + NEAR, "near chance", "not near chance")),
         Part("with LinNet", deep, above(chance + NEAR))), missing, ("linear",), unit=" %",
        beside=(Told("LinNet's gain", gain("maml", 0, "linnet"), **POINTS),))
    fallen = measured("maml", 0, "linnet", view="collapsed")
    yield Claim("A6", "Collapsed to one layer before adaptation, the linear layers serve no more",
        "test accuracy of the same function, adapted as one layer", "back to near chance (a figure only)", "Figure B.3",
        _SETTING, "collapsed it is less accurate than LinNet, and not above plain softmax regression by more than "
        f"{NEAR:g} points", (Part("collapsed − LinNet", fallen - deep, below(0, "a loss", "no loss")),
                             Part("collapsed − plain", fallen - plain, below(NEAR))), missing, ("linear",), **POINTS,
        presupposes=_taught("maml", 0, "linnet"))

def _gained(algorithm: str, depth: int, how: str = "linnet") -> Part:
    name, theirs = RULES.get(how, f"CNN({depth})"), printed_gain(algorithm, depth, how)
    return Part(name, gain(algorithm, depth, how), _GAINS, printed=theirs)

def _convolutional(evidence: Evidence) -> Iterator[Claim]:
    both, least = [one for one in depths(evidence, "linnet") if one < 6], shallowest(evidence)
    yield Claim("A7", "Linear layers help MAML in convolutional networks of up to four layers", "LinNet's gain",
        "CNN(2), (3), (4), (6): Omniglot 66.8 93.5 98.5 97.6 → 88.1 95.5 98.1 97.6; CIFAR-FS 62.2 68.9 70.9 71.3 → "
        "66.1 71.1 74.4 71.9; mini-ImageNet 52.6 54.0 64.1 64.6 → 60.5 60.2 64.9 64.1", "Table 1", _SETTING,
        "LinNet's gain is above 0 in each network of fewer than six convolutions (the paper's own is not in CNN(4) on "
        "Omniglot)",
        tuple(_gained("maml", one) for one in both or (least,)),
        "The study holds no tests of convolutional networks with and without linear layers.", ("depth",), **POINTS,
        presupposes=_taught("maml", least))
    yield Claim("A8", "Linear layers help ANIL too", "LinNet's gain in the shallowest network",
        "91.00 → 93.02, 66.10 → 67.55, 56.42 → 56.64", "Table 2", _SETTING, "LinNet's gain is above 0",
        (_gained("anil", least),), "The study holds no tests of ANIL with and without linear layers.",
        ("accuracy",), **POINTS, presupposes=_taught("anil", least))
    best = above(0, "Meta-KFO ahead", "Meta-KFO behind")
    for name, algorithm, where in (("A9", "maml", "Table 3"), ("A10", "anil", "Table B.4")):
        who, hows = algorithm.upper(), [how for how in RULED[algorithm] if how]
        ours = measured(algorithm, least, "meta_kfo")
        yield Claim(name, f"Learned update rules help {who} in a shallow network, Meta-KFO most",
            "gain over the plain rule, and of Meta-KFO over the others",
            "; ".join(f"{RULES.get(how, who)} {', '.join(map(str, one))}" for how, one in RULED[algorithm].items()),
            where, _SETTING, "every gain over plain steps is above 0, and Meta-KFO is ahead of each other rule (the "
            "paper's is not on mini-ImageNet with MAML)",
            (*(_gained(algorithm, least, how) for how in hows),
             *(Part(f"Meta-KFO − {RULES[how]}", ours - measured(algorithm, least, how), best)
               for how in hows if how != "meta_kfo")),
            f"The study holds no tests of {who} with learned update rules.", ("rules",), **POINTS,
            presupposes=_taught(algorithm, least))
    gains = {one: gain("maml", one, "meta_kfo") for one in depths(evidence, "meta_kfo")}
    yield Claim("A11", "What Meta-KFO gains over MAML shrinks as the network gets deeper", "gain of Meta-KFO",
        "the gain falls with the number of layers (figures only)", "Figures 4 and B.4", _SETTING,
        "from each depth to the next it falls, the gains taken as independent",
        tuple(Part(f"CNN({one}) − CNN({two})", gains[one] - gains[two], above(0, "falls", "rises"))
              for one, two in pairwise(gains)) or (Part("two depths", Computed(lambda _: None), _GAINS),),
        "Meta-KFO was tested at fewer than two depths.", ("depth",), **POINTS,
        beside=tuple(Told(f"CNN({one})", found) for one, found in gains.items()))
