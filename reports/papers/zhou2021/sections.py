"""The sections of the zhou2021 page: what each asks, what it shows, and how to read that."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from reports.blocks.declared import Curve, Curves, Dots, Figure, Grid, Line, Said
from reports.evidence import Evidence
from reports.papers.zhou2021 import claims as of
from reports.papers.zhou2021.claims import BASE, CONTINUED, DISTANCES, LARGE, gain, label_of, look_of, m_of, main_of
from reports.probing import blocks, clusters
from reports.probing.curves import step_curves
from reports.probing.questions import accuracy
from reports.quantities import q
from reports.study.study import Cite, Section
from reports.wording import count, listed

# fmt: off
_PLANES = {("features", "maml"): "Mean features", ("all", "maml"): "Adapted by MAML",
           ("all", "tsa_maml"): "Adapted by TSA-MAML"}
_TERMS = {measure: f"Squared distance, {name}" for measure, name in DISTANCES.items()} | {
    "estimated_optimum_loss": "Loss at the own optimum (nats)",
    "estimated_optimum_gradient_norm": "Gradient norm at the own optimum",
    "estimated_gradient_bound": "G, lower estimate", "estimated_smoothness": "L, lower estimate",
    "estimated_growth": "ρ = 1 + 2αL", "estimated_second_term": "Second term"}

def sections(evidence: Evidence, _: Cite) -> tuple[Section, ...]:
    """Return the sections after the claims; the study's own works stand first in the references, in its order."""
    main, sweep, alone = main_of(evidence), sorted(of.swept(evidence), key=m_of), clusters.of_one_domain(evidence)
    ms = listed([str(m_of(key)) for key in sweep]) or "none"
    looks = {key: look_of(key) for key in (BASE, of.plain_of(evidence), main)}
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
        *[clusters.agreement(evidence, main, "TSA-MAML", "claim Z2")] * (not alone),
        *[_symmetric(evidence)] * (main + of.SYMMETRIC in evidence.learners),
        *[Section("embedding-section", "Tasks in the plane", text=(
            "Such pictures mislead: axes, distances between groups and their sizes mean little, and t-SNE and UMAP "
            "draw groups also where there are none (see the section above). Adapted by TSA-MAML, tasks lie in groups "
            "by their initialisation: that says something of domains only where a group has one colour.",),
            glossary=(("trustworthiness", "1 when all neighbours in the plane are true neighbours, else lower [6]"),),
            blocks=(clusters.embedded(evidence, main, "TSA-MAML", _PLANES),))] * (not alone),
        Section("steps-section", "More and more inner steps", text=(
            "After many, a learner may fit its few images too closely (claim Z3).",),
            blocks=(step_curves(evidence, looks, list(looks)[-2:],
                                "Light bands: quartiles of tasks (not for MAML before it was continued)."),)),
        Section("sweep-section", "How many initialisations", blocks=(_sweep(evidence, sweep),), text=(
            f"Trained with m = {ms}; all else on this page is about {label_of(main)} (claim Z7).",)),
        _bound(evidence))

def _accuracies(evidence: Evidence, sweep: list[str]) -> tuple[Grid, Grid]:
    main = main_of(evidence)
    keys = (BASE, *sweep, main + of.SYMMETRIC, LARGE)
    pairs = ((main, CONTINUED), (LARGE, CONTINUED), (CONTINUED, BASE), (main, BASE), (LARGE, main))
    sizes = {one.key: (f"{m_of(one.key)} × " * (m_of(one.key) > 1) + f"{one.parameters:,} parameters",)
             for one in evidence.made.learners if one.parameters}
    return _table(evidence, "accuracy",
        f"Test accuracy (%) after {count(evidence.trained_steps, 'inner step')}, and differences.", keys, pairs, sizes,
        ("The paper, MAML → TSA-MAML (means: claim Z1): aircraft 67.82 ±0.65 → 72.84 ±0.63; birds 70.55 "
         "±0.77 → 74.80 ±0.76; fungi 53.20 ±0.82 → 56.86 ±0.87.",)), blocks.learned(
        evidence, {key: label_of(key) for key in keys}, of.MARGIN)

def _table(evidence: Evidence, name: str, caption: str, keys: Iterable[str], pairs: Iterable[tuple[str, ...]],
           under: Mapping[str, tuple[str, ...]], notes: tuple[str, ...] = ()) -> Grid:
    places = ("", *evidence.distinct("group", "accuracy"))
    levels = (Line(label_of(key), tuple(Said(accuracy(key, group=at)) for at in places),
                   under.get(key, ())) for key in keys)
    gains = (Line(f"{label_of(key)} − {label_of(over)}",
                  tuple(Said(gain(key, over, at), signed=True) for at in places), ("paired, points",))
             for key, over in pairs)
    return Grid(name, caption, ("Learner", "All domains", *places[1:]), (*levels, *gains), notes=notes)

def _sweep(evidence: Evidence, sweep: list[str]) -> Figure:
    main, ms, axis = main_of(evidence), tuple(str(m_of(key)) for key in sweep), "Number m of initialisations"
    levels = of.series(main, "", (accuracy(key) for key in sweep), "-")
    gains = of.series(main, "", (gain(key, CONTINUED) if key != CONTINUED else None for key in sweep))
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
        (clusters.by_kind("symmetric-clusters", both, "TSA-MAML"),))

def _bound(evidence: Evidence) -> Section:
    keys, curves, lines, notes = dict.fromkeys((of.plain_of(evidence), main_of(evidence))), [], [], []
    for key in keys:
        steps = [step for step in evidence.distinct("step", "estimated_first_term", key) if step]
        for which, flat in (("first", False), ("second", True)):
            points = tuple((n, q(f"estimated_{which}_term", learner=key, step="last" if flat else n)) for n in steps)
            curves.append(Curve(f"{label_of(key)}: {which} term", look_of(key)[1], points, dashed=flat))
    for measure, name in _TERMS.items():
        digits = 3 if measure.startswith("estimated_optimum") else 2
        lines.append(Line(name, tuple(Said(q(measure, learner=key), digits) for key in keys), ("estimate",)))
        told = [row.reason for key in keys for row in evidence.where(measure, key) if row.reason][:1]
        notes += [f"{name}: {why.removeprefix('estimate: ').replace('θ_T*', 'the optimum')}." for why in told]
    near = tuple(of.series(key, label_of(key), (q(m, learner=key) for m in DISTANCES)) for key in keys)
    return Section("bound-section", "Distance to the optimum, and the bound",
        ("The paper bounds the excess risk after q inner steps on K support samples by two terms (claims Z9 and Z10): "
         "2G²/(KL) times (ρ to the power q) − 1, ρ = 1 + 2αL, and 1/(2α) times the mean squared distance from "
         "initialisation to optimum. G and L, how steep and how curved the loss is at most, are known from below only. "
         "Nor has a loss a single optimum: the own one is where descent from the learner's adapted parameters ends, so "
         "near by that alone; the common one, where descent from MAML's ends, favours the learner nearest to it.",
         *filter(None, [of.breaks_the_theorem(evidence)])), (),
        (Figure("bound-figure", "Distance from where a task starts to its optimum, and the terms of the bound.",
            (Dots("Squared distance to the optimum (estimate)", tuple(DISTANCES.values()), near),
             Curves("Terms of the bound (estimates, nats)", "Inner steps q", tuple(curves), log=True, ends=False)),
            ("Distance to the optimum", "The table holds no estimates of the bound's terms.")),),
        (Grid("bound", "What the bound is made of.", ("Quantity", *map(label_of, keys)), tuple(lines),
              notes=tuple(notes)),))
