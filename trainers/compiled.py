"""The meta-gradient of a chunk as one compiled program: fewer passes over memory, no calls from Python in between."""

from __future__ import annotations

import threading
from typing import Any

import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from metaprobe.trainers.algorithms import Algorithm, MetaGradient
from metaprobe.trainers.config import Adaptation
from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.networks import Parameters, TaskNetwork
from metaprobe.trainers.networks.kernels import traceable
from metaprobe.trainers.tasks.episodes import Examples, Tasks

__all__ = ["CompiledGradient"]


class CompiledGradient:
    """What `Algorithm.meta_gradient` computes, for chunks of one size: traced with all its derivatives, then compiled.

    Args:
        algorithm: whose meta-gradient.
        adaptation: how learners adapt.
        transductive: how query sets are normalised.
        sweep: the scheme.
    """

    def __init__(self, algorithm: Algorithm, adaptation: Adaptation, transductive: bool, sweep: bool) -> None:
        self._algorithm, self._options = algorithm, (adaptation, transductive, sweep)
        self._lock = threading.Lock()
        self._program: Any = None
        self._trained: tuple[str, ...] = ()  # what the program gives gradients of, in its order

    def __call__(self, network: TaskNetwork, params: Parameters, tasks: Tasks) -> MetaGradient:
        """Return the meta-gradient; the first call compiles.

        Raises:
            MetaprobeError: there is no compiler, or it failed.
        """
        sets = (tasks.support, tasks.query)
        inputs = [*(value.detach() for value in params.values())]
        inputs += [tensor for examples in sets for tensor in (examples.images, examples.labels)]
        with self._lock:  # workers come at once; one compiles, the others wait for its program
            if self._program is None:
                self._program = self._compile(network, tuple(params), tasks, inputs)
        with torch.no_grad():
            *gradients, loss, score = self._program(*inputs)
        return MetaGradient(dict(zip(self._trained, gradients, strict=True)), loss, score)

    def _compile(self, network: TaskNetwork, names: tuple[str, ...], tasks: Tasks, inputs: list[Tensor]) -> Any:
        def plain(*flat: Tensor) -> list[Tensor]:
            params = {name: value.detach().requires_grad_() for name, value in zip(names, flat, strict=False)}
            images, labels, query_images, query_labels = flat[len(names) :]
            support = Examples(images, labels, tasks.support.ids)
            query = Examples(query_images, query_labels, tasks.query.ids)
            chunk = Tasks(support, query, tasks.class_ids, tasks.indices, tasks.groups)
            found = self._algorithm.meta_gradient(network, params, chunk, *self._options)
            self._trained = tuple(found.gradients)
            return [*found.gradients.values(), found.loss, found.score]

        try:
            with traceable():
                traced = make_fx(plain)(*inputs)
            program = torch.compile(traced, fullgraph=True)
            with torch.no_grad():
                program(*inputs)
        except Exception as error:  # the compiler is another program, and fails in its own ways
            raise MetaprobeError(f"--compile: the meta-gradient could not be compiled: {error}") from error
        return program
