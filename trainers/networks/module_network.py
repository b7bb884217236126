"""Any module as a network that all commands take: its layers named, its head found, its norms told what to do."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter

from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.formats.text import visible
from metaprobe.trainers.network_config import ModuleNorm
from metaprobe.trainers.networks.outputs import first_tensor
from metaprobe.trainers.networks.statistics import context_of, take_statistics
from metaprobe.trainers.networks.task_network import Parameters, TaskNetwork, call_module, has_task_axis, layer_of

__all__ = ["ModuleNetwork", "Seen"]

_SEEN = 2  # images of the pass that a network is looked at in


@dataclass(frozen=True)
class Seen:
    """What one pass of a module shows.

    Attributes:
        layers: that have weights which reach the output, in the order of the pass, the head last.
        splits: whether the logits are what the head makes of one input alone.
        linear: whether that head is an `nn.Linear` with a bias on features.
        unused: names of weights that do not reach the output.
        ways: of the output.
        kind: "" where the module gives a tensor, else what it gives, whose first tensor is taken.
    """

    layers: tuple[str, ...]
    splits: bool
    linear: bool
    unused: tuple[str, ...]
    ways: int
    kind: str


class ModuleNetwork(TaskNetwork):
    """A module of any make, its weights and layers under its own names; tasks run through it one by one.

    Layers are the first parts of its weights' names. It computes as in eval mode (no dropout, no auxiliary heads), but
    for its batch norms, which take the statistics that `norm` says. What does not require gradients, and what does not
    reach the output, are constants: buffers that no inner loop moves.

    Args:
        module: taken over.
        norm: whose statistics batch norms take.
        channels, image_size: of the images.
        name: what it is called in errors.

    Attributes:
        norm: as given. norms: how many batch norms it has. seen: what a pass of it showed.

    Raises:
        MetaprobeError: it does not take such images, gives no logits, or a batch norm of it cannot do that.
    """

    folds = False

    def __init__(self, module: nn.Module, norm: ModuleNorm, channels: int, image_size: int, name: str) -> None:
        super().__init__()
        object.__setattr__(self, "inner", module)  # beside the registry: its own names stay first parts
        self.norm: ModuleNorm = norm
        self._called = name
        module.eval()
        self.norms = take_statistics(module, norm)
        images = torch.rand(_SEEN, channels, image_size, image_size, generator=torch.Generator().manual_seed(0))
        if any(isinstance(value, UninitializedParameter) for value in module.parameters()):
            self._look(images, lazy=True)  # lazy modules have their sizes from a first pass
        self.seen = self._look(images)
        for weight in (name for name, value in module.named_parameters() if not value.requires_grad):
            _make_constant(module, weight)
        for weight in self.seen.unused:
            _make_constant(module, weight)
        self._modules, self._parameters, self._buffers = module._modules, module._parameters, module._buffers
        self.layer_names = self.seen.layers
        self.linear_head = self.seen.linear

    inner: nn.Module

    def train(self, mode: bool = True) -> ModuleNetwork:
        """Stay as it is: modes are no part of how a checkpoint adapts."""
        return self

    def get_submodule(self, target: str) -> nn.Module:
        """Return a submodule by its dotted name; a module may call one as a method here is called."""
        return self.inner.get_submodule(target)

    def forward(self, x: Tensor, n_context: int | None = None, layers: tuple[str, ...] | None = None) -> Tensor:
        """Run the whole module; see `TaskNetwork.forward`."""
        with context_of(self.inner, n_context):
            return _logits(self.inner(x), self._called)

    def features(self, maps: Tensor) -> Tensor:
        """Return what the head reads of each sample as one row."""
        return maps.flatten(2) if maps.ndim > 3 else maps

    def split_at(self, adapted: Collection[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Split off the head where it alone adapts; a module is a chain nowhere else."""
        body, head = self.layer_names[:-1], self.layer_names[-1]
        return (body, (head,)) if self.seen.splits and set(adapted) <= {head} else ((), self.layer_names)

    def run(
        self,
        params: Parameters,
        images: Float[Tensor, "task sample ..."],
        n_context: int | None,
        layers: tuple[str, ...],
    ) -> Float[Tensor, "task sample ..."]:
        """Run tasks one by one through all layers, all but the head (what it reads), or the head alone."""
        axes = {name: has_task_axis(self, name, value) for name, value in params.items()}
        outputs = []
        for task, one in enumerate(images):
            own = {name: value[task] if axes[name] else value for name, value in params.items()}
            outputs.append(self._through(own, one, n_context, layers))
        return torch.stack(outputs)

    def _through(
        self, own: dict[str, Tensor], images: Tensor, n_context: int | None, layers: tuple[str, ...]
    ) -> Tensor:
        body, head = self.layer_names[:-1], self.layer_names[-1]
        with context_of(self.inner, n_context):
            if layers == self.layer_names:
                return _logits(call_module(self.inner, own, images), self._called)
            if layers == (head,) and self.seen.splits:
                weights = {name.partition(".")[2]: value for name, value in own.items() if layer_of(name) == head}
                return _logits(call_module(self.get_submodule(head), weights, images), self._called)
            if layers == body:
                return self._head_reads(own, images)
        raise MetaprobeError(f"{self._called} runs whole or up to its head, {head!r}; not {', '.join(layers)} alone")

    def _head_reads(self, own: dict[str, Tensor], images: Tensor) -> Tensor:
        read: list[tuple[Any, ...]] = []
        head = self.layer_names[-1]
        layer = dict(self.inner.named_children()).get(head)
        tap = layer and layer.register_forward_pre_hook(lambda _, given: read.append(given))
        try:
            call_module(self.inner, own, images)
        finally:
            if tap:
                tap.remove()
        if [len(given) for given in read] != [1] or len(read[0][0]) != len(images):
            raise MetaprobeError(
                f"the NIL head reads what the last layer of {self._called}, {head!r}, is given: expected a submodule "
                f"that is called once, with the features of {len(images)} samples"
            )
        return read[0][0]

    def _look(self, images: Tensor, lazy: bool = False) -> Seen:
        """Pass a few images through, and see which layers they meet; the first pass of `lazy` modules shows nothing."""
        module, calls = self.inner, dict[str, list[tuple[tuple[Any, ...], Any]]]()
        handles = [
            child.register_forward_hook(
                lambda _, given, out, name=name: calls.setdefault(name, []).append((given, out))
            )
            for name, child in module.named_children()
        ]
        try:
            with torch.random.fork_rng(devices=[]), torch.enable_grad():
                torch.default_generator.manual_seed(0)  # of what is random in a module
                out = module(images)
                if lazy:
                    return Seen((), False, False, (), 0, "")
                logits = _logits(out, self._called)
                weights = {name: value for name, value in module.named_parameters() if value.requires_grad}
                if not weights or not logits.requires_grad:
                    raise MetaprobeError(f"no weight of {self._called} reaches its output, so nothing could adapt")
                reached = torch.autograd.grad(logits.sum(), list(weights.values()), allow_unused=True)
        except MetaprobeError:
            raise
        except Exception as error:  # whatever a module raises
            shape = " × ".join(map(str, images.shape[1:]))
            told = visible(" ".join(str(error).split()), 200)
            raise MetaprobeError(
                f"{self._called} does not take images of {shape} ({type(error).__name__}: {told}); give --channels and "
                "--image-size that it takes, or --network-args that make it take these"
            ) from error
        finally:
            for handle in handles:
                handle.remove()
        if logits.ndim != 2 or len(logits) != _SEEN or not logits.is_floating_point():
            raise MetaprobeError(
                f"{self._called} gives {tuple(logits.shape)} for {_SEEN} images; expected logits ({_SEEN}, n_way)"
            )
        unused = tuple(name for name, found in zip(weights, reached, strict=True) if found is None)
        layers = _in_order([layer_of(name) for name in weights if name not in unused], list(calls))
        mine, head = calls.get(layers[-1], []), dict(module.named_children()).get(layers[-1])
        splits = len(mine) == 1 and len(mine[0][0]) == 1 and _gives(mine[0][1], logits)
        splits = splits and isinstance(mine[0][0][0], Tensor) and len(mine[0][0][0]) == _SEEN
        linear = splits and type(head) is nn.Linear and head.bias is not None and mine[0][0][0].ndim == 2
        kind = "" if isinstance(out, Tensor) else type(out).__name__
        return Seen(layers, splits, linear, unused, logits.shape[1], kind)


def _gives(out: object, logits: Tensor) -> bool:
    found = first_tensor(out)
    return found is not None and found[0] is logits


def _logits(out: object, called: str) -> Tensor:
    found = first_tensor(out)
    if found is None:
        raise MetaprobeError(f"{called} gives a {type(out).__name__} without a tensor; expected logits (sample, n_way)")
    return found[0]


def _in_order(registered: list[str], called: list[str]) -> tuple[str, ...]:
    """Return layers in the order of the pass; those that are not called as modules keep their places."""
    layers = list(dict.fromkeys(registered))
    in_turn = iter([name for name in called if name in layers])
    ordered = [next(in_turn) if name in called else name for name in layers]
    last = next((name for name in reversed(called) if name in layers), ordered[-1])
    return (*(name for name in ordered if name != last), last)


def _make_constant(module: nn.Module, weight: str) -> None:
    """Turn a parameter into a buffer of the same name; of one that modules share, in all of them."""
    value = module.get_parameter(weight)
    for owner in module.modules():
        for name in [name for name, held in owner._parameters.items() if held is value]:
            del owner._parameters[name]
            owner.register_buffer(name, value.detach())
