"""Zhou et al. 2021: do tasks fall into groups by their adapted parameters, and does an initialisation each help?"""

from reports.papers.zhou2021.study import STUDY

__all__ = ["STUDY"]
