"""The claims of zhou2021 that the study answers: the paper's figures, and the rule of each verdict."""

from __future__ import annotations

from reports.studies.verdicts import Claim

__all__ = [
    "AGREEMENT",
    "BIBLIOGRAPHY",
    "CITATION",
    "CLAIMS",
    "FLAT_MARGIN",
    "PAPER_ACCURACY",
    "PAPER_FIRST_STEPS",
    "PAPER_FLAT",
    "USAGE",
]

CITATION = """@inproceedings{zhou2021task,
  title={Task Similarity Aware Meta Learning: Theory-inspired Improvement on {MAML}},
  author={Zhou, Pan and Zou, Yingtian and Yuan, Xiaotong and Feng, Jiashi and Xiong, Caiming and Hoi, Steven},
  booktitle={Conference on Uncertainty in Artificial Intelligence}, year={2021}}"""

AGREEMENT = 0.5
"""Adjusted Rand index from which clusters count as the domains: our choice, half-way from chance to identity."""

USAGE = 0.9
"""Share of a domain's tasks on one initialisation that counts as nearly all: our choice, the paper prints 0.99 – 1."""

PAPER_FIRST_STEPS = 4
"""Inner steps in which the paper's loss falls fast."""

PAPER_FLAT = (3, 11)
"""Numbers of initialisations between which the paper finds accuracy relatively stable."""

FLAT_MARGIN = 2.0
"""Percentage points within which accuracies count as stable over m: our choice, the paper prints a figure only."""

_MIXTURE = "5-way 5-shot, transductive, 84×84, 40,000 iterations, 600 tasks a domain"

PAPER_ACCURACY: tuple[tuple[str, str, str], ...] = (
    ("Aircraft + Birds + Fungi, mean", "63.86", "68.17"),
    ("aircraft", "67.82 ±0.65", "72.84 ±0.63"),
    ("birds", "70.55 ±0.77", "74.80 ±0.76"),
    ("fungi", "53.20 ±0.82", "56.86 ±0.87"),
    ("Cars + Birds + Fungi, mean", "56.25", "59.98"),
)
"""The paper's Table 1: (tasks, MAML, TSA-MAML)."""

_CIFAR_RULE = (
    "TSA-MAML's paired gain over MAML lies above 0 on CIFAR-FS; this study, of tasks from several domains, never "
    "measures it"
)

