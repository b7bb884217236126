"""BibTeX of what a study uses beside its measures: learners, heads, data, intervals and nulls."""

from __future__ import annotations

import re
from collections.abc import Collection

__all__ = ["ALWAYS", "DATA", "LEARNERS", "MAML", "methods_of"]

MAML = """@inproceedings{finn2017model,
  title={Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks},
  author={Finn, Chelsea and Abbeel, Pieter and Levine, Sergey},
  booktitle={International Conference on Machine Learning}, year={2017}}"""

_VINYALS = """@inproceedings{vinyals2016matching,
  title={Matching Networks for One Shot Learning},
  author={Vinyals, Oriol and Blundell, Charles and Lillicrap, Timothy and Kavukcuoglu, Koray and Wierstra, Daan},
  booktitle={Advances in Neural Information Processing Systems}, volume={29}, year={2016}}"""

LEARNERS: dict[str, str] = {"maml": MAML, "fomaml": MAML, "nil": _VINYALS}
"""Where a learner comes from that is not of the study's own paper, by the name of its algorithm."""

DATA: dict[str, str] = {
    "omniglot": """@article{lake2015human,
  title={Human-Level Concept Learning through Probabilistic Program Induction},
  author={Lake, Brenden M. and Salakhutdinov, Ruslan and Tenenbaum, Joshua B.},
  journal={Science}, volume={350}, number={6266}, pages={1332--1338}, year={2015}}""",
    "cifar_fs": """@inproceedings{bertinetto2019meta,
  title={Meta-Learning with Differentiable Closed-Form Solvers},
  author={Bertinetto, Luca and Henriques, Jo{\\~a}o F. and Torr, Philip H. S. and Vedaldi, Andrea},
  booktitle={International Conference on Learning Representations}, year={2019}}
@techreport{krizhevsky2009learning,
  title={Learning Multiple Layers of Features from Tiny Images}, author={Krizhevsky, Alex},
  institution={University of Toronto}, year={2009}}""",
}
"""Where a data set and its split come from, by its name; the embedded sets are our own."""

ALWAYS: dict[str, str] = {
    "bootstrap": """@book{davison1997bootstrap,
  title={Bootstrap Methods and their Application}, author={Davison, Anthony C. and Hinkley, David V.},
  publisher={Cambridge University Press}, year={1997}}
@article{owen2007pigeonhole,
  title={The Pigeonhole Bootstrap}, author={Owen, Art B.},
  journal={The Annals of Applied Statistics}, volume={1}, number={2}, pages={386--411}, year={2007}}""",
    "median": """@book{hahn1991statistical,
  title={Statistical Intervals: A Guide for Practitioners}, author={Hahn, Gerald J. and Meeker, William Q.},
  publisher={Wiley}, year={1991}}""",
    "permutation": """@book{good2005permutation,
  title={Permutation, Parametric and Bootstrap Tests of Hypotheses}, author={Good, Phillip},
  edition={3}, publisher={Springer}, year={2005}}""",
}
"""The intervals and the nulls of every study."""


def methods_of(algorithms: Collection[str], data: str) -> dict[str, str]:
    """Return BibTeX by name for the learners, the data set (of a mixture: each) and the statistics of a study.

    Args:
        algorithms: names of the learners; those of the study's own paper are left out.
        data: the name of the data set, as on the command line.
    """
    sets = re.split("[:,]", data)
    found = {name: LEARNERS[name] for name in LEARNERS if name in algorithms}
    return found | {name: DATA[name] for name in DATA if name in sets} | ALWAYS
