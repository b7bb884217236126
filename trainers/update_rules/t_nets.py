"""T-Nets: a learned linear map behind every layer, which stays while the layer adapts.

Behind a linear layer or convolution W x + b stands T, before norm and activation; so the network computes with
W' = T W and b' = T b. W takes the step W − α Tᵀ ∇L(W'), hence W' the step W' − α T Tᵀ ∇L(W'). The outer loop trains W
and T; the inner loop, and a checkpoint, hold W', which is T multiplied into W, as the paper does after adaptation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.formats.tensor_names import UPDATE_RULE
from metaprobe.trainers.update_rules.base import Own, Slot, Slots, UpdateRule

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["T_NETS"]


def _maps(network: nn.Module, moving: tuple[str, ...]) -> Slots:
    """Return a square map for each linear layer and convolution that adapts, of its outputs."""
    from metaprobe.trainers.networks import is_linear_layer, norm_parameters

    found, norms = Slots(), norm_parameters(network)
    for tensor in moving:
        if tensor in norms:
            continue
        place = tensor.rpartition(".")[0]
        module = network.get_submodule(place)
        if not is_linear_layer(module):
            told = f"{type(module).__name__}, of {tensor}, is neither a linear layer nor a convolution"
            raise MetaprobeError(f"t_nets puts a linear map behind every layer, and {told}; choose another update rule")
        outputs = network.get_parameter(tensor).shape[0]
        found[f"{place}.map"] = Slot((outputs, outputs), "identity")
    return found


def _mixed(gradient: Tensor, own: Own, step: int) -> Tensor:
    """Return T Tᵀ g, T mixing what a layer gives; a norm's tensors have no T."""
    if "map" not in own:
        return gradient
    return _times(own["map"] @ own["map"].mT, gradient)


def _computed(params: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return all parameters with every T multiplied into its layer's, T staying beside them."""
    computed = dict(params)
    for name, value in params.items():
        place, _, what = name.removeprefix(UPDATE_RULE).rpartition(".")
        if not name.startswith(UPDATE_RULE) or what != "map":
            continue
        for tensor in (tensor for tensor in params if tensor.startswith(f"{place}.")):
            computed[tensor] = _times(value.unsqueeze(0), params[tensor].unsqueeze(0)).squeeze(0)
    return computed


def _times(matrix: Tensor, values: Tensor) -> Tensor:
    """Return M V, for M (task or 1, out, out) and V (task, out, …)."""
    flat = values.flatten(2) if values.dim() > 2 else values.unsqueeze(2)
    return (matrix @ flat).view(values.shape)


T_NETS = UpdateRule(
    name="t_nets",
    summary="Learns a linear map behind every layer, through which the layer's own weights adapt; the map stays.",
    citation="Lee, Choi: Gradient-Based Meta-Learning with Learned Layerwise Metric and Subspace, ICML 2018, "
    "Section 3.2",
    transform=_mixed,
    parameters=_maps,
    computed=_computed,
    every_layer="a T-Net has a map behind every layer, whose weights adapt through it, and is not defined where the "
    "body stays (Arnold et al. 2021, supplement)",
)
