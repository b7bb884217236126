"""Arnold et al. 2021: does depth, or an external optimiser, make MAML adapt?"""

from reports.papers.arnold2021.study import STUDY

__all__ = ["STUDY"]