CLAIMS: dict[str, Claim] = {
    claim.id: claim
    for claim in (
        Claim(
            "Z1",
            "An initialisation for each cluster makes MAML more accurate on tasks from several domains",
            "test accuracy of TSA-MAML and MAML on each domain and in the mean",
            "mean 63.86 → 68.17 (Aircraft, Birds, Fungi), 56.25 → 59.98 (Cars, Birds, Fungi)",
            "Table 1",
            _MIXTURE,
            "TSA-MAML's paired gain on all domains together lies above 0 with its whole interval, both over the MAML "
            "that it starts from and over that MAML trained on for as many outer steps, and on no single domain "
            "below 0 with its whole interval",
        ),
        Claim(
            "Z2",
            "Adapted parameters show which domain a task is from, sample features do not",
            "agreement of k-means clusters of tasks with their domains",
            "features mixed, adapted parameters in groups by domain",
            "Figure 1",
            "embedding of tasks in the plane; no number printed",
            f"the adjusted Rand index of clusters by adapted parameters lies above {AGREEMENT:g} and of clusters by "
            f"mean features below {AGREEMENT:g}, each with its whole interval (the bound is ours)",
        ),
        Claim(
            "Z3",
            "Test loss falls in the first inner steps and then rises; TSA-MAML's lies below MAML's",
            "loss and accuracy against the number of inner steps at test",
            f"falls fast for about {PAPER_FIRST_STEPS} steps, then rises; TSA-MAML below MAML",
            "Figures 2 and 6",
            "1,000 tasks",
            f"for MAML and TSA-MAML the query loss after {PAPER_FIRST_STEPS} steps is below that before the first, and "
            "after the last step above the lowest of all; and at the trained number of steps TSA-MAML's is below "
            "MAML's, each by the interval of the difference",
        ),
        Claim(
            "Z4",
            "Tasks of one domain start from one initialisation",
            "how often each initialisation is used on each domain",
            "0.99 – 1.00 on one initialisation a domain",
            "Figure 3",
            "1,000 tasks a domain, m = 3",
            f"on every domain the share of the most frequent initialisation lies above {USAGE:g} with its whole "
            "interval (the bound is ours), and no two domains share it",
        ),
        Claim(
            "Z5",
            "TSA-MAML is more accurate than MAML on CIFAR-FS, non-transductive",
            "test accuracy",
            "51.98 → 53.07, 68.91 → 71.37, 38.48 → 39.77, 55.24 → 58.05",
            "Table 2",
            "CIFAR-FS, 5-way 1-, 5-shot, 10-way 1-, 5-shot",
            _CIFAR_RULE,
        ),
        Claim(
            "Z6",
            "The same, transductive",
            "test accuracy",
            "57.46 → 58.21, 72.75 → 73.52, 39.97 → 42.18, 56.21 → 58.69",
            "Table 2",
            "CIFAR-FS, 5-way 1-, 5-shot, 10-way 1-, 5-shot",
            _CIFAR_RULE,
        ),
        Claim(
            "Z7",
            "The number of initialisations matters little from 3 to 11, and one is worse",
            "accuracy against m",
            "stable for m = 3 … 11; m = 1 is MAML",
            "Figure 4",
            "CIFAR-FS, 10-way 1-shot",
            f"for every m of the sweep from {PAPER_FLAT[0]} to {PAPER_FLAT[1]} the paired gain over m = 1 lies above "
            f"0, and the paired difference to the first of them within ±{FLAT_MARGIN:g} points (the margin is ours), "
            "with whole intervals; two such m are needed",
        ),
        Claim(
            "Z8",
            "A larger network does not make up for it",
            "accuracy of MAML with a larger network, and of TSA-MAML",
            "72.68, 69.73, 54.18 against 72.84, 74.80, 56.86",
            "Section 5.1",
            "Aircraft, Birds, Fungi; seven layers, about 3× the parameters",
            "the paired difference of the larger MAML to TSA-MAML, on all domains together, lies below 0 with its "
            "whole interval",
        ),
        Claim(
            "Z9",
            "TSA-MAML's initialisation is nearer to the task's optimum",
            "mean squared distance from the (assigned) initialisation to the task's optimum",
            "smaller for TSA-MAML",
            "Sections 3.2, 4.1",
            "argued, no number printed",
            "TSA-MAML's mean squared distance is below that of MAML, by the interval of the difference, for both "
            "estimates of the optimum: found from each learner's own start, and from one start for both",
        ),
        Claim(
            "Z10",
            "The first term of the bound on the excess risk grows with the number of inner steps",
            "2G²(ρ^q − 1)/(KL), ρ = 1 + 2αL",
            "grows with q",
            "Theorem 1",
            "derived",
            "the estimated term grows at every step (it does by its formula whenever L > 0, so what is measured is how "
            "fast)",
        ),
    )
}

BIBLIOGRAPHY = (
    CITATION,
    """@inproceedings{finn2017model,
  title={Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks},
  author={Finn, Chelsea and Abbeel, Pieter and Levine, Sergey},
  booktitle={International Conference on Machine Learning}, year={2017}}""",
    """@article{hubert1985comparing, title={Comparing partitions},
  author={Hubert, Lawrence and Arabie, Phipps}, journal={Journal of Classification}, year={1985}}""",
    """@article{vandermaaten2008visualizing, title={Visualizing Data using {t-SNE}},
  author={van der Maaten, Laurens and Hinton, Geoffrey},
  journal={Journal of Machine Learning Research}, year={2008}}""",
    """@article{mcinnes2018umap,
  title={{UMAP}: Uniform Manifold Approximation and Projection for Dimension Reduction},
  author={McInnes, Leland and Healy, John and Melville, James}, journal={arXiv:1802.03426}, year={2018}}""",
    """@inproceedings{venna2001neighborhood,
  title={Neighborhood Preservation in Nonlinear Projection Methods: An Experimental Study},
  author={Venna, Jarkko and Kaski, Samuel},
  booktitle={International Conference on Artificial Neural Networks}, year={2001}}""",
)
"""Works that the page cites, [1] to [6]."""
