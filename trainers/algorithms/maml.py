"""MAML: every layer adapts, and the meta-gradient goes through the inner gradients."""

from metaprobe.trainers.algorithms.base import STAGES, UPDATES, Algorithm, adapt_all, meta_gradient

__all__ = ["MAML"]

MAML = Algorithm(
    name="maml",
    summary="Learns an initialisation from which a few gradient steps on all layers solve a task.",
    citation="Finn, Abbeel, Levine: Model-Agnostic Meta-Learning, ICML 2017, Algorithm 2",
    adaptation=adapt_all,
    meta_gradient=meta_gradient,
    options=UPDATES | STAGES | {"step_norms", "step_statistics"},
    regression=True,
)
