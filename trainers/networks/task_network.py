"""Networks that run a whole batch of tasks at once, and the one way to call any network on it."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call

from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.networks.first_layers import known_first_layers
from metaprobe.trainers.networks.outputs import first_tensor
from metaprobe.trainers.networks.running import of_the_pass, statistics_part
from metaprobe.trainers.update_rules.base import network_part

__all__ = [
    "Parameters",
    "TaskNetwork",
    "call_module",
    "folds_tasks",
    "for_each_task",
    "forward_tasks",
    "has_task_axis",
    "layer_of",
]

Parameters = Mapping[str, Tensor]


class TaskNetwork(nn.Module):
    """An ordered chain of named layers that computes many tasks, each with its own weights, in one pass.

    Tasks are *folded*: images (task, sample, channel, …) become (sample, task·channel, …), every parameter
    (task, out, …) becomes (task·out, …), and a layer sees how many tasks there are from the shape of its weight.
    Convolutions turn into grouped ones and batch norms into wider ones, so one task alone is the ordinary network.

    A subclass registers its layers in `layer_names` order; each takes (x, n_context) and keeps the fold. One that
    cannot fold (`ModuleNetwork`) says how else tasks run.

    Attributes:
        layer_names: its layers in order, the head last.
        folds: whether tasks are folded; else they run one by one.
        linear_head: whether the head is a linear classifier, `weight` (way, feature) and `bias`, of `features`.
        input_shape: of a sample, without the sample axis; () where the network does not say.
    """

    layer_names: tuple[str, ...]
    folds = True
    linear_head = False
    input_shape: tuple[int, ...] = ()

    def features(self, maps: Tensor) -> Tensor:
        """Return what the head reads of the output of the layer before it: (…, channel, height, width) → (…, feature).

        Raises:
            NotImplementedError: the subclass does not say.
        """
        raise NotImplementedError(f"{type(self).__name__} does not say what its head reads; define `features`")

    def forward(self, x: Tensor, n_context: int | None = None, layers: tuple[str, ...] | None = None) -> Tensor:
        """Run the layers in order.

        Args:
            x: (sample, channel, height, width), or folded as above.
            n_context: when given, norms take their statistics from the first `n_context` samples alone.
            layers: a run of neighbouring layers to pass through (default: all).

        Returns:
            The last layer's output: logits (sample, n_way) when the head was among them.
        """
        for name in self.layer_names if layers is None else layers:
            x = self.get_submodule(name)(x, n_context)
        return x

    def run(
        self,
        params: Parameters,
        images: Float[Tensor, "task sample ..."],
        n_context: int | None,
        layers: tuple[str, ...],
    ) -> Float[Tensor, "task sample ..."]:
        """Run a batch of tasks through a run of layers, each through its own parameters; see `forward_tasks`."""
        known = known_first_layers()
        first = layers and layers[0] == self.layer_names[0]
        if known is not None and first and not torch.is_grad_enabled() and not of_the_pass(params):
            own: dict[str, list[Tensor]] = {name: [] for name in layers}
            for name, value in network_part(params).items():
                if layer_of(name) in own and has_task_axis(self, name, value):
                    del own[layer_of(name)]
                elif layer_of(name) in own:
                    own[layer_of(name)].append(value)
            images, layers = known.through(
                layers, own, images, n_context, lambda x, layer: self._run(params, x, n_context, (layer,))
            )
        return self._run(params, images, n_context, layers) if layers else images

    def _run(self, params: Parameters, images: Tensor, n_context: int | None, layers: tuple[str, ...]) -> Tensor:
        tasks = images.shape[0]
        folded = {
            name: _folded(for_each_task(self, name, value, tasks))
            for name, value in network_part(params).items()
            if layer_of(name) in layers
        }
        given = {name: value for name, value in of_the_pass(params).items() if layer_of(name) in layers}
        folded |= {name: value.expand(tasks, -1).flatten() for name, value in given.items()}
        out = functional_call(self, folded, (_fold(images), n_context, layers))
        return _unfold(cast(Tensor, out), tasks)

    def split_at(self, adapted: Collection[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Split the layers into those before the first that adapts, whose output stays the same, and the rest."""
        names = self.layer_names
        first = next((place for place, name in enumerate(names) if name in adapted), len(names))
        return names[:first], names[first:]


def folds_tasks(network: nn.Module) -> bool:
    """Tell whether a network takes a whole batch of tasks in one pass."""
    return isinstance(network, TaskNetwork) and network.folds


def layer_of(parameter: str) -> str:
    """Return the layer that a parameter belongs to: the part of its name before the first dot."""
    return parameter.partition(".")[0]


def has_task_axis(network: nn.Module, name: str, value: Tensor) -> bool:
    """Tell whether a parameter carries a leading task axis, from the network's own shape.

    Raises:
        MetaprobeError: the shape is neither the network's nor that with one axis in front.
    """
    own = network.get_parameter(name).shape
    if value.shape == own:
        return False
    if value.shape[1:] == own:
        return True
    raise MetaprobeError(
        f"parameter {name!r} has shape {tuple(value.shape)}; the network expects {tuple(own)}, or that with a leading "
        "task axis"
    )


