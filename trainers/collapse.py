"""Linear layers without an activation between them as one: the same function, with fewer ways to adapt."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import torch
from torch import Tensor

from metaprobe.trainers.algorithms import ALGORITHMS
from metaprobe.trainers.checkpoint import Checkpoint
from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.network_config import NetworkConfig

__all__ = ["collapsed", "collapsed_weights"]


def collapsed(checkpoint: Checkpoint) -> Checkpoint:
    """Return a learner whose linear layers before the head are multiplied into it (Arnold et al. 2021, section B.3).

    Before adaptation it computes what it computed, to rounding; it adapts as its algorithm would have it, but as one
    layer. What it was before training is collapsed likewise.

    Raises:
        MetaprobeError: there are no such layers, or more than the weights belongs to them.
    """
    network, name = checkpoint.network_config, checkpoint.fingerprint[:12]
    if not isinstance(network, NetworkConfig) or not network.linnet:
        raise MetaprobeError(
            f"checkpoint {name} ({network.told}) has no linear layers before its head: between its other layers stand "
            "activations, and what one layer computes behind one no other can; --linnet adds linear ones"
        )
    if checkpoint.rule or checkpoint.clusters is not None:
        whose = "parameters learned beside its weights" if checkpoint.rule else "its clusters"
        raise MetaprobeError(f"checkpoint {name}: {whose} belong to the layers that would be collapsed")
    config = dataclasses.replace(checkpoint.config, linnet=(), base=None)
    shape = dataclasses.replace(network, linnet=())
    params, begun = (collapsed_weights(one.params) for one in (checkpoint, checkpoint.untrained()))
    layers = tuple(dict.fromkeys(name.partition(".")[0] for name in params))
    return dataclasses.replace(
        checkpoint,
        params=params,
        config=config,
        network_config=shape,
        adaptation=ALGORITHMS[config.algorithm].adaptation(config, layers),
        provenance={**checkpoint.provenance, "collapsed": checkpoint.fingerprint},
        begun=begun,
    )


def collapsed_weights(params: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return weights in which linear1 … and head are one head: W = W_h⋯W₁, b = W_h(⋯(W₂b₁ + b₂)⋯) + b_h, in float64."""
    count = sum(name.startswith("linear") and name.endswith(".weight") for name in params)
    weight, bias = params["linear1.weight"].double(), params["linear1.bias"].double()
    for place in (*(f"linear{number}" for number in range(2, count + 1)), "head"):
        own = params[f"{place}.weight"].double()
        weight, bias = own @ weight, own @ bias + params[f"{place}.bias"].double()
    kept = {name: value for name, value in params.items() if not name.startswith(("linear", "head."))}
    kind = params["head.weight"].dtype
    with torch.no_grad():
        return {**kept, "head.weight": weight.to(kind).contiguous(), "head.bias": bias.to(kind)}
