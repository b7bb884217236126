"""Where samples and features are in what a module gives; found by passing one sample more, and by what it is made of.

*Samples* lie along the axis that has one place more when there is one sample more: the first as a rule, the second in
what reads sequences first. *Features* lie along axis 1 after a convolution and what belongs to it, and along the last
axis after what works on tokens (linear maps, layer norms, attention, recurrent networks). Any other module (an
activation, a block) takes after the last of these that ran before it ended, as far as its sizes agree; where there was
none, three axes are (sample, token, feature) and more are (sample, channel, …).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from metaprobe.trainers.networks import Parameters, forward_tasks
from metaprobe.trainers.networks.outputs import first_tensor

__all__ = ["Output", "described"]

_CHANNELS = {  # what knows how many channels it gives, on axis 1
    nn.modules.conv._ConvNd: "out_channels",
    nn.modules.batchnorm._NormBase: "num_features",
    nn.GroupNorm: "num_channels",
}
_TOKENS = {  # and features, on the last axis
    nn.Linear: "out_features",
    nn.LayerNorm: "normalized_shape",
    nn.RMSNorm: "normalized_shape",
    nn.Embedding: "embedding_dim",
    nn.MultiheadAttention: "embed_dim",
    nn.RNNBase: "hidden_size",
}


@dataclass(frozen=True)
class Output:
    """What is known of an output.

    Attributes:
        part: where the tensor stands in what the module gave, "" where it gave a tensor.
        sample_axis: of the tensor.
        feature_axis: of the tensor once its samples lie along the first axis, at least 1.
        reason: why it cannot be captured, or "".
    """

    part: str = ""
    sample_axis: int = 0
    feature_axis: int = 1
    reason: str = ""


@dataclass(frozen=True)
class _Seen:
    part: str
    shape: tuple[int, ...]
    floating: bool
    last: tuple[int, int] | None  # axis, 1 or −1, and number of the features of the last module that knows them


def described(
    network: nn.Module,
    params: Parameters,
    images: Tensor,
    modules: Sequence[str],
    rewind: Callable[[], None],
) -> dict[str, Output]:
    """Return what is known of the outputs of modules, by name with the call's index, in the order of the calls.

    Args:
        network: any module.
        params: of one task.
        images: of one task, (1, sample, …); one of them is passed twice to have one more.
        modules: dotted names.
        rewind: called before each of two passes.
    """
    found: list[dict[str, _Seen | None]] = []
    for more in (images, torch.cat([images, images[:, :1]], dim=1)):
        rewind()
        with torch.no_grad(), _watched(network) as seen:
            forward_tasks(network, params, more)
        found.append({name: one for name, one in seen.items() if name.partition("#")[0] in set(modules)})
    fewer, more = found
    return {name: _output(one, more.get(name), images.shape[1]) for name, one in fewer.items()}


@contextlib.contextmanager
def _watched(network: nn.Module) -> Iterator[dict[str, _Seen | None]]:
    """Note the shape of every module's output within the block; None where it gives no tensor."""
    seen: dict[str, _Seen | None] = {}
    calls: dict[str, int] = {}
    last: tuple[int, int] | None = None
    handles = []

    def watch(name: str, module: nn.Module, output: object) -> None:
        nonlocal last
        call = calls.get(name, 0)
        calls[name] = call + 1
        found = first_tensor(output)
        if found is not None and found[0].ndim > 2 and (own := _features_of(module)):
            last = own
        seen[f"{name}#{call}" if call else name] = (
            None if found is None else _Seen(found[1], tuple(found[0].shape), found[0].is_floating_point(), last)
        )

    try:
        for name, module in network.named_modules():
            if name:
                hook = lambda own, _inputs, output, name=name: watch(name, own, output)  # noqa: E731
                handles.append(module.register_forward_hook(hook))
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _features_of(module: nn.Module) -> tuple[int, int] | None:
    for kinds, axis in ((_CHANNELS, 1), (_TOKENS, -1)):
        for kind, attribute in kinds.items():
            if isinstance(module, kind):
                size = getattr(module, attribute)
                if isinstance(module, nn.RNNBase):
                    size = (module.proj_size or module.hidden_size) * (2 if module.bidirectional else 1)
                return axis, size if isinstance(size, int) else size[-1]
    return None


def _output(fewer: _Seen | None, more: _Seen | None, samples: int) -> Output:
    if fewer is None or more is None:
        return Output(reason="gives no tensor")
    if not fewer.floating:
        return Output(reason="gives whole numbers")
    grown = [axis for axis, pair in enumerate(zip(fewer.shape, more.shape, strict=False)) if pair[0] != pair[1]]
    if len(fewer.shape) != len(more.shape) or len(grown) > 1:
        return Output(reason=f"gives {fewer.shape} of {samples} samples and {more.shape} of one more")
    if not grown:
        return Output(reason=f"gives {fewer.shape}, whatever the number of samples")
    axis, size = grown[0], fewer.shape[grown[0]]
    if size != samples:
        return Output(reason=f"gives {size} rows of {samples} samples, which of them are whose is not known")
    if len(fewer.shape) < 2:
        return Output(reason="gives one number a sample, and no features")
    features = _feature_axis(fewer.shape, axis, fewer.last)
    return Output(fewer.part, axis, features + 1 if features < axis else features)


def _feature_axis(shape: Sequence[int], samples: int, last: tuple[int, int] | None) -> int:
    """Return the axis of the features, not yet counted with the samples in front."""
    rank = len(shape)
    others = [axis for axis in range(rank) if axis != samples]
    first, final = others[0], others[-1]
    if last is None or rank == 2:
        return first if rank > 3 else final
    wanted, other = (first, final) if last[0] == 1 else (final, first)
    return other if shape[wanted] != last[1] == shape[other] else wanted
