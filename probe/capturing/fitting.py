"""Whether a network, weights and tasks fit each other, told in one sentence before anything is adapted."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from metaprobe.trainers.errors import MetaprobeError, unknown_name
from metaprobe.trainers.networks import Parameters, TaskNetwork, forward_tasks
from metaprobe.trainers.tasks.episodes import Tasks

__all__ = ["check_module", "check_tasks", "split_weights"]

_PARALLEL = (nn.DataParallel, nn.parallel.DistributedDataParallel)
_MISMATCHES = (
    r"expected input.* to have (\d+) channels, but got (\d+)",
    r"mat1 and mat2 shapes cannot be multiplied",
    r"(input|Input).* and (weight|bias|parameter|hidden).*should be the same|must have the same dtype|same dtype",
    r"expected scalar type|expected m1 and m2 to have the same dtype|mixed dtype",
    r"size mismatch|must match the (existing )?size|normalized_shape|is invalid for input of size|out of range",
)


def check_module(network: nn.Module, tasks: Tasks | None = None) -> None:
    """Refuse a module that cannot be called with weights of its own for each task.

    Args:
        network: the module.
        tasks: whose images' type is to be the module's; None where they are not known yet.

    Raises:
        MetaprobeError: it is no module, it spreads a batch over devices, its weights are not there yet, or they are of
            another type than the images.
    """
    if not isinstance(network, nn.Module):
        raise MetaprobeError(f"a network is a torch.nn.Module; got {type(network).__name__}")
    name = type(network).__name__
    if isinstance(network, _PARALLEL):
        raise MetaprobeError(
            f"{name} spreads a batch over devices, where each task has weights of its own; give .module"
        )
    tensors = [*network.named_parameters(), *network.named_buffers()]
    if lazy := next((place for place, tensor in tensors if is_lazy(tensor)), None):
        told = f"{name}: {lazy} has no shape before the network was called"
        raise MetaprobeError(f"{told}; call the lazy network once on a batch of images, then give it")
    types = {tensor.dtype for _, tensor in network.named_parameters() if tensor.is_floating_point()}
    if tasks is None or not tasks.support.images.is_floating_point() or tasks.support.images.dtype in types | {None}:
        return
    if types:
        own, given = (str(one).removeprefix("torch.") for one in (min(types, key=str), tasks.support.images.dtype))
        way = f"give tasks of dtype=torch.{own}, or the network in {given}"
        raise MetaprobeError(f"{name} computes in {own}, the images of the tasks are {given}; {way}")


def check_tasks(network: nn.Module, params: Parameters, tasks: Tasks) -> None:
    """Refuse a foreign module that cannot take the tasks' images, or whose logits are not of the tasks' classes.

    Warns where it has logits of more classes than a task has.

    Args:
        network: the module, lent for a pass.
        params: by name.
        tasks: of which the first support set is passed.

    Raises:
        MetaprobeError: sizes, channels, types or the number of classes do not fit.
    """
    if isinstance(network, TaskNetwork):
        return
    images, name = tasks.support.images[:1], type(network).__name__
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what it gives besides logits is told when it is adapted
            logits = forward_tasks(network, {one: _first(network, one, value) for one, value in params.items()}, images)
    except (RuntimeError, ValueError, IndexError) as error:
        told = str(error).strip().partition("\n")[0]
        if not any(re.search(pattern, told) for pattern in _MISMATCHES):
            raise
        shape, dtype = tuple(images.shape[2:]), str(images.dtype).removeprefix("torch.")
        raise MetaprobeError(
            f"{name} cannot take the tasks' images, {shape} in {dtype}: {told}; give tasks of the size, channels and "
            "type that it was made for"
        ) from error
    if tasks.support.labels.is_floating_point():
        return
    ways = tasks.class_ids.shape[1]
    if logits.ndim != 3 or logits.shape[1] != images.shape[1]:
        raise MetaprobeError(
            f"{name} gives {tuple(logits.shape[1:])} of {images.shape[1]} images, expected logits "
            f"({images.shape[1]}, {ways}), one for each class of a task"
        )
    if logits.shape[2] < ways:
        raise MetaprobeError(
            f"the head of {name} tells {logits.shape[2]} classes apart, a task has {ways}; give it a head of {ways} or "
            "tasks of fewer classes"
        )
    if logits.shape[2] > ways:
        warnings.warn(
            f"the head of {name} tells {logits.shape[2]} classes apart, a task has {ways}; the others are wrong always",
            stacklevel=3,
        )


def split_weights(
    network: nn.Module, given: Mapping[str, Tensor] | None
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return copies of all parameters, and of those of the buffers that were given.

    Args:
        network: the module.
        given: parameters and buffers by name (a `state_dict`), by any of the names that they have; what is not named is
            the network's own.

    Raises:
        MetaprobeError: a name or a shape is not the module's, a value is no tensor, or a parameter that is one in the
            network has two values.
    """
    first = {id(value): name for name, value in network.named_parameters()}
    parameters = dict(network.named_parameters(remove_duplicate=False))
    places = dict(network.named_buffers(remove_duplicate=False))
    known = parameters | places
    copies = {name: value.detach().clone() for name, value in network.named_parameters()}
    buffers: dict[str, Tensor] = {}
    by: dict[str, str] = {}
    for name, value in (given or {}).items():
        if name not in known:
            raise unknown_name("parameter", name, known)
        if not isinstance(value, Tensor):
            told = f"weight {name!r} is {type(value).__module__}.{type(value).__name__}, expected a torch tensor"
            raise MetaprobeError(f"{told}; torch.as_tensor makes one of an array")
        if value.shape != known[name].shape:
            raise MetaprobeError(
                f"parameter {name!r} has shape {tuple(value.shape)}, the network expects {tuple(known[name].shape)}; "
                "one initialisation serves all tasks"
            )
        if value.dtype != known[name].dtype:
            raise MetaprobeError(
                f"parameter {name!r} is {value.dtype}, the network's is {known[name].dtype}; convert one"
            )
        if name in places:
            buffers[name] = value.detach().clone()
            continue
        own = first[id(known[name])]
        if own in by and not torch.equal(copies[own], value.detach()):
            raise MetaprobeError(
                f"{by[own]!r} and {name!r} are one parameter in the network, their weights as given differ; give one"
            )
        by[own], copies[own] = name, value.detach().clone()
    return copies, buffers


def _first(network: nn.Module, name: str, value: Tensor) -> Tensor:
    """Return a parameter's value for the first task."""
    return value if value.shape == network.get_parameter(name).shape else value[:1]
