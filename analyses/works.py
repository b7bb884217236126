"""The works behind learners, data sets and statistics, beside those that measures declare."""

from __future__ import annotations

import re
from collections.abc import Collection

from metaprobe.analyses.measures.work import Work

__all__ = ["CLUSTERS", "MAML", "MAML_PP", "methods_of"]

# fmt: off
MAML = Work("finn2017model", "inproceedings", ("Finn, Chelsea", "Abbeel, Pieter", "Levine, Sergey"),
            "Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks",
            "International Conference on Machine Learning", 2017)
MAML_PP = Work("antoniou2019how", "inproceedings", ("Antoniou, Antreas", "Edwards, Harrison", "Storkey, Amos"),
               "How to Train Your {MAML}", "International Conference on Learning Representations", 2019)
CLUSTERS = (  # agreement of clusters, and tasks in the plane: pages that show them cite them in this order
    Work("hubert1985comparing", "article", ("Hubert, Lawrence", "Arabie, Phipps"),
         "Comparing partitions", "Journal of Classification", 1985),
    Work("vandermaaten2008visualizing", "article", ("van der Maaten, Laurens", "Hinton, Geoffrey"),
         "Visualizing Data using {t-SNE}", "Journal of Machine Learning Research", 2008),
    Work("mcinnes2018umap", "article", ("McInnes, Leland", "Healy, John", "Melville, James"),
         "{UMAP}: Uniform Manifold Approximation and Projection for Dimension Reduction", "arXiv:1802.03426", 2018),
    Work("venna2001neighborhood", "inproceedings", ("Venna, Jarkko", "Kaski, Samuel"),
         "Neighborhood Preservation in Nonlinear Projection Methods: An Experimental Study",
         "International Conference on Artificial Neural Networks", 2001))
_MATCHING = Work("vinyals2016matching", "inproceedings",
    ("Vinyals, Oriol", "Blundell, Charles", "Lillicrap, Timothy", "Kavukcuoglu, Koray", "Wierstra, Daan"),
    "Matching Networks for One Shot Learning", "Advances in Neural Information Processing Systems", 2016,
    {"volume": "29"})

# By learner (those of a study's own paper stand in the study), data set (the embedded ones are our own), statistic.
_METHODS: dict[str, tuple[Work, ...]] = {
    "maml": (MAML,), "fomaml": (MAML,), "maml_pp": (MAML_PP,),
    "nil": (_MATCHING,), "matching": (_MATCHING,),
    "imaml": (Work("rajeswaran2019meta", "inproceedings",
             ("Rajeswaran, Aravind", "Finn, Chelsea", "Kakade, Sham M.", "Levine, Sergey"),
             "Meta-Learning with Implicit Gradients", "Advances in Neural Information Processing Systems", 2019,
             {"volume": "32"}),),
    "mmaml": (Work("vuorio2019multimodal", "inproceedings",
             ("Vuorio, Risto", "Sun, Shao-Hua", "Hu, Hexiang", "Lim, Joseph J."),
             "Multimodal Model-Agnostic Meta-Learning via Task-Aware Modulation",
             "Advances in Neural Information Processing Systems", 2019, {"volume": "32"}),),
    "hsml": (Work("yao2019hierarchically", "inproceedings",
             ("Yao, Huaxiu", "Wei, Ying", "Huang, Junzhou", "Li, Zhenhui"),
             "Hierarchically Structured Meta-Learning", "International Conference on Machine Learning", 2019),),
    "meta_lstm": (Work("ravi2017optimization", "inproceedings", ("Ravi, Sachin", "Larochelle, Hugo"),
             "Optimization as a Model for Few-Shot Learning", "International Conference on Learning Representations",
             2017),),
    "omniglot": (Work("lake2015human", "article", ("Lake, Brenden M.", "Salakhutdinov, Ruslan", "Tenenbaum, Joshua B."),
             "Human-Level Concept Learning through Probabilistic Program Induction", "Science", 2015,
             {"volume": "350", "number": "6266", "pages": "1332–1338"}),),
    "cifar_fs": (Work("bertinetto2019meta", "inproceedings",
             ("Bertinetto, Luca", "Henriques, João F.", "Torr, Philip H. S.", "Vedaldi, Andrea"),
             "Meta-Learning with Differentiable Closed-Form Solvers",
             "International Conference on Learning Representations", 2019),
        Work("krizhevsky2009learning", "techreport", ("Krizhevsky, Alex",),
             "Learning Multiple Layers of Features from Tiny Images", "University of Toronto", 2009)),
    "bootstrap": (Work("davison1997bootstrap", "book", ("Davison, Anthony C.", "Hinkley, David V."),
             "Bootstrap Methods and their Application", "Cambridge University Press", 1997),
        Work("owen2007pigeonhole", "article", ("Owen, Art B.",), "The Pigeonhole Bootstrap",
             "The Annals of Applied Statistics", 2007, {"volume": "1", "number": "2", "pages": "386–411"})),
    "median": (Work("hahn1991statistical", "book", ("Hahn, Gerald J.", "Meeker, William Q."),
             "Statistical Intervals: A Guide for Practitioners", "Wiley", 1991),),
    "permutation": (Work("good2005permutation", "book", ("Good, Phillip",),
             "Permutation, Parametric and Bootstrap Tests of Hypotheses", "Springer", 2005, {"edition": "3"}),),
}
# fmt: on


def methods_of(algorithms: Collection[str], data: str) -> dict[str, tuple[Work, ...]]:
    """Return the works behind the learners, the data (of a mixture: each) and the statistics of a study, by name."""
    used = {*algorithms, *re.split("[:,+]", data), "bootstrap", "median", "permutation"}
    return {name: works for name, works in _METHODS.items() if name in used}
