"""What the zhou2021 page shows: the answer first, then what each section asks, what it shows, and how to read that."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from metaprobe.analyses.readings import Estimate
from metaprobe.reports.blocks.declared import Dots, Figure, Grid, Line, Said, Series
from metaprobe.reports.claims import POINTS, Verdict, above, below
from metaprobe.reports.evidence import Evidence
from metaprobe.reports.papers.zhou2021 import claims as of
from metaprobe.reports.papers.zhou2021.claims import BASE, CONTINUED, LARGE, gain, label_of, look_of, m_of, main_of
from metaprobe.reports.probing import blocks, clusters
from metaprobe.reports.probing.curves import bound, step_curves
from metaprobe.reports.probing.questions import accuracy
from metaprobe.reports.probing.reuse import VIEW, freezing_told, reused
from metaprobe.reports.quantities import Quantity, q
from metaprobe.reports.study.study import Answer, Cite, Judgements, Section
from metaprobe.reports.wording import capital, count, listed, number, with_interval

# fmt: off
_OPEN = {"undecided": "is undecided", "not measured": "was not measured"}

def answer(evidence: Evidence, judged: Judgements) -> Answer:
    """Answer the study's question: what helps, what the clusters are, and what speaks against it."""
    alone = clusters.of_one_domain(evidence)
    decides = "Z6" if alone else "Z1"
    helps, finds = judged[decides].verdict, judged["Z4"].verdict
    headline = capital(_outcome("an initialisation for each cluster", "helps", "does not help", helps))
    rules = f"Claim {decides} decides whether initialisations by cluster help"
    if "not applicable" in (helps, finds):
        headline = "Nothing is shown to have been learned that initialisations could improve"
        rules = judged[decides].why
    elif alone:
        headline, rules = f"{headline}, on one domain", f"{rules}: on data of one domain, transductive."
    else:
        bridge = ", and " if (helps == "holds") == (finds == "holds") else "; "
        headline += bridge + _outcome("the clusters", "are the domains", "are not the domains", finds)
        rules += ", claim Z4 whether the clusters are the domains."
    return Answer(headline, tuple(_sentences(evidence, judged)), rules, _figure(evidence))

def _outcome(subject: str, yes: str, no: str, verdict: Verdict) -> str:
    if verdict in _OPEN:
        return f"whether {subject} {yes} {_OPEN[verdict]}"
    return f"{subject} {yes if verdict == 'holds' else no}"

def _sentences(evidence: Evidence, judged: Judgements) -> Iterator[str]:
    main, made = main_of(evidence), evidence.made
    gains = {label_of(over): gain(main, over).read(evidence) for over in (BASE, CONTINUED)}
    told = [f"{with_interval(found, **POINTS)} over {over}" for over, found in gains.items() if found]
    own = with_interval(accuracy(main).read(evidence), 1, " %")
    over = "" if clusters.of_one_domain(evidence) else " over all domains"
    several = " Only the gain over MAML, continued, is that of several initialisations alone." * (len(told) > 1)
    yield f"On {made.task} tasks of {made.data_name}, " + (
        f"{label_of(main)} is right on {own} of queries{over}: {' and '.join(told)}.{several}" if told
        else "the accuracy of TSA-MAML beside MAML was not measured.")
    *domains, apart = judged["Z4"].parts
    if known := [(one.reading.value, one.part.name) for one in domains if isinstance(one.reading, Estimate)]:
        (share, domain), which = min(known), "no two" if apart.verdict == "holds" else "some"
        yield (f"Of the tasks of a domain, at least {number(100 * share)} % ({domain}) start from one initialisation; "
               f"{which} domains share theirs.")
    by, verdict = [one.reading for one in judged["Z2"].parts if one.reading], judged["Z2"].verdict
    if len(by) == 2 and verdict != "not applicable":
        yield (f"Clusters of tasks agree with the domains to {with_interval(by[0], 2)} by adapted parameters and to "
               f"{with_interval(by[1], 2)} by mean features (adjusted Rand index, 0 chance, 1 identity): that only the "
               f"former show the domains, as the paper says, {_OPEN.get(verdict, verdict)}.")
    order = "unchanged_by_label_order"
    stay, chance = (q(name, learner=main, view="all").read(evidence) for name in (order, f"{order}_null"))
    if below(0.9).judge(stay) == "holds":  # else the order of the labels is not worth a sentence
        yield (f"A share of {with_interval(stay, 2)} of tasks stay in their cluster when only the labels of their "
               f"classes are permuted{f', {with_interval(chance, 2)} by chance' * bool(chance)}: the clusters depend "
               "on the order of the labels.")
    yield from _by_kind(evidence)
    yield from filter(None, [freezing_told(evidence, evidence.learners, look_of, VIEW)])
    if gap := gain(LARGE, main).read(evidence):
        told = with_interval(gap, **POINTS)
        yield f"MAML with a larger network, trained for as many steps, differs from TSA-MAML by {told}."

