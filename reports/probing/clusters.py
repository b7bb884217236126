"""Sections and blocks on clusters of tasks: which initialisation they start from, what shows their domains."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations, product

from metaprobe.analyses.readings import Estimate, Reading, pool
from metaprobe.analyses.table import Row
from metaprobe.reports.blocks.declared import Cell, Dots, Figure, Grid, Line, Map, Point, Said, Scatter, Series, Under
from metaprobe.reports.evidence import Evidence
from metaprobe.reports.quantities import Computed, Quantity, q
from metaprobe.reports.study.study import Section
from metaprobe.reports.wording import DASH, GROUP_MARKS, colour_of, count

# fmt: off
_METHODS = {"umap": "UMAP", "tsne": "t-SNE", "pca": "PCA"}
_VIEWS = {"assignment": "TSA-MAML's own assignment", "all": "all adapted parameters", "body": "adapted body",
          "head": "adapted head", "features": "mean features"}
_SCORES = {"adjusted_rand": ("adjusted Rand index", "tsa_maml", "D"),
           "normalised_mutual_information": ("normalised mutual information", "maml", "s"),
           "purity": ("purity", "nil", "o")}
_ORDER = "unchanged_by_label_order"

def of_one_domain(evidence: Evidence) -> bool:
    """Return whether accuracies were measured, and none of a single domain: there is but one."""
    return bool(evidence.distinct("learner", "accuracy")) and not evidence.distinct("group", "accuracy")

def favourite(who: str, domain: str) -> Quantity:
    """Ask for the share of a domain's tasks that start from the initialisation that most of them start from."""
    return Computed(lambda found: pool([own[domain] for own in _favourites(found, who) if domain in own], (0, 1)))

def apart(who: str) -> Quantity:
    """Ask for the share of domains whose favourite is no other domain's, in the training where it is least."""
    def read(evidence: Evidence) -> Reading:
        taken = [[row.cluster for row in own.values()] for own in _favourites(evidence, who) if own]
        least = min((sum(own.count(one) == 1 for one in own) / len(own) for own in taken), default=None)
        return None if least is None else Estimate(least, least, least)
    return Computed(read)

def _favourites(evidence: Evidence, who: str) -> list[dict[str, Row]]:
    """Return of each training, by domain, the row of the initialisation that most tasks start from."""
    rows = sorted(reversed(evidence.where("usage_frequency", who, view="assignment")), key=lambda row: row.value or 0.0)
    return [{row.group: row for row in rows if row.group and row.seed == seed} for seed in evidence.seeds]

def usage(evidence: Evidence, name: str, titles: Mapping[str, str]) -> Figure:
    """Return the figure of how often tasks of each domain start from each initialisation: a map a learner and seed."""
    maps = []
    for seed, (key, title) in product(evidence.seeds, titles.items()):
        cells = {(f"initialisation {row.cluster}", f"{row.group}\n({count(row.n or 0, 'task')})"):
                 {"view": "assignment", "group": row.group, "cluster": row.cluster, "seed": seed}
                 for row in evidence.where("usage_frequency", key, view="assignment", seed=seed)}
        shares, counts = ({at: q(measure, learner=key, **told) for at, told in cells.items()}
                          for measure in ("usage_frequency", "usage_count"))
        title += f", seed {seed}" * (len(evidence.seeds) > 1)
        maps += [Map(title, "Share of the domain's tasks", "", "Domain of the task", shares, counts)] * bool(cells)
    return Figure(name, "Test tasks by domain and the initialisation that they start from: share, number.",
        tuple(maps), ("Usage of the initialisations", "The table holds none."), columns=min(2, len(maps) or 1))