def for_each_task(network: nn.Module, name: str, value: Tensor, tasks: int) -> Tensor:
    """Return a parameter with a leading task axis: one that is shared for each of the tasks, others as they are.

    Of convolutions it has its channels last in memory: kernels want them so, and what is computed with them keeps it.
    Else every task's would be copied in every step.

    Raises:
        MetaprobeError: see `has_task_axis`.
    """
    if has_task_axis(network, name, value):
        return value
    if value.dim() != 4:
        return value.expand(tasks, *value.shape)
    last = value.movedim(1, -1).contiguous()
    return last.expand(tasks, *last.shape).movedim(-1, 2)


def forward_tasks(
    network: nn.Module,
    params: Parameters,
    images: Float[Tensor, "task sample ..."],
    n_context: int | None = None,
    layers: tuple[str, ...] | None = None,
) -> Float[Tensor, "task sample ..."]:
    """Run a batch of tasks, each through its own parameters.

    A `TaskNetwork` runs them folded; any other module runs task by task through `torch.func.functional_call`.

    Args:
        network: the module; its own weights are not read where `params` names them.
        params: by name, shared (the module's shape) or with a leading task axis; an update rule's are not looked at.
            Where there are statistics of norms among them (`trainers.step_statistics`), these normalise, the first set.
        images: the inputs, or the output of the layers before `layers`.
        n_context: as in `TaskNetwork.forward`; of no meaning to other modules.
        layers: a run of neighbouring layers of a `TaskNetwork` (default: all).

    Returns:
        The output of the last of those layers, with the task axis in front. Of a module that gives more than a tensor,
        the first tensor in it, with a warning that says which.

    Raises:
        MetaprobeError: a parameter fits neither shape, or `n_context`/`layers` is asked of another module.
    """
    tasks = images.shape[0]
    if isinstance(network, TaskNetwork):
        params = network_part(params) | statistics_part(params)
        return network.run(params, images, n_context, network.layer_names if layers is None else layers)
    if n_context is not None or layers is not None:
        raise MetaprobeError(
            f"{type(network).__name__} is no TaskNetwork: it knows neither non-transductive norms nor runs of layers"
        )
    params = network_part(params)
    axes = {name: has_task_axis(network, name, value) for name, value in params.items()}
    outputs = []
    for task in range(tasks):
        own = {name: value[task] if axes[name] else value for name, value in params.items()}
        outputs.append(_logits_in(network, call_module(network, own, images[task])))
    return torch.stack(outputs)


def call_module(module: nn.Module, params: Parameters, images: Float[Tensor, "sample ..."]) -> object:
    """Return what any module gives for one task's samples under parameters of its own, wherever it keeps them.

    It is given a copy of the samples, as it may work in place on them.
    """
    places = _places(module)
    own = {place: value for name, value in params.items() for place in places.get(name, (name,))}
    return functional_call(module, own, (images.clone(),), tie_weights=False)


def _places(network: nn.Module) -> dict[str, tuple[str, ...]]:
    """Return of every parameter the places where it is kept, one of each module that has it.

    Not all its names: where a submodule has two, torch's own tying puts weights into it twice, and takes out but one.
    """
    found: dict[int, list[str]] = {}
    for at, module in network.named_modules():
        for name, parameter in module.named_parameters(recurse=False, remove_duplicate=False):
            found.setdefault(id(parameter), []).append(f"{at}.{name}" if at else name)
    return {names[0]: tuple(names) for names in found.values()}


def _logits_in(network: nn.Module, output: object) -> Tensor:
    found = first_tensor(output)
    if found is None:
        raise MetaprobeError(f"{type(network).__name__} gives {type(output).__name__} with no tensor, expected logits")
    if found[1]:
        given = f"{type(network).__name__} gives {type(output).__name__}"
        warnings.warn(f"{given}; its first tensor, output{found[1]}, is taken as the logits", stacklevel=2)
    return found[0]


def _folded(parameter: Tensor) -> Tensor:
    """(task, out, …) → (task·out, …), of convolutions with their channels last in memory."""
    if parameter.dim() != 5:
        return parameter.flatten(0, 1)
    return parameter.movedim(2, -1).flatten(0, 1).movedim(-1, 1)


def _fold(x: Tensor) -> Tensor:
    """(task, sample, feature, …) → (sample, task·feature, …), feature maps with their channels last in memory."""
    if x.ndim == 5:
        return x.permute(1, 3, 4, 0, 2).flatten(3).permute(0, 3, 1, 2)
    return x.transpose(0, 1).flatten(1, 2)


def _unfold(x: Tensor, tasks: int) -> Tensor:
    """(sample, task·feature, …) → (task, sample, feature, …)."""
    return x.unflatten(1, (tasks, -1)).transpose(0, 1)
