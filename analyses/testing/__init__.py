"""Tests of learners: accuracy on the tasks of a plan, ablations, the reuse index, and times."""

from metaprobe.analyses.testing.plan import Learner, TestPlan, adapting_all, identity_of, learner_of, sampler_of

__all__ = ["Learner", "TestPlan", "adapting_all", "identity_of", "learner_of", "sampler_of"]
