"""Full-context embeddings of matching networks: each sample is embedded in the light of the whole support set.

Vinyals et al. (2016, Section 2.1.2, Appendices A.1 and A.2). The paper takes the support set "as a sequence" and names
no order. Here it is the order that a task's samples have: class by class, the classes in the order that was drawn for
the task. (Ravi and Larochelle's code shuffles the samples.) What embeds another order embeds otherwise.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from metaprobe.trainers.formats.tensor_names import FCE
from metaprobe.trainers.networks.task_network import Parameters, TaskNetwork
from metaprobe.trainers.update_rules import Slot, Slots

__all__ = ["full_context", "full_context_part", "full_context_slots"]

_CELLS = {"forward": 1, "backward": 1, "read": 2}  # and how many vectors of the features' width each is given


def full_context_slots(network: TaskNetwork) -> Slots:
    """Return the parameters of the three LSTMs by full name, for features as the network's head reads them.

    They start as Glorot has it, with biases of 0, which neither the paper nor a code of its authors says.
    """
    width = network.get_parameter(f"{network.layer_names[-1]}.weight").shape[1]
    found = Slots()
    for cell, vectors in _CELLS.items():
        found[f"{FCE}{cell}.input.weight"] = Slot((4 * width, vectors * width), "glorot")
        found[f"{FCE}{cell}.state.weight"] = Slot((4 * width, width), "glorot")
        found[f"{FCE}{cell}.bias"] = Slot((4 * width,), "zeros")
    return found


def full_context_part(params: Parameters) -> dict[str, Tensor]:
    """Return what of a flat mapping of parameters embeds in context."""
    return {name: value for name, value in params.items() if name.startswith(FCE)}


def full_context(
    params: Parameters,
    support: Float[Tensor, "task sample feature"],
    query: Float[Tensor, "task other feature"],
    steps: int,
) -> tuple[Float[Tensor, "task sample feature"], Float[Tensor, "task other feature"]]:
    """Return the embeddings g(x_i, S) of a support set and f(x, S) of queries.

    g(x_i, S) = g'(x_i) + h→_i + h←_i, of a bidirectional LSTM over the support set (Eqs. of A.2).
    f(x, S) = h_K, with h_0 = 0, ĥ_k, c_k = LSTM(f'(x), [h_{k−1}, r_{k−1}], c_{k−1}), h_k = ĥ_k + f'(x) and
    r_{k−1} = Σ_i softmax_i(h_{k−1}ᵀ g(x_i)) g(x_i) (Eqs. 3 to 6), so that r_0 is the mean of the support set.

    Args:
        params: those that `full_context_slots` names, among others.
        support: g', what the body makes of the support set, in its order.
        query: f', of the queries.
        steps: K, how often a query reads the support set.
    """
    known = support + _states(params, "forward", support) + _states(params, "backward", support.flip(1)).flip(1)
    state, cell = torch.zeros_like(query), torch.zeros_like(query)
    for _ in range(steps):
        read = torch.softmax(state @ known.mT, dim=-1) @ known
        made, cell = _cell(params, "read", torch.cat([query, read], dim=-1), state, cell)
        state = made + query
    return known, state


def _states(params: Parameters, name: str, samples: Float[Tensor, "task sample feature"]) -> Tensor:
    """Return the state (task, sample, feature) of an LSTM after each sample, in their order."""
    state = cell = torch.zeros_like(samples[:, 0])
    found: list[Tensor] = []
    for sample in samples.unbind(1):
        state, cell = _cell(params, name, sample, state, cell)
        found.append(state)
    return torch.stack(found, dim=1)


def _cell(params: Parameters, name: str, x: Tensor, state: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
    """Take a step of an LSTM: gates i, f, o and the new g are linear in x and the state; return state and cell."""
    gates = x @ params[f"{FCE}{name}.input.weight"].mT + state @ params[f"{FCE}{name}.state.weight"].mT
    i, f, g, o = (gates + params[f"{FCE}{name}.bias"]).chunk(4, dim=-1)
    cell = torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(cell), cell