def agreement(evidence: Evidence, who: str, claims: str) -> Section:
    """Return the section on what clusters of tasks, by several views of them, say of their domains."""
    chance = bool(evidence.distinct("view", f"{_ORDER}_null", who))  # of older tables it is not known
    measures = (*_SCORES, _ORDER, *[f"{_ORDER}_null"] * chance)
    asked = {measure: [q(measure, learner=who, view=view) for view in _VIEWS] for measure in measures}
    scores = [Series(told, colour_of(look), tuple(asked[score]), mark) for score, (told, look, mark) in _SCORES.items()]
    lines = [Line(told, tuple(Said(one, 2) for one in cells))
             for told, *cells in zip(_VIEWS.values(), *asked.values(), strict=True)]
    for one, other in combinations(("all", "body", "head"), 2):
        between = Said(q("adjusted_rand_between", learner=who, view=f"{one}~{other}"), 2)
        lines.append(Line(f"{_VIEWS[one]} against {_VIEWS[other]}", (between, *[Cell(DASH)] * (len(measures) - 1))))
    return Section("agreement-section", "What shows the domains",
        ("As many clusters as TSA-MAML has, found by k-means on training tasks: from what MAML adapts (all parameters, "
         f"the body, the head) and from the mean feature of a task's images ({claims}).",),
        (("adjusted Rand index", "of pairs of tasks, how many are together or apart in both; 0 by chance, 1 alike [3]"),
         ("normalised mutual information", "what cluster and domain tell of each other; 0 nothing, 1 everything"),
         ("purity", "share of tasks of the domain that is most frequent in their cluster; never below chance"),
         ("unmoved by label order", "share of tasks whose cluster stays when labels are permuted; features read none"),
         *[("by chance", "the share that would stay were tasks put into clusters of the same sizes at random")]
         * chance),
        (Figure("agreement-figure", "Agreement of clusters of tasks with the domains, by what they are clustered by.",
            (Dots("Agreement with the domains (1: identical)", tuple(_VIEWS.values()), tuple(scores), lying=True),),
            ("Agreement of clusters with domains", "The table holds no agreement of clusters with domains."), 1),),
        (Grid("agreement", "The same, and the agreement of clusters by two views with each other.",
            ("Clusters by", "Adjusted Rand", "Norm. mutual information", "Purity", "Unmoved by label order",
             *["By chance"] * chance), tuple(lines)),))

def by_kind(name: str, learners: Mapping[str, str]) -> Grid:
    """Return the table that sets clusters of several learners side by side."""
    views = [(view, told) for view, told in _VIEWS.items() if view != "features"]
    scores = {"adjusted_rand": "adjusted Rand index with the domains", _ORDER: "unmoved by label order"}
    def cell(score: str, view: str, key: str) -> Said:
        chance = Under(q(f"{score}_null", learner=key, view=view), "chance", 2)
        return Said(q(score, learner=key, view=view), 2, under=(chance,))
    return Grid(name, "Clusters of test tasks by each way of adapting them.", ("Clusters by", *learners.values()),
        tuple(Line(f"{told}: {words}", tuple(cell(score, view, key) for key in learners))
              for (view, told), (score, words) in product(views, scores.items())))

def embedded(evidence: Evidence, who: str, planes: Mapping[tuple[str, str], str]) -> Figure:
    """Return the figure of test tasks in the plane; `planes`: titles by view and algorithm of what is embedded."""
    seed, panels = min(evidence.seeds, default=0), []
    found = {(row.view, row.algorithm, row.measure, row.task): row for row in evidence.rows
             if row.task is not None and (row.learner, row.seed) == (who, seed)}
    groups = dict(zip(evidence.distinct("group", "accuracy"), GROUP_MARKS, strict=False))
    for ((view, by), title), (method, told) in product(planes.items(), _METHODS.items()):
        points = tuple(Point(x, found[view, by, f"{method}_y", task], x.group or "",
                  groups.get(x.group, GROUP_MARKS[-1])[0], GROUP_MARKS[(x.cluster or 0) % len(GROUP_MARKS)][1],
                  "" if x.cluster is None else f"initialisation {x.cluster}")
            for (*at, measure, task), x in found.items() if (*at, measure) == (view, by, f"{method}_x"))
        trust = q(f"{method}_trustworthiness", learner=who, view=view, algorithm=by, seed=seed)
        panels.append(Scatter(f"{title}, {told}", ("", ""), points, note=Under(trust, "trustworthiness", 2)))
    across = (row for row in found.values() if row.measure.endswith("_x"))
    reasons = dict.fromkeys((row.reason or "").partition(";")[0] for row in across)
    return Figure("embeddings", "Test tasks by UMAP [5], t-SNE [4] and PCA: colours are domains, shapes the "
        f"initialisations that TSA-MAML assigns. Training seed {seed}. {'; '.join(reasons)}.",
        tuple(panels), ("Tasks in the plane", "The table holds no embeddings of tasks."), columns=3)
