"""The sections of the zhou2021 page: what each asks, what it shows, and how to read that."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import combinations, product

from reports.blocks.declared import Curve, Curves, Dots, Figure, Grid, Line, Map, Point, Said, Scatter, Series, Under
from reports.evidence import Evidence
from reports.names import GROUP_MARKS, colour_of
from reports.page.parts import Cell
from reports.papers.zhou2021 import claims as of
from reports.papers.zhou2021.claims import BASE, CONTINUED, DISTANCES, LARGE, gain, label_of, look_of, m_of, main_of
from reports.quantities import q, taken
from reports.study.study import Cite, Section
from reports.wording import DASH, count, listed

# fmt: off
_METHODS = {"umap": "UMAP", "tsne": "t-SNE", "pca": "PCA"}
_PLANES = {("features", "maml"): "Mean features", ("all", "maml"): "Adapted by MAML",
           ("all", "tsa_maml"): "Adapted by TSA-MAML"}
_VIEWS = {"assignment": "TSA-MAML's own assignment", "all": "all adapted parameters", "body": "adapted body",
          "head": "adapted head", "features": "mean features"}
_SCORES = {"adjusted_rand": ("adjusted Rand index", "tsa_maml", "D"),
           "normalised_mutual_information": ("normalised mutual information", "maml", "s"),
           "purity": ("purity", "nil", "o")}
_TERMS = {measure: f"Squared distance, {name}" for measure, name in DISTANCES.items()} | {
    "estimated_optimum_loss": "Loss at the own optimum (nats)",
    "estimated_optimum_gradient_norm": "Gradient norm at the own optimum",
    "estimated_gradient_bound": "G, lower estimate", "estimated_smoothness": "L, lower estimate",
    "estimated_growth": "ρ = 1 + 2αL", "estimated_second_term": "Second term"}

def sections(evidence: Evidence, _: Cite) -> tuple[Section, ...]:
    """Return the sections after the claims; the study's own works stand first in the references, in its order."""
    sweep, alone = sorted(of.swept(evidence), key=m_of), of.of_one_domain(evidence)
    ms = listed([str(m_of(key)) for key in sweep]) or "none"
    found = (
        Section("accuracy-section", "Accuracy by domain", details=(_accuracies(evidence, sweep),), text=(
            "MAML, continued, is trained on from MAML as TSA-MAML is, for as many outer steps, of which each of m "
            "initialisations takes about 1/m (claims Z1 and Z8). The paper compares with MAML before it.",), glossary=(
            ("MAML", "trains one initialisation from which a few gradient steps solve a task [2]"),
            ("TSA-MAML", "tasks are clustered by the parameters that MAML adapts to them; each cluster trains an "
             "initialisation of its own, and a new task starts from that of the nearest cluster [1]"))),
        Section("usage-section", "Which initialisation a task starts from", text=(
            "Nobody tells TSA-MAML which domain a task is from. Do tasks of one start from the same (claim Z4)?",),
            blocks=(_used(evidence, "usage-heatmap", main_of(evidence)),)),
        _agreement(evidence), _symmetric(evidence),
        Section("embedding-section", "Tasks in the plane", blocks=(_embedded(evidence),), text=(
            "Such pictures mislead: axes, distances between groups and their sizes mean little, and t-SNE and UMAP "
            "draw groups also where there are none (see the section above). Adapted by TSA-MAML, tasks lie in groups "
            "by their initialisation: that says something of domains only where a group has one colour.",),
            glossary=(("trustworthiness", "1 when all neighbours in the plane are true neighbours, else lower [6]"),)),
        Section("steps-section", "More and more inner steps", blocks=(_curves(evidence),), text=(
            "After many, a learner may fit its few images too closely (claim Z3).",)),
        Section("sweep-section", "How many initialisations", blocks=(_sweep(evidence, sweep),), text=(
            f"Trained with m = {ms}; all else on this page is about {label_of(main_of(evidence))} (claim Z7).",)),
        _bound(evidence))
    out = ("agreement-section", "embedding-section") * alone
    out += ("symmetric-section",) * (of.symmetric_of(main_of(evidence)) not in evidence.learners)
    return tuple(one for one in found if one.name not in out)

def _accuracies(evidence: Evidence, sweep: list[str]) -> Grid:
    main, places = main_of(evidence), ("", *evidence.distinct("group", "accuracy"))
    sizes = {one.key: (f"{m_of(one.key)} × " * (m_of(one.key) > 1) + f"{one.parameters:,} parameters",)
             for one in evidence.made.learners if one.parameters}
    lines = [_level(key, places, sizes.get(key, ())) for key in (BASE, *sweep, of.symmetric_of(main), LARGE)]
    pairs = ((main, CONTINUED), (LARGE, CONTINUED), (CONTINUED, BASE), (main, BASE), (LARGE, main))
    return Grid("accuracy", f"Test accuracy (%) after {count(evidence.trained_steps, 'inner step')}, and differences.",
        ("Learner", "All domains", *places[1:]), (*lines, *_gains(pairs, places)), ("Accuracies", ""),
        ("The paper, MAML → TSA-MAML (means: claim Z1): aircraft 67.82 ±0.65 → 72.84 ±0.63; birds 70.55 "
         "±0.77 → 74.80 ±0.76; fungi 53.20 ±0.82 → 56.86 ±0.87.",))

