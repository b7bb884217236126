"""The claims of zhou2021 as things to measure, and what all parts of it share: its learners and what they gain."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from metaprobe.analyses.readings import Estimate, Reading, Undefined
from metaprobe.reports import wording
from metaprobe.reports.claims import PERCENT, POINTS, Claim, Part, Told, above, below, within
from metaprobe.reports.evidence import Evidence
from metaprobe.reports.probing.clusters import apart, favourite, of_one_domain
from metaprobe.reports.probing.curves import DISTANCES
from metaprobe.reports.probing.questions import accuracy, untaught
from metaprobe.reports.quantities import ANY, Computed, Quantity, Query, q
from metaprobe.reports.wording import colour_of, number

# fmt: off
BASE, CONTINUED, LARGE = "base", "m1", "large"  # MAML; trained on, for as many steps as TSA-MAML; with a larger network
_LOOKS = {BASE: ("MAML", "#56b4e9", "o"), CONTINUED: ("MAML, continued", colour_of("maml"), "s"),
          LARGE: ("MAML, larger network", "#767676", "^")}  # label, colour and marker; all others are TSA-MAML
BASELINES = ("fomaml", "reptile", "imaml", "matching", "meta_lstm", "mmaml", "hsml")  # trained for as long
_LOOKS |= {key: (*wording.look_of(key)[:2], "P") for key in BASELINES}
_TESTED: dict[str, dict[str, Any]] = {  # all else as MAML
    "imaml": {"steps": ANY}, "meta_lstm": {"steps": ANY}, "matching": {"steps": 0, "head": "matching"}}
_AGREEMENT = 0.5  # adjusted Rand index from which clusters count as the domains: half-way from chance to identity
_USAGE = 0.9  # share of a domain's tasks on one initialisation that counts as nearly all: the paper prints 0.99 – 1
_LEAST, _MOST = 3, 11  # numbers of initialisations between which the paper finds accuracy relatively stable
_STABLE = 2.0  # points within which accuracies count as stable over m: the paper prints a figure only
_EARLY = 4  # inner steps in which the paper's loss falls fast
_SHORT = {CONTINUED: "continued", BASE: "MAML"}
_GAIN: dict[str, Any] = {"lead": "gain over MAML, and over MAML (continued)", **POINTS}
_RULE = ("TSA-MAML's gain over the MAML that it starts from, and over that MAML trained on for as many outer steps, is "
         "above 0")
SYMMETRIC = "-symmetric"  # what the key of TSA-MAML with clusters found under a symmetric head ends in
# claims on data of several domains, and of one, and what is said of them on the other
_ON_SEVERAL = ("Z1", "Z2", "Z4"), "These data are of one domain; the claim is on several, as --data mixture:A,B gives."
_ON_ONE = ("Z5", "Z6"), "The claim is on CIFAR-FS, one domain; --preset paper-cifar-fs measures it."
_TABLE_2 = {  # MAML and TSA-MAML by way and shot
    "Z5": {(5, 1): (51.98, 53.07), (5, 5): (68.91, 71.37), (10, 1): (38.48, 39.77), (10, 5): (55.24, 58.05)},
    "Z6": {(5, 1): (57.46, 58.21), (5, 5): (72.75, 73.52), (10, 1): (39.97, 42.18), (10, 5): (56.21, 58.69)}}
_TAUGHT = partial(untaught, learners=[BASE])
_NOBODY, _UP, _DOWN = Computed(lambda _: None), above(0, "above 0", "below 0"), below(0, "below 0", "above 0")

def look_of(key: str) -> wording.Look:
    """Return label, colour and marker of a learner."""
    if key.endswith(SYMMETRIC):
        return "TSA-MAML (symmetric head)", "#d55e00", "v"
    return _LOOKS.get(key, (f"TSA-MAML, m = {m_of(key)}", colour_of("tsa_maml"), "D"))

def label_of(key: str) -> str:
    """Return what a learner is called on the page."""
    return look_of(key)[0]

def m_of(key: str) -> int:
    """Return how many initialisations a learner has."""
    count = key[1:].removesuffix(SYMMETRIC)
    return int(count) if count.isdigit() else 1

def swept(evidence: Evidence) -> list[str]:
    """Return the learners with clusters as the paper has them, and MAML continued, which has one."""
    return [key for key in evidence.learners if key[1:].isdigit()]

def main_of(evidence: Evidence) -> str:
    """Return the TSA-MAML that all but the sweep is measured on: the first of several initialisations."""
    every = (*(one.key for one in evidence.made.learners), *evidence.learners)
    return next((key for key in every if m_of(key) > 1), "m3")

def plain_of(evidence: Evidence) -> str:
    """Return the MAML that TSA-MAML is compared with: trained for as long, or else its base."""
    return CONTINUED if CONTINUED in evidence.learners else BASE

def level(key: str, group: str = "") -> Quantity:
    """Return how accurate a learner is as it is tested, on a domain or, with "", on all together."""
    return accuracy(key, group=group, **_TESTED.get(key, {}))

def gain(key: str, over: str, group: str = "", view: str = "") -> Quantity:
    """Return by how much a learner is more accurate than another, on a domain or, with "", on all together."""
    return accuracy(key, group=group, view=view) - accuracy(over, group=group, view=view)

def breaks_the_theorem(evidence: Evidence) -> str:
    """Return why the bound says nothing of these learners, or "" where nothing contradicts its condition."""
    alpha, smooth = evidence.made.inner_lr, q("estimated_smoothness", learner=main_of(evidence)).read(evidence)
    if not isinstance(smooth, Estimate) or smooth.value * alpha <= 1:
        return ""
    told = f"Here α = {alpha:g} and L is at least {number(smooth.value)}, so that the theorem's α ≤ 1/L fails"
    return f"{told}: the bound says nothing of these learners, however large its terms."

def claims(evidence: Evidence) -> tuple[Claim, ...]:
    """Return the claims, put to these learners and domains; those that are on other data than these say so."""
    lacking, told = _ON_SEVERAL if of_one_domain(evidence) else _ON_ONE
    def put(claim: Claim) -> Claim:
        if claim.id in lacking:
            nobody = (replace(claim.parts[0], quantity=_NOBODY),)
            return replace(claim, parts=nobody, beside=(), evidence=(), needs=told)
        return claim if claim.id == "Z10" else replace(claim, presupposes=_TAUGHT)  # (Z10 is of a formula)
    return tuple(map(put, (*_of_domains(evidence), *_of_learners(evidence))))

def _of_domains(evidence: Evidence) -> Iterator[Claim]:
    main, plain, trained = main_of(evidence), plain_of(evidence), evidence.trained_steps
    domains = evidence.distinct("group", "accuracy")
    yield Claim("Z1", "An initialisation for each cluster makes MAML more accurate on tasks from several domains",
        "mean test accuracy", "63.86 → 68.17 (Aircraft, Birds, Fungi), 56.25 → 59.98 (Cars, Birds, Fungi)",
        "Table 1", "5-way 5-shot, transductive, 84×84, 40,000 iterations, 600 tasks a domain",
        f"{_RULE} on all domains together and on no single one below 0",
        tuple(Part(f"{at or 'all'} ({told})", gain(main, over, at),
                   above(0, "no loss", "loses", lenient=True) if at else _UP,
                   printed=(4.31, 3.73) if (at, over) == ("", BASE) else ())
              for at in ("", *domains) for over, told in _SHORT.items()),
        "The study holds no accuracy of TSA-MAML and MAML on the same tasks.", ("accuracy-figure", "accuracy"),
        beside=_levels(BASE, plain, main), **_GAIN)
    yield Claim("Z2", "Adapted parameters show which domain a task is from, sample features do not",
        "adjusted Rand index of k-means clusters of tasks with their domains",
        "features mixed, adapted parameters in groups by domain", "Figure 1", "tasks in the plane, no number",
        f"it is above {_AGREEMENT:g} for clusters by adapted parameters and below for those by mean features",
        tuple(Part(name, q("adjusted_rand", learner=main, view=view), rule) for name, view, rule in (
            ("adapted parameters", "all", above(_AGREEMENT, "in groups by domain", "not in groups by domain")),
            ("mean features", "features", below(_AGREEMENT, "mixed", "not mixed")))),
        "The study holds no clusters of tasks beside their domains.", ("agreement-figure", "agreement"), digits=2)
    yield Claim("Z3", "Test loss falls in the first inner steps and then rises; TSA-MAML's lies below MAML's",
        "change of the query loss", f"falls fast for about {_EARLY} steps, then rises; TSA-MAML below MAML",
        "Figures 2 and 6", "1,000 tasks", f"for MAML and TSA-MAML it falls up to step {_EARLY} and rises from there "
        f"to the last step; TSA-MAML's loss is below MAML's at step {trained}; all on the same tasks",
        (*_curve(evidence, plain), *_curve(evidence, main), Part(f"TSA-MAML less {_SHORT[plain]}",
         q("query_loss", learner=main, step=trained) - q("query_loss", learner=plain, step=trained), _DOWN)),
        "The study holds no curves over the inner steps.", ("step-curves",), digits=2, unit=" nats", signed=True)
    yield Claim("Z4", "Tasks of one domain start from one initialisation",
        "share of a domain's tasks on the initialisation that most of them start from", "0.99 – 1.00", "Figure 3",
        "1,000 tasks a domain, m = 3", f"it is above {_USAGE:g} on every domain, and no two domains share theirs",
        (*(Part(at, favourite(main, at), above(_USAGE), printed=(0.99, 1.0)) for at in domains),
         Part("domains on their own", apart(main), above(0.99, "all of them", "not all of them"))),
        "The study holds no count of the initialisations that tasks start from.", ("usage-heatmap",), digits=2,
        remark=lambda _: f"With {m_of(main)} initialisations some have to share." * (m_of(main) < len(domains)))

def _levels(*keys: str, view: str = "") -> tuple[Told, ...]:
    return tuple(Told(label_of(key), accuracy(key, view=view), **PERCENT) for key in dict.fromkeys(keys))

def _of_learners(evidence: Evidence) -> Iterator[Claim]:
    main, plain, task = main_of(evidence), plain_of(evidence), (evidence.n_way, evidence.made.n_shot)
    # (tests with queries one by one have rows of their own; all others normalise as in training)
    trained = {value for _, name, value in evidence.made.configs if name == "norm"} or {"transductive"}
    for name, title, view, by in (
        ("Z5", "On CIFAR-FS TSA-MAML is more accurate than MAML, non-transductive", "one-query",
         "the support set and itself"), ("Z6", "The same, transductive", "", "all queries of its task")):
        asked, paper = bool(view) or trained == {"transductive"}, _TABLE_2[name]
        theirs = tuple(tsa - maml for at, (maml, tsa) in paper.items() if at == task)
        parts = (Part(told, gain(main, over, view=view) if asked else _NOBODY, _UP, printed=theirs * (over == BASE))
                 for over, told in _SHORT.items())
        yield Claim(name, title, f"test accuracy, each query normalised with {by}",
            ", ".join(f"{maml} → {tsa}" for maml, tsa in paper.values()), "Table 2",
            "CIFAR-FS, 5-way 1-, 5-shot, 10-way 1-, 5-shot; 600 tasks", _RULE, tuple(parts),
            f"The study holds no accuracy of TSA-MAML and MAML with each query normalised with {by}.",
            beside=_levels(BASE, plain, main, view=view) * asked, **_GAIN)
    steps = [step for step in evidence.distinct("step", "estimated_first_term", main) if step]
    terms = {step: q("estimated_first_term", learner=main, step=step) for step in steps}
    ends = steps[:1] if breaks_the_theorem(evidence) else dict.fromkeys(steps[:1] + steps[-1:])
    yield Claim("Z7", "The number of initialisations matters little from 3 to 11, and one is worse",
        "gain over m = 1, and change from the first m", "stable for m = 3 … 11; m = 1 is MAML", "Figure 4",
        "CIFAR-FS, 10-way 1-shot", f"for every m from {_LEAST} to {_MOST}, at least two, the gain is above 0 and the "
        f"change within ±{_STABLE:g} points", _sweep(evidence),
        f"The study holds no m from {_LEAST} to {_MOST} beside m = 1.", ("sweep",), **POINTS)
    yield Claim("Z8", "A larger network does not make up for it", "gain of MAML with a larger network over TSA-MAML",
        "72.68, 69.73, 54.18 against 72.84, 74.80, 56.86", "Section 5.1",
        "Aircraft, Birds, Fungi; seven layers, about 3× the parameters", "it is below 0 on all domains together",
        (Part("larger less TSA-MAML", gain(LARGE, main), _DOWN),), "The study holds no MAML with a larger network.",
        ("accuracy-figure", "accuracy"), **POINTS, remark=_size, beside=_levels(LARGE))
    yield Claim("Z9", "TSA-MAML's initialisation is nearer to the task's optimum",
        "mean squared distance from the (assigned) initialisation to the task's optimum, and its difference",
        "smaller for TSA-MAML", "Sections 3.2, 4.1", "argued", "it is smaller, for both estimates of the optimum",
        tuple(Part(name, q(measure, learner=main) - q(measure, learner=plain), below(0, "nearer", "farther"))
              for measure, name in DISTANCES.items()),
        "The study holds no estimate of the distance to a task's optimum.", ("bound-figure", "bound"),
        lead=f"squared distance, and TSA-MAML's less that of {label_of(plain)}", digits=2, signed=True,
        remark=lambda _: "An optimum that is found from an initialisation is near it for that reason alone.",
        beside=tuple(Told(f"{name}, {_SHORT.get(key, 'TSA-MAML')}", q(measure, learner=key), signed=False)
                     for measure, name in DISTANCES.items() for key in (plain, main)))
    yield Claim("Z10", "The first term of the bound on the excess risk grows with the number of inner steps",
        f"first term of {label_of(main)}, and its growth from step to step", "grows", "Theorem 1",
        "derived, for α ≤ 1/L", "it grows at every step (by its formula it does whenever L > 0: measured is how "
        "fast), and nothing contradicts the theorem's α ≤ 1/L",
        (Part("smallest growth", Computed(lambda found: _growth(found, terms.values())), _UP),),
        "The study holds no estimate of the bound's terms.", ("bound-figure", "bound"), digits=3, unit=" nats",
        beside=tuple(Told(f"at step {step}", terms[step]) for step in ends), guard=breaks_the_theorem)

def _curve(evidence: Evidence, key: str) -> tuple[Part, Part]:
    """Return the fall and the rise of a learner's query loss: up to an early step, and from there to the last."""
    last = max(evidence.distinct("step", "query_loss", key), default=evidence.trained_steps)
    early, name = min(_EARLY, last), _SHORT.get(key, "TSA-MAML")
    start, low, end = (q("query_loss", learner=key, step=step) for step in (0, early, last))
    return (Part(f"{name}, steps 0–{early}", low - start, below(0, "falls", "does not fall")),
            Part(f"{name}, steps {early}–{last}", end - low if last > early else _NOBODY,
                 above(0, "rises", "does not rise")))

