"""Binary logistic regression with linear layers before it, meta-trained by MAML (Arnold et al. 2021, section B.1).

A task is θ ~ N(0, I₂) with samples x ~ N(0, I₂). Its labels are drawn, y ~ Bernoulli(σ(θᵀx)), as the paper has it: then
no classifier is right more often than `bayes_accuracy`. Or they are sign(θᵀx), of which every one can be told.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import torch
from jaxtyping import Float
from scipy.special import expit
from torch import Tensor, nn

from metaprobe.analyses.theory.plans import Labels, LogisticTraining
from metaprobe.trainers.adapt import adapt
from metaprobe.trainers.losses import task_losses, task_scores
from metaprobe.trainers.networks import forward_tasks
from metaprobe.trainers.tasks.episodes import Tasks
from metaprobe.trainers.tasks.given import tasks_of_arrays

__all__ = ["LogisticRegression", "bayes_accuracy", "logistic_curve", "logistic_tasks"]


class LogisticRegression(nn.Module):
    """σ(cᵀx), or with linear layers σ(aᵀB…x): no bias, no activation between (Eqs. 6 and 7 in two dimensions).

    Outputs are −z/2 and z/2, whose softmax is σ(−z) and σ(z): the cross-entropy of both is that of z.

    Args:
        widths: of the linear layers before the last.
        generator: draws the initial weights, Glorot uniform.
    """

    def __init__(self, widths: tuple[int, ...], generator: torch.Generator) -> None:
        super().__init__()
        sizes = (2, *widths, 1)
        self.layers = nn.ModuleList(
            nn.Linear(inputs, outputs, bias=False, dtype=torch.float64) for inputs, outputs in itertools.pairwise(sizes)
        )
        for layer in self.layers:
            nn.init.xavier_uniform_(layer.weight, generator=generator)  # pyright: ignore[reportArgumentType]

    def forward(self, x: Tensor) -> Tensor:
        """Return −z/2 and z/2 of samples, (…, 2)."""
        for layer in self.layers:
            x = layer(x)
        return torch.cat([-x / 2, x / 2], dim=-1)


def logistic_tasks(count: int, how: LogisticTraining, generator: np.random.Generator) -> Tasks:
    """Return tasks of two classes, of `n_shot` support and `n_query` query samples in all."""
    samples = how.n_shot + how.n_query
    theta, x = generator.standard_normal((count, 2, 1)), generator.standard_normal((count, samples, 2))
    logit, noise = (x @ theta)[..., 0], generator.uniform(size=(count, samples))
    y = (logit > 0 if how.labels == "sign" else noise < expit(logit)).astype(np.int64)
    cut = how.n_shot
    return tasks_of_arrays(x[:, :cut], y[:, :cut], x[:, cut:], y[:, cut:], group="logistic")


def bayes_accuracy(labels: Labels) -> float:
    """Return the accuracy in percent of whoever knows θ: 100 for signs, 100·ln 2 = 69.3 for labels that are drawn.

    θᵀx given θ is N(0, ‖θ‖²), and ‖θ‖² is exponential with mean 2, which makes θᵀx Laplace distributed with scale 1 and
    E σ(|θᵀx|) = ∫ e⁻ᵗ/(1 + e⁻ᵗ) dt over t ≥ 0.
    """
    return 100.0 if labels == "sign" else 100 * math.log(2)


def logistic_curve(
    layers: int, how: LogisticTraining, tests: Tasks, every: int = 20
) -> tuple[list[int], Float[np.ndarray, "point task"]]:
    """Meta-train a logistic regression behind so many linear layers, and test it as it goes.

    Args:
        layers: linear layers before the last; a key of `how.betas`.
        how: rates, tasks, iterations.
        tests: tasks to adapt to, by one step.
        every: outer steps between two tests; there is one before the first step.

    Returns:
        The outer steps taken at each test, and the accuracy in percent after adaptation on each task's queries.
    """
    weights, drawn = np.random.SeedSequence([how.seed, layers]).spawn(2)
    generator = torch.Generator().manual_seed(int(weights.generate_state(1)[0]))
    network, tasks = LogisticRegression((how.width,) * layers, generator), np.random.default_rng(drawn)
    descent = torch.optim.SGD(network.parameters(), lr=dict(how.betas)[layers], momentum=how.momentum)
    iterations, found = [0], [_tested(network, tests, how.alpha)]
    for step in range(1, how.iterations + 1):
        batch = logistic_tasks(how.tasks, how, tasks)
        descent.zero_grad()
        task_losses(_query_outputs(network, batch, how.alpha, create_graph=True), batch.query.labels).mean().backward()
        descent.step()
        if step % every == 0 or step == how.iterations:
            iterations.append(step)
            found.append(_tested(network, tests, how.alpha))
    return iterations, np.stack(found)


def _query_outputs(network: nn.Module, tasks: Tasks, alpha: float, create_graph: bool = False) -> Tensor:
    params = dict(network.named_parameters())
    adapted = adapt(network, params, tasks.support, inner_lr=alpha, steps=1, create_graph=create_graph)
    return forward_tasks(network, adapted.params, tasks.query.images)


def _tested(network: nn.Module, tests: Tasks, alpha: float) -> Float[np.ndarray, " task"]:
    return 100 * task_scores(_query_outputs(network, tests, alpha), tests.query.labels).numpy()
