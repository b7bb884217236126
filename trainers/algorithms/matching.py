"""Matching networks: queries are classified by their similarity to the support set, in training and in tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainers.algorithms.base import Algorithm, MetaGradient, adapt_head
from trainers.config import Adaptation

if TYPE_CHECKING:
    from torch import nn

    from trainers.networks import Parameters
    from trainers.tasks.episodes import Tasks

__all__ = ["MATCHING"]


def _similarity_gradient(
    network: nn.Module, params: Parameters, tasks: Tasks, adaptation: Adaptation, transductive: bool, sweep: bool
) -> MetaGradient:
    """Return the gradient by the body of the queries' mean cross-entropy, logits being sums of cosines a class.

    That is the version of Ravi and Larochelle's code, which others take as the baseline; with the attention of the
    paper's Eq. 1 it would be `nil`. Both embeddings are the body, without full-context embeddings. Other than in that
    code there is no dropout (0.1 a block there; its Adam has a rate of 1e-4, --outer-lr).
    """
    from trainers.direct_gradient import direct_gradient
    from trainers.networks import TaskNetwork
    from trainers.networks.heads import body_of, matching_logits

    assert isinstance(network, TaskNetwork)
    logits = matching_logits(network, params, tasks, transductive)
    return direct_gradient(body_of(network, params), logits, tasks.query.labels)


MATCHING = Algorithm(
    name="matching",
    summary="Matching networks by sums of cosine similarities a class; its untrained head adapts alone, if tested.",
    citation="Vinyals et al.: Matching Networks, NeurIPS 2016, Section 2.1; Ravi, Larochelle, ICLR 2017, Section 5.1",
    adaptation=adapt_head,
    meta_gradient=_similarity_gradient,
    head="matching",
)
