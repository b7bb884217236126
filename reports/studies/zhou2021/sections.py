"""The sections of the zhou2021 page: what each shows, how to read it, and what stands in for what is missing."""

from __future__ import annotations

import pandas as pd

from reports.page import Block, Section
from reports.studies.blocks import figure_or_missing, rows_behind
from reports.studies.zhou2021 import curves, embeddings, figures, tables
from reports.studies.zhou2021.claims import PAPER_FIRST_STEPS
from reports.studies.zhou2021.learners import GAINS, label_of
from reports.studies.zhou2021.study_table import ZhouTable
from reports.wording import listed

__all__ = ["accuracy", "agreement", "bound", "embedding", "steps", "sweep", "usage"]

_TESTS = ("accuracy", "loss", *GAINS.values())
_USAGE = ("usage_count", "usage_frequency")
_SCORES = ("purity", "adjusted_rand", "normalised_mutual_information", "adjusted_rand_between")
_PLANES = tuple(f"{m}_{what}" for m in embeddings.METHODS for what in ("x", "y", "trustworthiness"))
_CURVES = tuple(
    f"{split}_{kind}{end}"
    for split in ("support", "query")
    for kind in ("loss", "accuracy")
    for end in ("", "_lower_quartile", "_upper_quartile")
)


def accuracy(study: ZhouTable, frame: pd.DataFrame) -> Section:
    """Return the section on accuracies by domain, and on the larger network."""
    behind = rows_behind("accuracy", study.entries, frame, _TESTS)
    return Section(
        "accuracy-section",
        "Accuracy by domain",
        (
            "Does an initialisation for each cluster of tasks make MAML more accurate (claims Z1 and Z8)? TSA-MAML "
            "starts from a trained MAML and trains on, so it is compared with that MAML trained on for as many outer "
            "steps, on as many tasks; each of m initialisations then takes about 1/m of these steps. The "
            "comparison with the MAML before that, which is the paper's, gives TSA-MAML more training.",
        ),
        (
            ("MAML", "trains one initialisation from which a few gradient steps solve a task [2]"),
            ("MAML, continued", "the same, trained on as TSA-MAML is: TSA-MAML with m = 1"),
            (
                "TSA-MAML",
                "tasks are clustered by the parameters that MAML adapts to them; each cluster trains an initialisation "
                "of its own, and a new task starts from that of the nearest cluster [1]",
            ),
            ("paired", "the difference task by task: both learners meet the same tasks"),
        ),
        _blocks(
            figure_or_missing(
                "accuracy-figure",
                "Left: test accuracy of each learner on tasks of all domains together and of each domain. Right: the "
                "gain of TSA-MAML over MAML, paired task by task. Bars: 95 % intervals.",
                figures.accuracy(study),
                behind,
                "Accuracy by domain",
                "The table holds no test accuracies.",
            ),
            tables.accuracy(study, behind),
        ),
    )


def usage(study: ZhouTable, frame: pd.DataFrame) -> Section:
    """Return the section on which initialisations the domains use."""
    behind = rows_behind("usage", study.entries, frame, _USAGE)
    seed = f" Seed {study.seeds[0]}." if len(study.seeds) > 1 else ""
    return Section(
        "usage-section",
        "Which initialisation a task starts from",
        (
            "Nobody tells TSA-MAML which domain a task is from. Do tasks of a domain start from the same "
            "initialisation all the same (claim Z4)?",
        ),
        (),
        _blocks(
            figure_or_missing(
                "usage-heatmap",
                f"{label_of(study.main)}: how many of each domain's test tasks start from each "
                f"initialisation. Above: share; below: tasks. Columns sum to 1; the colours run from 0 to 1.{seed}",
                figures.usage(study),
                behind,
                "Usage of the initialisations",
                "The table holds no usage of initialisations.",
            ),
            tables.usage(study, behind),
        ),
    )


def agreement(study: ZhouTable, frame: pd.DataFrame) -> Section:
    """Return the section on how clusters agree with domains, by what tasks are described by."""
    behind = rows_behind("agreement", study.entries, frame, (*_SCORES, "unchanged_by_label_order"))
    return Section(
        "agreement-section",
        "What shows the domains",
        (
            "The same number of clusters, found by k-means on training tasks, from what MAML adapts (all parameters, "
            "the body, the head) and from the mean feature of a task's images (claim Z2).",
        ),
        (
            ("adjusted Rand index", "of pairs of tasks, how many are together or apart in both; 0 by chance, 1 alike"),
            ("normalised mutual information", "what cluster and domain tell of each other; 0 nothing, 1 everything"),
            ("purity", "share of tasks of the domain that is most frequent in their cluster; never below chance"),
        ),
        _blocks(
            figure_or_missing(
                "agreement-figure",
                "Agreement of clusters of tasks with the domains, by what the tasks are clustered by. Bars: 95 % "
                "bootstrap intervals over tasks.",
                figures.agreement(study),
                behind,
                "Agreement of clusters with domains",
                "The table holds no agreement of clusters with domains.",
            ),
            tables.agreement(study, behind),
        ),
    )