def _level(key: str, places: Iterable[str], under: tuple[str, ...] = ()) -> Line:
    return Line(label_of(key), tuple(Said(q("accuracy", learner=key, group=at)) for at in places), under)

def _gains(pairs: Iterable[tuple[str, str]], places: Iterable[str]) -> Iterator[Line]:
    for key, over in pairs:
        told = tuple(Said(gain(key, over, at), signed=True) for at in places)
        yield Line(f"{label_of(key)} − {label_of(over)}", told, ("paired, points",))

def _sweep(evidence: Evidence, sweep: list[str]) -> Figure:
    main, ms, axis = main_of(evidence), tuple(str(m_of(key)) for key in sweep), "Number m of initialisations"
    levels = of.series(main, "", (q("accuracy", learner=key) for key in sweep), "-")
    gains = of.series(main, "", (gain(key, CONTINUED) if key != CONTINUED else None for key in sweep))
    panels = (Dots("Test accuracy, all domains (%)", ms, (levels,), axis=axis),
              Dots("Gain over m = 1 (points, paired)", ms, (gains,), axis=axis, line=(0.0, "")))
    return Figure("sweep", "Accuracy against the number of initialisations.", panels if len(ms) > 1 else (),
                  ("Sweep over m", "The table holds accuracies of one m only."))

def _used(evidence: Evidence, name: str, *keys: str) -> Figure:
    maps = []
    for seed, key in product(evidence.seeds, keys):
        cells = {(f"initialisation {row.cluster}", f"{row.group}\n({count(row.n or 0, 'task')})"):
                 {"view": "assignment", "group": row.group, "cluster": row.cluster, "seed": seed}
                 for row in evidence.where("usage_frequency", key, view="assignment", seed=seed)}
        shares, counts = ({at: q(measure, learner=key, **told) for at, told in cells.items()}
                          for measure in ("usage_frequency", "usage_count"))
        title = label_of(key) + f", seed {seed}" * (len(evidence.seeds) > 1)
        maps += [Map(title, "Share of the domain's tasks", "", "Domain of the task", shares, counts)] * bool(cells)
    return Figure(name, "Test tasks by domain and the initialisation that they start from: share, number.",
        tuple(maps), ("Usage of the initialisations", "The table holds none."), columns=min(2, len(maps) or 1))

def _symmetric(evidence: Evidence) -> Section:
    main, places = main_of(evidence), ("", *evidence.distinct("group", "accuracy"))
    even = of.symmetric_of(main)
    pairs = ((main, BASE), (even, BASE), (main, CONTINUED), (even, CONTINUED), (even, main))
    levels, lines = [_level(key, places) for key in (main, even)], []
    for view, score in product(("assignment", "all", "body", "head"), ("adjusted_rand", "unchanged_by_label_order")):
        name = {"adjusted_rand": "adjusted Rand index with the domains"}.get(score, "unmoved by label order")
        cells = tuple(Said(q(score, learner=key, view=view), 2) for key in (main, even))
        lines.append(Line(f"{_VIEWS[view]}: {name}", cells))
    return Section("symmetric-section", "Clusters that follow the domain, not the order of labels",
        ("Which class of a task has which label is chance, but it decides the gradient of the head and through it that "
         "of the body, so that clusters may follow the order of labels. With a symmetric head tasks are clustered and "
         "assigned by the body, adapted under a head whose rows are all their mean: its path is then the same for "
         "every order. All else is as for the paper's own TSA-MAML, which claims Z1 to Z10 are about; the paper has "
         "nothing of this kind. Does TSA-MAML gain over MAML trained on for as long, with it and without?",), (),
        (_used(evidence, "symmetric-usage", main, even),
         Grid("symmetric-gains", "Test accuracy (%) of both kinds of clusters, and what is gained.",
            ("Learner", "All domains", *places[1:]), (*levels, *_gains(pairs, places)), ("Gains", ""))),
        (Grid("symmetric-clusters", "Clusters of test tasks by each way of adapting them.",
            ("Clusters by", label_of(main), label_of(even)), tuple(lines), ("Clusters of both kinds", "")),))