def _by_kind(evidence: Evidence) -> Iterator[str]:
    told = []
    for key, by in ((main := main_of(evidence), "the paper's clusters"), (main + of.SYMMETRIC, "a symmetric head's")):
        over = gain(key, CONTINUED).read(evidence)
        rand = q("adjusted_rand", learner=key, view="assignment").read(evidence)
        if over is None:
            return
        word = {"holds": "gains", "does not hold": "loses"}.get(above(0).judge(over), "neither gains nor loses clearly")
        agrees = f" (clusters agree with the domains to {with_interval(rand, 2)})" * isinstance(rand, Estimate)
        told.append(f"with {by} it {word}, {with_interval(over, **POINTS)}{agrees}")
    yield (f"TSA-MAML against MAML trained on for as long: {'; '.join(told)}. The latter, where the order of labels "
           "cannot count, are not in the paper.")

def _series(key: str, label: str, quantities: Iterable[Quantity | None], line: str = "") -> Series:
    return Series(label, look_of(key)[1], tuple(quantities), look_of(key)[2], line)

def _figure(evidence: Evidence) -> Figure:
    main, places = main_of(evidence), ("", *evidence.distinct("group", "accuracy"))
    keys = dict.fromkeys((BASE, of.plain_of(evidence), main, main + of.SYMMETRIC, LARGE, *of.BASELINES))
    names, keys = tuple(place or "all" for place in places), [key for key in keys if key in evidence.learners]
    levels = [_series(key, label_of(key), (of.level(key, at) for at in places)) for key in keys]
    gains = [_series(key, f"over {label_of(key)}", (gain(main, key, at) for at in places)) for key in (CONTINUED, BASE)]
    panels = (Dots("Test accuracy (%)", names, tuple(levels)),
              Dots("Gain of TSA-MAML (points, paired)", names, tuple(gains), line=(0.0, "")))
    return Figure("accuracy-figure", "Test accuracy of each learner, and the gain of TSA-MAML, on all domains together "
                  "and each.", panels, ("Accuracy by domain", "The table holds no test accuracies."))

_PLANES = {("features", "maml"): "Mean features", ("all", "maml"): "Adapted by MAML",
           ("all", "tsa_maml"): "Adapted by TSA-MAML"}

_REUSE = (
    "Which learners reuse their body, and which relearn it for each task? Each is adapted with its own number of steps "
    "on tasks of all domains together. What a task sets without a gradient, as a modulation (MMAML) or gates (HSML), "
    "counts as adapted. Matching networks take no inner steps: they relearn nothing.")

def sections(evidence: Evidence, _: Cite) -> tuple[Section, ...]:
    """Return the sections after the claims; the study's own works stand first in the references, in its order."""
    main, sweep, alone = main_of(evidence), sorted(of.swept(evidence), key=m_of), clusters.of_one_domain(evidence)
    ms = listed([str(m_of(key)) for key in sweep]) or "none"
    looks = {key: look_of(key) for key in (BASE, of.plain_of(evidence), main)}
    compared = dict(list(looks.items())[-2:])
    probed = [key for key in evidence.learners if evidence.distinct("view", "reuse_index", key, view=VIEW)]
    return (
        Section("accuracy-section", "Accuracy by domain", details=_accuracies(evidence, sweep), text=(
            "MAML, continued, is trained on from MAML as TSA-MAML is, for as many outer steps, of which each of m "
            "initialisations takes about 1/m (claims Z1 and Z8). The paper compares with MAML before it.",), glossary=(
            ("MAML", "trains one initialisation from which a few gradient steps solve a task [2]"),
            ("TSA-MAML", "tasks are clustered by the parameters that MAML adapts to them; each cluster trains an "
             "initialisation of its own, and a new task starts from that of the nearest cluster [1]"))),
        Section("usage-section", "Which initialisation a task starts from", text=(
            "Nobody tells TSA-MAML which domain a task is from. Do tasks of one start from the same (claim Z4)?",),
            blocks=(clusters.usage(evidence, "usage-heatmap", {main: label_of(main)}),)),
        *[clusters.agreement(evidence, main, "claim Z2")] * (not alone),
        *[_symmetric(evidence)] * (main + of.SYMMETRIC in evidence.learners),
        *[Section("embedding-section", "Tasks in the plane", text=(
            "Such pictures mislead: axes, distances between groups and their sizes mean little, and t-SNE and UMAP "
            "draw groups also where there are none (see the section above). Adapted by TSA-MAML, tasks lie in groups "
            "by their initialisation: that says something of domains only where a group has one colour.",),
            glossary=(("trustworthiness", "1 when all neighbours in the plane are true neighbours, else lower [6]"),),
            blocks=(clusters.embedded(evidence, main, _PLANES),))] * (not alone),
        Section("steps-section", "More and more inner steps", text=(
            "After many, a learner may fit its few images too closely (claim Z3).",),
            blocks=(step_curves(evidence, looks, compared,
                                "Light bands: quartiles of tasks (not for MAML before it was continued)."),)),
        Section("sweep-section", "How many initialisations", blocks=(_sweep(evidence, sweep),), text=(
            f"Trained with m = {ms}; all else on this page is about {label_of(main)} (claim Z7).",)),
        bound(evidence, compared, "claims Z9 and Z10", of.breaks_the_theorem(evidence)),
        *[reused(evidence, probed, look_of, _REUSE, view=VIEW)] * bool(probed))

