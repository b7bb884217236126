"""HSML's gates: an embedding of the task goes through a tree of clusters, and gates every tensor that adapts.

The network begins at θ ⊙ σ(D [z, r]), z being the task's embedding and r what the tree makes of it. Other than in
the paper's code all weights are Glorot uniform and all biases 0 at first, and the recurrent cell is torch's, whose
reset gate acts behind the product; what else differs is said where it does.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from metaprobe.trainers.config import Adaptation
from metaprobe.trainers.modulations.base import Modulation, Values, image_shape
from metaprobe.trainers.update_rules import Slot, Slots

if TYPE_CHECKING:
    from torch import Tensor, nn

    from metaprobe.trainers.tasks.episodes import Examples

__all__ = ["TREE"]

_FILTERS, _DENSE = 32, (384, 64)  # of the image encoder
_WIDTH = 128  # of an embedding, and of every node
_LEAVES, _NODES = 4, 2
_SIGMA = 10.0  # of the clusters
_RECONSTRUCTION = 0.01  # its weight in the outer loss


def _moving(network: nn.Module, adaptation: Adaptation) -> tuple[str, ...]:
    """Return all that adapts: norms too, where they do."""
    from metaprobe.trainers.networks import norm_parameters
    from metaprobe.trainers.networks.naming import chosen_parameters

    fixed = () if adaptation.adapt_norm else norm_parameters(network)
    return tuple(name for name in chosen_parameters(network, adaptation.layers) if name not in fixed)


def _slots(network: nn.Module, tensors: tuple[str, ...]) -> Slots:
    channels, height, width = image_shape(network, TREE.name)
    quarter = [-(-side // 4) for side in (height, width)]  # two pools of stride 2, which round up
    way = network.get_parameter("head.bias").numel()
    joined, found = _DENSE[1] + way, Slots()

    def linear(name: str, out: int, into: tuple[int, ...]) -> None:
        found[f"{name}.weight"] = Slot((out, *into), "glorot")
        found[f"{name}.bias"] = Slot((out,), "zeros")

    linear("encoder.conv1", _FILTERS, (channels, 5, 5))
    linear("encoder.conv2", _FILTERS, (_FILTERS, 5, 5))
    linear("encoder.dense1", _DENSE[0], (_FILTERS * math.prod(quarter),))
    linear("encoder.dense2", _DENSE[1], (_DENSE[0],))
    for part in ("reader", "writer"):
        linear(f"{part}.input", 3 * _WIDTH, (joined,))
        linear(f"{part}.state", 3 * _WIDTH, (_WIDTH,))
    linear("writer.output", joined, (_WIDTH,))
    found["tree.centres"] = Slot((_LEAVES, _WIDTH), "glorot")
    for leaf in range(1, _LEAVES + 1):
        linear(f"tree.leaf{leaf}", _WIDTH, (_WIDTH,))
    linear("tree.gate", _NODES, (_WIDTH,))
    for node in range(1, _NODES + 1):
        linear(f"tree.node{node}", _WIDTH, (_WIDTH,))
    linear("tree.root", _WIDTH, (_WIDTH,))
    for tensor in tensors:
        linear(f"{tensor}.gate", network.get_parameter(tensor).numel(), (2 * _WIDTH,))
    return found


def _gated(own: Values, values: Values, support: Examples) -> tuple[dict[str, Tensor], Tensor]:
    """Return θ ⊙ σ(D [z, r]) of each task, and its weighted reconstruction error."""
    import torch

    z, error = _embedding(own, _read(own, support))
    both = torch.cat([z, _root(own, z)], dim=1)
    found: dict[str, Tensor] = {}
    for name, value in values.items():
        found[name] = value * torch.sigmoid(_linear(own, f"{name}.gate", both)).view(-1, *value.shape[1:])
    return found, _RECONSTRUCTION * error


def _linear(own: Values, name: str, x: Tensor) -> Tensor:
    return x @ own[f"{name}.weight"].T + own[f"{name}.bias"]


def _read(own: Values, support: Examples) -> Tensor:
    """Return (task, sample, feature): of each support image its features, joined with its label as indicators.

    Sizes are those of TensorFlow's tutorial on CIFAR-10, and so are here the constants of the local response
    normalisation. (The code's indicators are 1 − onehot, a linear map of ours.)
    """
    import torch
    import torch.nn.functional as F

    x, way = support.images.flatten(0, 1), own["writer.output.bias"].numel() - _DENSE[1]
    x = F.conv2d(x, own["encoder.conv1.weight"], own["encoder.conv1.bias"], padding=2).relu()
    x = _normalised(F.max_pool2d(x, 3, 2, padding=1))
    x = _normalised(F.conv2d(x, own["encoder.conv2.weight"], own["encoder.conv2.bias"], padding=2).relu())
    x = F.max_pool2d(x, 3, 2, padding=1).flatten(1)
    x = _linear(own, "encoder.dense2", _linear(own, "encoder.dense1", x).relu()).relu()
    labels = (support.labels.unsqueeze(-1) == torch.arange(way, device=x.device)).to(x.dtype)
    return torch.cat([x.unflatten(0, support.labels.shape), labels], dim=2)


def _normalised(x: Tensor) -> Tensor:
    """Return x / (1 + 0.001/9 Σ x²)^0.75, the sum over nine neighbouring channels."""
    from torch.nn.functional import local_response_norm

    return local_response_norm(x, 9, alpha=0.001, beta=0.75, k=1.0)


def _embedding(own: Values, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean (task, width) of a recurrent encoder's outputs over the samples, and how well they are decoded.

    The decoder starts from the encoder's last state and gives the samples from the last to the first, each from what it
    gave before; the error is the mean square. (The code reads ten samples of a 5-shot task; here they are all read.)
    """
    import torch

    state = inputs.new_zeros(len(inputs), _WIDTH)
    given = torch.zeros_like(inputs[:, 0])
    states: list[Tensor] = []
    decoded: list[Tensor] = []
    for sample in inputs.unbind(1):
        state = _cell(own, "reader", sample, state)
        states.append(state)
    for _ in states:
        state = _cell(own, "writer", given, state)
        given = _linear(own, "writer.output", state)
        decoded.append(given)
    error = (torch.stack(decoded[::-1], dim=1) - inputs).square().mean(dim=(1, 2))
    return torch.stack(states, dim=1).mean(dim=1), error


def _cell(own: Values, part: str, x: Tensor, state: Tensor) -> Tensor:
    """Return the next state of a gated recurrent unit."""
    import torch

    names = ("input.weight", "state.weight", "input.bias", "state.bias")
    return torch.gru_cell(x, state, *(own[f"{part}.{name}"] for name in names))


def _root(own: Values, z: Tensor) -> Tensor:
    """Return what a tree of four leaves, two nodes and a root makes of embeddings (task, width).

    p_i ∝ exp(−‖z − c_i‖²/2σ), leaf_i = p_i tanh(U_i z + b_i); gate_ij = softmax_j(w_j·leaf_i + b_j),
    node_j = Σ_i gate_ij tanh(V_j leaf_i + b_j); root = Σ_j tanh(R node_j + b).
    """
    import torch

    apart = (z.unsqueeze(1) - own["tree.centres"]).square().sum(dim=2)
    shares = torch.softmax(-apart / (2 * _SIGMA), dim=1)
    made = torch.stack([_linear(own, f"tree.leaf{leaf}", z) for leaf in range(1, _LEAVES + 1)], dim=1)
    leaves = shares.unsqueeze(2) * torch.tanh(made)
    gates = torch.softmax(_linear(own, "tree.gate", leaves), dim=2)  # (task, leaf, node)
    nodes = [
        (gates[:, :, place, None] * torch.tanh(_linear(own, f"tree.node{place + 1}", leaves))).sum(dim=1)
        for place in range(_NODES)
    ]
    return torch.tanh(_linear(own, "tree.root", torch.stack(nodes, dim=1))).sum(dim=1)


TREE = Modulation(
    name="tree",
    summary="Gates every tensor that adapts, by an embedding of images and labels that a tree of clusters has passed.",
    citation="Yao, Wei, Huang, Li: Hierarchically Structured Meta-Learning, ICML 2019, Sections 4.1–4.3",
    tensors=_moving,
    parameters=_slots,
    modulate=_gated,
    of_classes=True,
)