def embedding(study: ZhouTable, frame: pd.DataFrame) -> Section:
    """Return the section with tasks in the plane."""
    behind = rows_behind("embeddings", study.entries, frame, _PLANES)
    made = embeddings.told_of(study)
    return Section(
        "embedding-section",
        "Tasks in the plane",
        (
            "Such pictures mislead: the axes have no meaning, distances between groups and sizes of groups mean "
            "little, and t-SNE and UMAP also draw groups where there are none. How far to trust the neighbourhoods "
            "stands under each panel; whether there are groups is for the section above.",
            "Parameters adapted by TSA-MAML lie in groups by construction, as each task starts from one of the "
            "initialisations: they say something of domains only where a group has one colour.",
        ),
        (
            (
                "trustworthiness",
                "1 when all neighbours in the plane are true neighbours; the more are not, the lower it is [6]",
            ),
        ),
        _blocks(
            figure_or_missing(
                "embeddings",
                "Test tasks by UMAP [5], t-SNE [4] and PCA, of mean features and of adapted parameters. Training seed "
                f"{study.seeds[0]}. {made}".strip()
                + ".",
                embeddings.embeddings(study),
                behind,
                "Tasks in the plane",
                "The table holds no embeddings of tasks.",
            ),
        ),
    )


def steps(study: ZhouTable, frame: pd.DataFrame) -> Section:
    """Return the section on the curves over the inner steps."""
    return Section(
        "steps-section",
        "More and more inner steps",
        (
            f"The paper finds that test loss falls fast for about {PAPER_FIRST_STEPS} steps and then rises, as the "
            "learner fits the few support images too closely, and that TSA-MAML's stays below MAML's (claim Z3).",
        ),
        (),
        _blocks(
            figure_or_missing(
                "step-curves",
                "Loss and accuracy on support and query images after each inner step. Lines: means; dark bands: their "
                "95 % intervals; light bands: from the lower to the upper quartile of tasks (not for MAML before it "
                "was continued). Dashed: the number of steps in training.",
                curves.step_curves(study),
                rows_behind("step-curves", study.entries, frame, _CURVES),
                "Curves over the inner steps",
                "The table holds no curves over inner steps.",
            ),
        ),
    )


def sweep(study: ZhouTable, frame: pd.DataFrame) -> Section:
    """Return the section on the number of initialisations."""
    known = listed([str(study.m_of(key)) for key in study.sweep]) if study.sweep else "none"
    return Section(
        "sweep-section",
        "How many initialisations",
        (f"Trained with m = {known}; all else on this page is about {label_of(study.main)} (claim Z7).",),
        (),
        _blocks(
            figure_or_missing(
                "sweep",
                "Accuracy on all domains together against the number of initialisations, and its paired gain over one. "
                "Bars: 95 % intervals. In the paper accuracy is stable for m = 3 to 11 (CIFAR-FS, 10-way 1-shot).",
                figures.sweep(study),
                rows_behind("sweep", study.entries, frame, ("accuracy", *GAINS.values()), group=""),
                "Sweep over m",
                "The table holds accuracies of one m only.",
            ),
        ),
    )


def bound(study: ZhouTable, frame: pd.DataFrame) -> Section:
    """Return the section on distances to task optima and the bound on the excess risk."""
    measures = {entry.measure for entry in study.entries if entry.measure.startswith("estimated_")}
    behind = rows_behind("bound", study.entries, frame, measures)
    return Section(
        "bound-section",
        "Distance to the optimum, and the bound",
        (
            "The paper bounds the excess risk by 2G²(ρ^q − 1)/(KL) + (1/2α) E‖θ − θ_T*‖², with ρ = 1 + 2αL, after q "
            "steps on K support samples (claims Z9 and Z10). All that stands here is an estimate: a network's loss "
            "has no single optimum, and where gradient descent ends depends on where it began. That is why the "
            "optimum is estimated twice: from each learner's own start, which makes every start look near, and from "
            "one start common to both, which favours the learner nearest to that.",
        ),
        (
            ("G, L", "how steep and how curved the loss is at most; known here from below only"),
            ("own optimum", "where many steps from the learner's own adapted parameters end"),
            ("common optimum", "where many steps from the parameters that MAML adapts end, for both learners"),
        ),
        _blocks(
            figure_or_missing(
                "bound-figure",
                "Left: estimated mean squared distance from the initialisation that a task starts from to its optimum. "
                "Right: the estimated first term of the bound over the inner steps, and the second (dashed), in nats "
                "on a log scale. Bars: 95 % intervals over tasks.",
                curves.bound(study),
                behind,
                "Distance to the optimum",
                "The table holds no estimates of the bound's terms.",
            ),
            tables.bound(study, behind),
        ),
    )


def _blocks(*blocks: Block | None) -> tuple[Block, ...]:
    return tuple(block for block in blocks if block is not None)
