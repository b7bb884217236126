"""Which outputs a capture keeps, where their features are, and why the others are left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from metaprobe.probe.capturing.describing import Output
from metaprobe.probe.layers import layers_chosen, lone_weights, module_names, wants
from metaprobe.probe.store.metadata import EPS, LayerInfo
from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.networks.naming import is_glob

__all__ = ["ChannelAxis", "choose", "told"]

ChannelAxis = int | Mapping[str, int] | None
"""Where features are in outputs of more than two axes, the samples in front: one axis for all, by pattern, by rule."""

_MOST_FEATURES = 4096  # the scatter of [x|y] is then half a GB for each task and step
_TOLD = 6  # names in a warning


def choose(
    network: nn.Module,
    patterns: Sequence[str],
    modules: Sequence[str],
    blocks: Mapping[str, Tensor],
    outputs: Mapping[str, Output] | None,
    channel_axis: ChannelAxis,
) -> tuple[tuple[LayerInfo, ...], dict[str, str]]:
    """Return the layers that a capture keeps, and why it leaves out what a glob chooses besides.

    Args:
        network: the module.
        patterns: of the layers wanted.
        modules: that they choose.
        blocks: what these gave, (task, sample, …), by name with the call's index.
        outputs: what is known of all outputs; None where features are on axis 1 and samples in front.
        channel_axis: where features are.

    Raises:
        MetaprobeError: a layer that is named cannot be captured, a pattern has no output, or there is no such axis.
    """
    aliases = module_names(network)
    left_out = dict.fromkeys(lone_weights(network), "is a weight by itself, which has no output")
    left_out |= _not_given(modules, blocks, outputs)
    for pattern in patterns:
        for name, reason in left_out.items():
            if not is_glob(pattern) and wants(pattern, name, aliases) and not _given(pattern, blocks, aliases):
                raise MetaprobeError(f"layer {name!r} {reason}; name others, or all by a glob")
    left_out = {name: why for name, why in left_out.items() if any(wants(one, name, aliases) for one in patterns)}
    infos, used = [], set[str]()
    for name in layers_chosen(blocks, patterns, aliases):
        output = Output() if outputs is None else outputs[name]
        axis, pattern = _asked(channel_axis, name, aliases)
        if blocks[name].ndim > 3 and pattern:
            used.add(pattern)
        info = _layer_info(name, blocks[name], output, axis)
        if isinstance(info, LayerInfo):
            infos.append(info)
        elif any(not is_glob(pattern) and wants(pattern, name, aliases) for pattern in patterns):
            raise MetaprobeError(f"layer {name!r} {info}; name other layers")
        else:
            left_out[name] = info
    if isinstance(channel_axis, Mapping) and (idle := [pattern for pattern in channel_axis if pattern not in used]):
        many = [info.name for info in infos if len(info.shape) > 1]
        known = ", ".join(many) or "none"
        raise MetaprobeError(
            f"channel_axis: {idle[0]!r} is no captured layer of more than two axes; these have: {known}"
        )
    if not infos:
        raise MetaprobeError(f"no layer can be captured: {told(left_out)}")
    return tuple(infos), left_out


def told(left_out: Mapping[str, str]) -> str:
    """Return names and reasons in words: those of one reason together, the first few of many."""
    names: dict[str, list[str]] = {}
    for name, reason in left_out.items():
        names.setdefault(reason, []).append(name)
    return "; ".join(f"{_listed(which)} ({reason})" for reason, which in names.items())


def _listed(names: Sequence[str]) -> str:
    first = ", ".join(names[:_TOLD])
    return first if len(names) <= _TOLD else f"{first} and {len(names) - _TOLD} more"


def _not_given(
    modules: Sequence[str], blocks: Mapping[str, Tensor], outputs: Mapping[str, Output] | None
) -> dict[str, str]:
    """Return why modules, or some calls of them, gave nothing that a capture could keep."""
    called = {name.partition("#")[0] for name in (blocks if outputs is None else outputs)}
    lost = {name: "is not called" for name in modules if name not in called}
    for name, output in (outputs or {}).items():
        if name not in blocks:
            lost[name] = output.reason or "gives no tensor with a row for each sample"
    return lost


def _given(pattern: str, blocks: Mapping[str, Tensor], aliases: Mapping[str, Sequence[str]]) -> bool:
    return any(wants(pattern, name, aliases) for name in blocks)


def _asked(channel_axis: ChannelAxis, name: str, aliases: Mapping[str, Sequence[str]]) -> tuple[int | None, str]:
    """Return the axis that is asked for, None for that of the rule, and the pattern that asks, the last to match."""
    if not isinstance(channel_axis, Mapping):
        return channel_axis, ""
    found = [(axis, pattern) for pattern, axis in channel_axis.items() if wants(pattern, name, aliases)]
    return found[-1] if found else (None, "")


def _layer_info(name: str, block: Tensor, output: Output, asked: int | None) -> LayerInfo | str:
    """Return what is known of a layer, or why it cannot be captured."""
    shape, dtype = tuple(block.shape[2:]), str(block.dtype).removeprefix("torch.")
    if dtype not in EPS:
        return f"computes in {dtype}, a capture reads {', '.join(EPS)}"
    rank = len(shape) + 1
    wanted = output.feature_axis if asked is None or rank == 2 else asked
    axis = (wanted + rank if wanted < 0 else wanted) - 1
    if not 0 <= axis < len(shape):
        raise MetaprobeError(
            f"channel_axis={wanted}: layer {name!r} gives (sample, {', '.join(map(str, shape))}), which has no "
            "such axis beside the samples"
        )
    if shape[axis] > _MOST_FEATURES:
        size = (2 * shape[axis]) ** 2 * 8 / 1e9
        return (
            f"has {shape[axis]} features, their moments would take {size:.1f} GB a task and step, and up to "
            f"{_MOST_FEATURES} can be captured"
        )
    if not all(shape):
        return f"gives {shape} a sample, nothing"
    return LayerInfo(name, shape, axis, dtype, output.part)