def _sweep(evidence: Evidence) -> tuple[Part, ...]:
    flat = [key for key in swept(evidence) if _LEAST <= m_of(key) <= _MOST]
    stable = within(-_STABLE, _STABLE, "stable", "not stable")
    return (*(Part(f"gain with m = {m_of(key)}", gain(key, CONTINUED), _UP) for key in flat),
            *(Part(f"change to m = {m_of(key)}", gain(key, flat[0]), stable) for key in flat[1:]),
            *[Part("change to another m", _NOBODY, stable)] * (len(flat) == 1))

def _growth(evidence: Evidence, terms: Iterable[Query]) -> Reading:
    found = [term.read(evidence) for term in terms]
    known = [one.value for one in found if isinstance(one, Estimate)]
    if len(known) < 2:
        return Undefined("fewer than two steps give a finite number") if any(found) else None
    least = min(after - before for before, after in itertools.pairwise(known))
    return Estimate(least, least, least)  # a formula of two estimates from below: no sample, no interval

def _size(evidence: Evidence) -> str:
    sizes = {one.key: one.parameters for one in evidence.made.learners if one.parameters}
    more = f"{number(sizes[LARGE] / sizes[BASE])} times the parameters and " if {LARGE, BASE} <= set(sizes) else ""
    return f"It has {more}as many outer steps as both trainings."
