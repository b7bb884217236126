"""Matching networks: queries are classified by their similarity to the support set, in training and in tests.

With `--fce` it is full-context embeddings that are compared (`trainers.networks.full_context`): LSTMs make them of the
body's features and the whole support set, and a query reads it `--fce-steps` times, 3 as in Ravi and Larochelle's code.
They are learned with the body. That code holds the norm of the gradient of each LSTM to 0.25; here nothing does.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from metaprobe.trainers.algorithms.base import Algorithm, MetaGradient, adapt_head
from metaprobe.trainers.config import Adaptation, TrainConfig

if TYPE_CHECKING:
    from torch import nn

    from metaprobe.trainers.networks import Parameters
    from metaprobe.trainers.tasks.episodes import Tasks

__all__ = ["MATCHING"]


_READS = 3


def _adaptation(config: TrainConfig, layers: tuple[str, ...]) -> Adaptation:
    return dataclasses.replace(adapt_head(config, layers), fce_steps=(config.fce_steps or _READS) if config.fce else 0)


def _similarity_gradient(
    network: nn.Module, params: Parameters, tasks: Tasks, adaptation: Adaptation, transductive: bool, sweep: bool
) -> MetaGradient:
    """Return the gradient by all but the head of the queries' mean cross-entropy, logits being sums of cosines a class.

    That is the version of Ravi and Larochelle's code, which others take as the baseline; with the attention of the
    paper's Eq. 1 it would be `nil`. Other than in that code there is no dropout (0.1 a block there; its Adam has a rate
    of 1e-4, --outer-lr).
    """
    from metaprobe.trainers.direct_gradient import direct_gradient
    from metaprobe.trainers.networks import TaskNetwork
    from metaprobe.trainers.networks.full_context import full_context_part
    from metaprobe.trainers.networks.heads import body_of, matching_logits

    assert isinstance(network, TaskNetwork)
    logits = matching_logits(network, params, tasks, transductive, fce_steps=adaptation.fce_steps)
    return direct_gradient({**body_of(network, params), **full_context_part(params)}, logits, tasks.query.labels)


MATCHING = Algorithm(
    name="matching",
    summary="Matching networks by sums of cosine similarities a class; its untrained head adapts alone, if tested.",
    citation="Vinyals et al.: Matching Networks, NeurIPS 2016, Section 2.1, Appendix A; Ravi, Larochelle, ICLR 2017, "
    "Section 5.1",
    adaptation=_adaptation,
    meta_gradient=_similarity_gradient,
    head="matching",
    options=frozenset({"fce", "fce_steps"}),
)
