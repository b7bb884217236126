"""The study's tables."""

from __future__ import annotations

from reports.evidence import Estimate, Reading, pool
from reports.page import Cell, PageTable, Rows
from reports.studies.cells import DASH, cell
from reports.studies.zhou2021.claims import PAPER_ACCURACY
from reports.studies.zhou2021.learners import BASE, CONTINUED, LARGE, label_of
from reports.studies.zhou2021.study_table import ZhouTable
from reports.wording import number

__all__ = ["accuracy", "agreement", "bound", "usage"]

_VIEWS = {
    "assignment": "TSA-MAML's own assignment",
    "all": "all adapted parameters",
    "body": "adapted body",
    "head": "adapted head",
    "features": "mean features",
}
_SCORES = ("adjusted_rand", "normalised_mutual_information", "purity")
_TERMS = {
    "estimated_squared_distance": ("Squared distance, own optimum", 2),
    "estimated_squared_distance_to_common_optimum": ("Squared distance, common optimum", 2),
    "estimated_optimum_loss": ("Loss at the own optimum (nats)", 3),
    "estimated_optimum_gradient_norm": ("Gradient norm at the own optimum", 3),
    "estimated_gradient_bound": ("G, lower estimate", 2),
    "estimated_smoothness": ("L, lower estimate", 2),
    "estimated_growth": ("ρ = 1 + 2αL", 2),
    "estimated_second_term": ("Second term", 2),
}


def accuracy(study: ZhouTable, behind: Rows) -> PageTable | None:
    """Return accuracies by domain of every learner, its paired gains, and the paper's figures."""
    keys = [key for key in study.keys if study.accuracy(key) is not None]
    if not keys:
        return None
    places = ("", *study.domains)
    rows: list[tuple[Cell, ...]] = []
    for key in keys:
        network, m = study.parameters(key), study.m_of(key)
        size = f"{m} × {network:,} parameters" if m > 1 else f"{network:,} parameters"
        rows.append(
            (
                Cell(label_of(key), (size,) if network else ()),
                *(cell(study.accuracy(key, place)) for place in places),
            )
        )
    for over, names in ((CONTINUED, [study.main, LARGE]), (BASE, [CONTINUED, study.main]), ("first", [LARGE])):
        for key in names:
            if study.gain(key, over) is not None:
                minus = label_of(study.main if over == "first" else over)
                gains = [cell(study.gain(key, over, place), signed=True) for place in places]
                rows.append((Cell(f"{label_of(key)} − {minus}", ("paired, points",)), *gains))
    caption = (
        f"Test accuracy in percent after {study.trained_steps} inner steps, 95 % interval, on tasks of all domains and "
        "of each alone; under it paired differences in points, every learner on the same tasks."
    )
    paper = "; ".join(f"{name} {maml} → {tsa}" for name, maml, tsa in PAPER_ACCURACY)
    notes = (f"The paper, MAML → TSA-MAML, on other data: {paper}.", f"{DASH} not measured.")
    header = ("Learner", "All domains", *study.domains)
    return PageTable("accuracy", caption, header, tuple(rows), behind, notes)


def usage(study: ZhouTable, behind: Rows) -> PageTable | None:
    """Return for each training and domain its most frequent initialisation; None with a single training."""
    if len(study.seeds) < 2 or not study.favourites(study.seeds[0]):
        return None
    rows = []
    for seed in study.seeds:
        found = study.favourites(seed)
        cells = []
        for domain in study.domains:
            row = found.get(domain)
            told = DASH if row is None or row.value is None else f"{number(row.value, 2)}"
            line = () if row is None or row.cluster is None else (f"initialisation {row.cluster}",)
            cells.append(Cell(told, line, number=True))
        rows.append((Cell(f"seed {seed}"), *cells))
    caption = "Share of the most frequent initialisation of each domain, training by training."
    return PageTable("usage-by-seed", caption, ("Training", *study.domains), tuple(rows), behind)


def agreement(study: ZhouTable, behind: Rows) -> PageTable | None:
    """Return agreement with the domains by view, and what the order of the labels does to clusters."""
    views = [view for view in _VIEWS if any(study.agreement(view, score) is not None for score in _SCORES)]
    if not views:
        return None
    rows = tuple(
        (
            Cell(_VIEWS[view]),
            *(cell(study.agreement(view, score), 2) for score in _SCORES),
            cell(study.agreement(view, "unchanged_by_label_order"), 2),
        )
        for view in views
    )
    between = []
    for pair in ("all~body", "all~head", "body~head"):
        found = study.agreement(pair, "adjusted_rand_between")
        if isinstance(found, Estimate):
            between.append(f"{pair.replace('~', ' and ')} {number(found.value, 2)}")
    caption = (
        "Agreement of clusters of tasks with their domains [3], 95 % bootstrap interval over tasks. Last column: share "
        "of tasks that stay in their cluster when the labels of their classes are permuted; what moves a task "
        "there is the order of the head's rows, not what the task is about."
    )
    notes = (
        f"{DASH} not measured; features do not read the labels.",
        *([f"Adjusted Rand index of two views against each other: {'; '.join(between)}."] if between else []),
    )
    header = ("Clusters by", "Adjusted Rand", "Norm. mutual information", "Purity", "Unmoved by label order")
    return PageTable("agreement", caption, header, rows, behind, notes)


def bound(study: ZhouTable, behind: Rows) -> PageTable | None:
    """Return the estimates behind the bound, and how each was made."""
    keys = [key for key in (study.plain, study.main) if any(study.rows(measure, key) for measure in _TERMS)]
    if not keys:
        return None
    rows, notes = [], []
    for measure, (name, digits) in _TERMS.items():
        found: list[Reading] = [pool(study.rows(measure, key)) for key in keys]
        if all(one is None for one in found):
            continue
        rows.append((Cell(name, ("estimate",)), *(cell(one, digits) for one in found)))
        told = [row.reason.removeprefix("estimate: ") for key in keys for row in study.rows(measure, key)]
        notes += [f"{name}: {reason}." for reason in told[:1] if reason]
    caption = (
        "Estimates of what the paper's bound is made of; none is known exactly, and G and L are estimated from below."
    )
    header = ("Quantity", *(label_of(key) for key in keys))
    return PageTable("bound", caption, header, tuple(rows), behind, tuple(notes))
