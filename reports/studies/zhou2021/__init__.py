"""Zhou et al. 2021: do tasks fall into groups by their adapted parameters, and does an initialisation each help?"""

from reports.studies.zhou2021.study import ZHOU2021

__all__ = ["ZHOU2021"]