def _agreement(evidence: Evidence) -> Section:
    asked = {score: [q(score, learner=main_of(evidence), view=view) for view in _VIEWS]
             for score in (*_SCORES, "unchanged_by_label_order")}
    scores = [Series(name, colour_of(look), tuple(asked[score]), mark) for score, (name, look, mark) in _SCORES.items()]
    lines = [Line(told, tuple(Said(one, 2) for one in cells))
             for told, *cells in zip(_VIEWS.values(), *asked.values(), strict=True)]
    for one, other in combinations(("all", "body", "head"), 2):
        between = Said(q("adjusted_rand_between", learner=main_of(evidence), view=f"{one}~{other}"), 2)
        lines.append(Line(f"{_VIEWS[one]} against {_VIEWS[other]}", (between, *[Cell(DASH)] * 3)))
    return Section("agreement-section", "What shows the domains",
        ("As many clusters as TSA-MAML has, found by k-means on training tasks: from what MAML adapts (all parameters, "
         "the body, the head) and from the mean feature of a task's images (claim Z2).",),
        (("adjusted Rand index", "of pairs of tasks, how many are together or apart in both; 0 by chance, 1 alike [3]"),
         ("normalised mutual information", "what cluster and domain tell of each other; 0 nothing, 1 everything"),
         ("purity", "share of tasks of the domain that is most frequent in their cluster; never below chance"),
         ("unmoved by label order", "share of tasks whose cluster stays when labels are permuted; features read none")),
        (Figure("agreement-figure", "Agreement of clusters of tasks with the domains, by what they are clustered by.",
            (Dots("Agreement with the domains (1: identical)", tuple(_VIEWS.values()), tuple(scores), lying=True),),
            ("Agreement of clusters with domains", "The table holds no agreement of clusters with domains."), 1),),
        (Grid("agreement", "The same, and the agreement of clusters by two views with each other.",
            ("Clusters by", "Adjusted Rand", "Norm. mutual information", "Purity", "Unmoved by label order"),
            tuple(lines), ("Agreement", "")),))

def _embedded(evidence: Evidence) -> Figure:
    main, seed, panels = main_of(evidence), min(evidence.seeds, default=0), []
    found = {(row.view, row.algorithm, row.measure, row.task): row for row in evidence.rows
             if row.task is not None and (row.learner, row.seed) == (main, seed)}
    groups = dict(zip(evidence.distinct("group", "accuracy"), GROUP_MARKS, strict=False))
    for ((view, who), name), (method, title) in product(_PLANES.items(), _METHODS.items()):
        points = tuple(Point(taken(x), taken(found[view, who, f"{method}_y", task]), x.group or "",
                  groups.get(x.group, GROUP_MARKS[-1])[0], GROUP_MARKS[(x.cluster or 0) % len(GROUP_MARKS)][1],
                  "" if x.cluster is None else f"initialisation {x.cluster}")
            for (*at, measure, task), x in found.items() if (*at, measure) == (view, who, f"{method}_x"))
        trust = q(f"{method}_trustworthiness", learner=main, view=view, algorithm=who, seed=seed)
        panels.append(Scatter(f"{name}, {title}", ("", ""), points, note=Under(trust, "trustworthiness", 2)))
    told = dict.fromkeys((row.reason or "").partition(";")[0] for row in found.values() if row.measure.endswith("_x"))
    return Figure("embeddings", "Test tasks by UMAP [5], t-SNE [4] and PCA: colours are domains, shapes the "
        f"initialisations that TSA-MAML assigns. Training seed {seed}. {'; '.join(told)}.",
        tuple(panels), ("Tasks in the plane", "The table holds no embeddings of tasks."), columns=3)

def _curves(evidence: Evidence) -> Figure:
    keys, panels = dict.fromkeys((BASE, of.plain_of(evidence), main_of(evidence))), []
    for side, (what, unit, top) in product(("support", "query"), (("loss", "nats", None), ("accuracy", "%", 101.0))):
        measure, title, curves = f"{side}_{what}", f"{side.capitalize()}: {what} ({unit})", []
        for key in keys:
            steps, (label, colour, marker) = evidence.distinct("step", measure, key), look_of(key)
            mean, *ends = ([q(f"{measure}{end}", learner=key, step=step) for step in steps]
                           for end in ("", "_lower_quartile", "_upper_quartile"))
            band = tuple(zip(steps, *ends, strict=True)) if key != BASE or len(keys) < 3 else ()
            curves.append(Curve(label, colour, tuple(zip(steps, mean, strict=True)), marker=marker, band=band))
        line = (evidence.trained_steps, "" if panels else "trained for")
        panels.append(Curves(title, "Inner steps at test", tuple(curves), (None, top), line=line, ends=False))
    return Figure("step-curves", "Means over tasks, of several trainings each a thin line. Light bands: quartiles of "
        "tasks (not for MAML before it was continued). Dotted: the number of steps in training.",
        tuple(panels), ("Curves over the inner steps", "The table holds no curves over inner steps."))

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
              ("Terms of the bound", ""), tuple(notes)),))
