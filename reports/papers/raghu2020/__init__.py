"""Raghu et al. 2020: rapid learning or feature reuse?"""

from reports.papers.raghu2020.study import RAGHU2020

__all__ = ["RAGHU2020"]
