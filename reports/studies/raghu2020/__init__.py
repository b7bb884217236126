"""Raghu et al. 2020, "Rapid Learning or Feature Reuse?": what to train and measure, the verdicts, and the page."""

from reports.studies.raghu2020.study import RAGHU2020

__all__ = ["RAGHU2020"]