def _accuracies(evidence: Evidence, sweep: list[str]) -> tuple[Grid, Grid]:
    main = main_of(evidence)
    keys = (BASE, *sweep, main + of.SYMMETRIC, LARGE, *of.BASELINES)
    pairs = ((main, CONTINUED), (LARGE, CONTINUED), (CONTINUED, BASE), (main, BASE), (LARGE, main))
    sizes = {one.key: (f"{m_of(one.key)} × " * (m_of(one.key) > 1) + f"{one.parameters:,} parameters",)
             for one in evidence.made.learners if one.parameters}
    return _table(evidence, "accuracy",
        f"Test accuracy (%) after {count(evidence.trained_steps, 'inner step')}, and differences.", keys, pairs, sizes,
        ("The paper, MAML → TSA-MAML (means: claim Z1): aircraft 67.82 ±0.65 → 72.84 ±0.63; birds 70.55 "
         "±0.77 → 74.80 ±0.76; fungi 53.20 ±0.82 → 56.86 ±0.87.",
         *["iMAML takes 16 inner steps, the Meta-LSTM 12 at one shot and 8 at more, matching networks none."]
         * (not {*of.BASELINES}.isdisjoint(evidence.learners)),
        )), blocks.learned(evidence, {key: label_of(key) for key in keys}, own=of.level)

def _table(evidence: Evidence, name: str, caption: str, keys: Iterable[str], pairs: Iterable[tuple[str, ...]],
           under: Mapping[str, tuple[str, ...]], notes: tuple[str, ...] = ()) -> Grid:
    places = ("", *evidence.distinct("group", "accuracy"))
    levels = (Line(label_of(key), tuple(Said(of.level(key, at)) for at in places), under.get(key, ())) for key in keys)
    gains = (Line(f"{label_of(key)} − {label_of(over)}",
                  tuple(Said(gain(key, over, at), signed=True) for at in places), ("paired, points",))
             for key, over in pairs)
    return Grid(name, caption, ("Learner", "All domains", *places[1:]), (*levels, *gains), notes=notes)

def _sweep(evidence: Evidence, sweep: list[str]) -> Figure:
    main, ms, axis = main_of(evidence), tuple(str(m_of(key)) for key in sweep), "Number m of initialisations"
    levels = _series(main, "", (accuracy(key) for key in sweep), "-")
    gains = _series(main, "", (gain(key, CONTINUED) if key != CONTINUED else None for key in sweep))
    panels = (Dots("Test accuracy, all domains (%)", ms, (levels,), axis=axis),
              Dots("Gain over m = 1 (points, paired)", ms, (gains,), axis=axis, line=(0.0, "")))
    return Figure("sweep", "Accuracy against the number of initialisations.", panels if len(ms) > 1 else (),
                  ("Sweep over m", "The table holds accuracies of one m only."))

def _symmetric(evidence: Evidence) -> Section:
    main = main_of(evidence)
    both = {key: label_of(key) for key in (main, main + of.SYMMETRIC)}
    pairs = (*((key, over) for over in (BASE, CONTINUED) for key in both), tuple(reversed(both)))
    return Section("symmetric-section", "Clusters that follow the domain, not the order of labels",
        ("Which class of a task has which label is chance, but it decides the gradient of the head and through it that "
         "of the body, so that clusters may follow the order of labels. With a symmetric head tasks are clustered and "
         "assigned by the body, adapted under a head whose rows are all their mean: its path is then the same for "
         "every order. All else is as for the paper's own TSA-MAML, which claims Z1 to Z10 are about; the paper has "
         "nothing of this kind. Does TSA-MAML gain over MAML trained on for as long, with it and without?",), (),
        (clusters.usage(evidence, "symmetric-usage", both),
         _table(evidence, "symmetric-gains", "Test accuracy (%) of both kinds of clusters, and what is gained.", both,
                pairs, {})),
        (clusters.by_kind("symmetric-clusters", both),))
