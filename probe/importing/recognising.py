"""Networks of others that our conv4 expresses, known by the names and shapes of their weights."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from metaprobe.probe.importing.step_parts import StepParts, without_steps
from metaprobe.trainers.errors import MetaprobeError

__all__ = ["Recognised", "recognised"]


@dataclass(frozen=True)
class Recognised:
    """A conv4 of another library.

    Attributes:
        told: whose it is.
        tensors: by our names.
        options: fields of `NetworkConfig` that it decides.
        left: names of the file that our network has no place for, with what they are.
        parts: of single inner steps; None of learners that have none.
    """

    told: str
    tensors: dict[str, Tensor]
    options: dict[str, Any]
    left: tuple[str, ...] = ()
    parts: StepParts | None = None


@dataclass(frozen=True)
class _Style:
    """How a library names the parts of a conv4.

    Attributes:
        told: whose they are.
        block: a pattern of names within a block, with the groups `block` (its number) and `part`.
        first: number of the first block.
        parts: what the library calls convolution and norm, by our names of them.
        head: what it calls the head's weight and bias.
        pools: whether its blocks end in max-pools; None: as the head's size says.
        copies: a pattern of names that are other names of the same tensors.
        by_step: whether it keeps rates and norms of single inner steps (`probe.importing.step_parts`).
    """

    told: str
    block: str
    first: int
    head: tuple[str, str]
    parts: Mapping[str, str] = field(default_factory=lambda: dict(_TORCH))
    copies: str = ""
    by_step: bool = False


_TORCH = {"conv.weight": "conv.weight", "conv.bias": "", "norm.weight": "norm.weight", "norm.bias": "norm.bias"}
_L2L = {"conv.weight": "conv.weight", "conv.bias": "", "normalize.weight": "norm.weight", "normalize.bias": "norm.bias"}
_PLUS = {"conv.weight": "conv.weight", "conv.bias": "", "norm_layer.weight": "norm.weight"}
_PLUS |= {"norm_layer.bias": "norm.bias"}
_IN_TURN = {"0.weight": "conv.weight", "0.bias": "", "1.weight": "norm.weight", "1.bias": "norm.bias"}
_STYLES = (
    _Style("metaprobe conv4", r"conv(?P<block>\d+)\.(?P<part>conv|norm)\.(?P<what>weight|bias)", 1,
           ("head.weight", "head.bias"), _TORCH),
    _Style("learn2learn OmniglotCNN", r"base\.(?P<block>\d+)\.(?P<part>conv|normalize)\.(?P<what>weight|bias)", 0,
           ("classifier.weight", "classifier.bias"), _L2L, copies=r"features\.1\..*"),
    _Style("learn2learn CNN4 (MiniImagenetCNN)",
           r"features\.(?P<block>\d+)\.(?P<part>conv|normalize)\.(?P<what>weight|bias)", 0,
           ("classifier.weight", "classifier.bias"), _L2L),
    _Style("learn2learn ConvBase with a head",
           r"(?:0\.)+(?P<block>\d+)\.(?P<part>conv|normalize)\.(?P<what>weight|bias)", 0,
           ("HEAD.weight", "HEAD.bias"), _L2L),
    _Style("LibFewShot Conv64F/Conv32F with a linear classifier",
           r"emb_func\.layer(?P<block>\d+)\.(?P<part>0|1)\.(?P<what>weight|bias)", 1,
           ("classifier.layers.0.weight", "classifier.layers.0.bias"), _IN_TURN),
    _Style("MAML++ (HowToTrainYourMAMLPytorch)",
           r"layer_dict\.conv(?P<block>\d+)\.(?P<part>conv|norm_layer)\.(?P<what>weight|bias)", 0,
           ("layer_dict.linear.weights", "layer_dict.linear.bias"), _PLUS, by_step=True),
)  # fmt: skip


def recognised(given: Mapping[str, Tensor], channels: int, image_size: int) -> Recognised | None:
    """Return whose conv4 some tensors are, and those under our names; None where they are nobody's that is known.

    Args:
        given: by name.
        channels: of the images.
        image_size: of them, in pixels.

    Raises:
        MetaprobeError: they are known, and our conv4 does not express them, or not with such images.
    """
    for style in _STYLES:
        own, parts = without_steps(given) if style.by_step else (given, None)
        blocks = {name: found for name in own if (found := re.fullmatch(style.block, name))}
        if blocks:
            found = _as_ours(style, own, blocks, channels, image_size)
            leaky = {"activation": "leaky-relu"} if style.by_step else {}
            return dataclasses.replace(found, options=found.options | leaky, parts=parts)
    return None


def _as_ours(
    style: _Style, given: Mapping[str, Tensor], blocks: Mapping[str, re.Match[str]], channels: int, size: int
) -> Recognised:
    tensors, left = dict[str, Tensor](), list[str]()
    for name, found in blocks.items():
        ours = style.parts[f"{found['part']}.{found['what']}"]
        if ours:
            tensors[f"conv{int(found['block']) - style.first + 1}.{ours}"] = given[name]
        else:
            left.append(f"{name} (a bias that the norm after it subtracts)")
    weight, bias = (given.get(name) for name in style.head)
    if weight is None or bias is None or weight.ndim != 2:
        raise MetaprobeError(
            f"these are weights of {style.told} without their head, {style.head[0]}; a checkpoint needs one: name a "
            "network that has it (--network package.module:factory) with --new-head, which draws it"
        )
    tensors |= {"head.weight": weight, "head.bias": bias}
    convolutions = [value for name, value in tensors.items() if name.endswith("conv.weight")]
    filters, count = convolutions[0].shape[0], len(convolutions)
    first = tensors.get("conv1.conv.weight")
    if first is None or any(value.ndim != 4 or value.shape[2:] != (3, 3) for value in convolutions):
        raise MetaprobeError(f"these are named as those of {style.told}, and their convolutions are no 3×3 ones")
    if first.shape[1] != channels:
        raise MetaprobeError(
            f"these are weights of {style.told} for images of {first.shape[1]} channels; --channels is {channels}"
        )
    options = _options(style.told, filters, count, weight.shape[1], size, channels)
    taken = {*blocks, *style.head}
    others = [name for name in given if name not in taken and not (style.copies and re.fullmatch(style.copies, name))]
    return Recognised(style.told, tensors, options | _norms(tensors, count), (*left, *others))


def _norms(tensors: Mapping[str, Tensor], count: int) -> dict[str, Any]:
    held = {what: sum(name.endswith(f"norm.{what}") for name in tensors) for what in ("weight", "bias")}
    for affine, wanted in (("both", (count, count)), ("shift", (0, count)), ("none", (0, 0))):
        if tuple(held.values()) == wanted:
            return {"norm_affine": affine}
    raise MetaprobeError(
        f"of {count} blocks {held['weight']} norms have a scale and {held['bias']} a shift; all or none"
    )


def _options(told: str, filters: int, count: int, features: int, size: int, channels: int) -> dict[str, Any]:
    """Return how the blocks halve their maps, and what the head reads, by how many features it has."""
    halvings = min(count, 4)
    strided = size
    for _ in range(halvings):
        strided = (strided + 1) // 2
    readings = {
        ("stride", "mean"): filters,
        ("max-pool", "flatten"): filters * (size // 2**halvings) ** 2,
        ("stride", "flatten"): filters * strided**2,
        ("none", "flatten"): filters * size**2,
    }
    fitting = [kind for kind, wanted in readings.items() if wanted == features]
    if "Omniglot" in told and ("stride", "mean") in fitting:
        fitting = [("stride", "mean")]
    if ("CNN4" in told or "LibFewShot" in told or "MAML++" in told) and fitting[:1] == [("stride", "mean")]:
        fitting = fitting[1:]
    if not fitting:
        sides = [math.isqrt(features // filters)] if features % filters == 0 else []
        hint = (
            f", which is {filters} × {sides[0]} × {sides[0]}" if sides and sides[0] ** 2 * filters == features else ""
        )
        raise MetaprobeError(
            f"these are weights of {told} whose head reads {features} features{hint}; images of {channels} × {size} × "
            f"{size} leave {', '.join(str(value) for value in sorted(set(readings.values())))}: give the --image-size "
            "that it was trained with"
        )
    downsample, reads = fitting[0]
    return {"filters": filters, "blocks": count, "downsample": downsample, "head_input": reads}
