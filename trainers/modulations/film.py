"""FiLM: an embedding of the support images scales and shifts what every norm gives.

A feature map x between norm and ReLU becomes x (1 + γ) + β, (γ, β) of each channel linear in the embedding. Behind a
norm with scale w and shift b that is a norm with w (1 + γ) and b (1 + γ) + β. In the paper's network norms have neither
(w = 1, b = 0), and γ and β stay while the task's weights adapt: no norm adapts (`Adaptation.adapt_norm` False).

The maps to (γ, β) start at 0, where each task has θ; all other weights are Glorot uniform. The encoder's norms take
the statistics of a task's support set, in training and in tests; its code's running ones it has not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from metaprobe.trainers.config import Adaptation
from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.modulations.base import Modulation, Values, image_shape
from metaprobe.trainers.update_rules import Slot, Slots

if TYPE_CHECKING:
    from torch import Tensor, nn

    from metaprobe.trainers.tasks.episodes import Examples

__all__ = ["FILM"]

_CHANNELS, _WIDTH = (32, 64, 128, 256), 128  # of the encoder
_EPSILON = 1e-5


def _norms(network: nn.Module, adaptation: Adaptation) -> tuple[str, ...]:
    """Return the norms' scales and shifts, of layers that adapt."""
    from metaprobe.trainers.networks import norm_parameters
    from metaprobe.trainers.networks.naming import chosen_parameters

    norms = norm_parameters(network)
    return tuple(name for name in chosen_parameters(network, adaptation.layers) if name in norms)


def _slots(network: nn.Module, tensors: tuple[str, ...]) -> Slots:
    before, *_ = image_shape(network, FILM.name)
    places = _places(tensors)
    if not places or len(tensors) != 2 * len(places):
        there = ", ".join(tensors) or "none"
        told = f"takes the place of the norms' scales and shifts, and of layers that adapt there are {there}"
        raise MetaprobeError(f"modulation film {told}; choose a network that has both (--norm-affine both)")
    found = Slots()
    for number, channels in enumerate(_CHANNELS, 1):
        found[f"encoder.conv{number}.weight"] = Slot((channels, before, 3, 3), "glorot")
        found[f"encoder.conv{number}.scale"] = Slot((channels,), "ones")
        found[f"encoder.conv{number}.shift"] = Slot((channels,), "zeros")
        before = channels
    found["encoder.linear.weight"] = Slot((_WIDTH, before), "glorot")
    found["encoder.linear.bias"] = Slot((_WIDTH,), "zeros")
    for place in places:
        both = 2 * network.get_parameter(f"{place}.weight").numel()
        found[f"{place}.film.weight"] = Slot((both, _WIDTH), "zeros")
        found[f"{place}.film.bias"] = Slot((both,), "zeros")
    return found


def _places(tensors: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name.removesuffix(".weight") for name in tensors if name.endswith(".weight"))


def _film(own: Values, values: Values, support: Examples) -> tuple[dict[str, Tensor], None]:
    """Return the norms' scales w (1 + γ) and shifts b (1 + γ) + β of each task."""
    embedding = _embedding(own, support.images)
    found: dict[str, Tensor] = {}
    for place in _places(tuple(values)):
        made = embedding @ own[f"{place}.film.weight"].T + own[f"{place}.film.bias"]
        gamma, beta = made.chunk(2, dim=1)
        found[f"{place}.weight"] = values[f"{place}.weight"] * (1 + gamma)
        found[f"{place}.bias"] = values[f"{place}.bias"] * (1 + gamma) + beta
    return found, None


def _embedding(own: Values, images: Tensor) -> Tensor:
    """Return (task, width): the mean over support images of what the encoder makes of each; labels are not read."""
    from torch.nn.functional import conv2d

    tasks, x = len(images), images.flatten(0, 1)
    for number in range(1, len(_CHANNELS) + 1):
        name = f"encoder.conv{number}"
        x = conv2d(x, own[f"{name}.weight"], stride=2, padding=1).unflatten(0, (tasks, -1))
        centred = x - x.mean(dim=(1, 3, 4), keepdim=True)
        x = centred / (centred.square().mean(dim=(1, 3, 4), keepdim=True) + _EPSILON).sqrt()
        x = (x * own[f"{name}.scale"].view(-1, 1, 1) + own[f"{name}.shift"].view(-1, 1, 1)).relu().flatten(0, 1)
    made = x.mean(dim=(2, 3)) @ own["encoder.linear.weight"].T + own["encoder.linear.bias"]
    return made.relu().unflatten(0, (tasks, -1)).mean(dim=1)


FILM = Modulation(
    name="film",
    summary="Scales and shifts what norms give, by an embedding of the support images.",
    citation="Vuorio, Sun, Hu, Lim: Multimodal Model-Agnostic Meta-Learning via Task-Aware Modulation, NeurIPS 2019, "
    "Section 4",
    tensors=_norms,
    parameters=_slots,
    modulate=_film,
)
