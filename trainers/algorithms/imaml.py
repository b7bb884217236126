"""iMAML: inner weights are held near the initialisation, and the meta-gradient is the implicit one of their optimum."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from metaprobe.trainers.algorithms.base import Algorithm, MetaGradient, adapt_all
from metaprobe.trainers.config import Adaptation, TrainConfig

if TYPE_CHECKING:
    from torch import Tensor, nn

    from metaprobe.trainers.networks import Parameters
    from metaprobe.trainers.tasks.episodes import Tasks

__all__ = ["IMAML"]

_LAMBDA, _ITERATIONS, _STEPS = 2.0, 5, 16  # the code's, on Omniglot


def _adaptation(config: TrainConfig, layers: tuple[str, ...]) -> Adaptation:
    how = {"prox_lambda": config.prox_lambda or _LAMBDA, "cg_steps": config.cg_steps or _ITERATIONS}
    return dataclasses.replace(adapt_all(config, layers), **how, cg_system=config.cg_system or Adaptation.cg_system)


def _implicit(
    network: nn.Module, params: Parameters, tasks: Tasks, adaptation: Adaptation, transductive: bool, sweep: bool
) -> MetaGradient:
    """Return Σ_T v_T with A v_T = ∇L_query(φ_T), A = I + H/λ and H = ∇²L_support(φ_T) (its Lemma 1).

    φ_T is where the inner loop on L_support + λ/2‖φ − θ‖² ends, taken for its optimum; no graph goes through it. What
    does not adapt (ψ, the norms under --no-adapt-norm) has ∂L_query/∂ψ − (∂²L_support/∂ψ∂φ) v_T/λ. Conjugate gradients
    presume a positive A, which H's negative curvature may cost where λ is small; nothing makes up for that here.
    The authors' code has A = 2I + H/(λ + 10), λ = 2 (`cg_system` "code"), and, other than here and in the paper, an
    inner loop on L_support alone with one step on the proximal term after it, and λ = 0 in tests.
    """
    import torch

    from metaprobe.trainers.adapt import adapt_as, adaptable, query_logits
    from metaprobe.trainers.conjugate_gradients import conjugate_gradients
    from metaprobe.trainers.direct_gradient import direct_gradient
    from metaprobe.trainers.losses import task_losses
    from metaprobe.trainers.networks import forward_tasks

    moving = adaptable(network, params, adaptation.layers, adaptation.adapt_norm)
    adapted = adapt_as(network, params, tasks.support, adaptation).params
    leaves = {name: adapted[name].requires_grad_() for name in moving}
    fixed = {name: value for name, value in params.items() if value.requires_grad and name not in leaves}
    at, inputs = {**params, **leaves}, list(leaves.values())
    logits = query_logits(network, at, tasks.support, tasks.query, transductive=transductive)
    found = direct_gradient({**leaves, **fixed}, logits, tasks.query.labels)
    loss = task_losses(forward_tasks(network, at, tasks.support.images), tasks.support.labels).sum()
    slopes = torch.autograd.grad(loss, inputs, create_graph=True)
    own, scale = (2.0, adaptation.prox_lambda + 10) if adaptation.cg_system == "code" else (1.0, adaptation.prox_lambda)

    def times(v: Sequence[Tensor]) -> list[Tensor]:
        curved = torch.autograd.grad(slopes, inputs, v, retain_graph=True)  # tasks share no parameter: a block each
        return [own * one + bent / scale for one, bent in zip(v, curved, strict=True)]

    solved = conjugate_gradients(times, [found.gradients[name] for name in leaves], adaptation.cg_steps)
    mixed = torch.autograd.grad(slopes, list(fixed.values()), solved, materialize_grads=True) if fixed else ()
    gradients = {name: one.sum(0) for name, one in zip(leaves, solved, strict=True)}
    gradients |= {name: found.gradients[name] - one / scale for name, one in zip(fixed, mixed, strict=True)}
    return dataclasses.replace(found, gradients={name: gradients[name] for name in params if name in gradients})


IMAML = Algorithm(
    name="imaml",
    summary="MAML held near its initialisation, whose meta-gradient needs the end of the inner loop alone.",
    citation="Rajeswaran, Finn, Kakade, Levine: Meta-Learning with Implicit Gradients, NeurIPS 2019, Algorithms 1, 2",
    adaptation=_adaptation,
    meta_gradient=_implicit,
    options=frozenset({"prox_lambda", "cg_steps", "cg_system"}),
    regression=True,
    defaults=lambda config: {"inner_steps": _STEPS},
)
