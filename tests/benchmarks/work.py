"""The work of a benchmark: what one timed iteration computes, and from which numbers."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch

from metaprobe.trainers.config import Downsample, NetworkConfig
from metaprobe.trainers.networks import Conv4, build_network
from metaprobe.trainers.tasks.episodes import Examples, Tasks
from metaprobe.trainers.update_rules import UPDATE_RULES

TRAINS = ("maml", "fomaml", "anil")
TESTS = ("full", "frozen", "nil")
RULES = tuple(n for n, rule in UPDATE_RULES.items() if n != "sgd" and rule.memory is None)  # those MAML may have


@dataclass(frozen=True)
class Work:
    """One timed iteration: the meta-gradient of a meta-batch, or the test of a learner on as many tasks.

    `kind` is maml, fomaml or anil; or, at test time, full (every layer adapts), frozen (the head alone adapts) or nil
    (nothing adapts; cosine similarities to the support set classify); or an update rule's name, MAML with that rule,
    which ours alone have.
    """

    kind: str
    n_way: int = 5
    n_shot: int = 1
    n_query: int = 15
    channels: int = 1
    image_size: int = 28
    filters: int = 64
    downsample: Downsample = "stride"
    steps: int = 5
    tasks: int = 4
    inner_lr: float = 0.1
    dtype: str = "float32"
    device: str = "cpu"

    @property
    def trains(self) -> bool:
        """Whether the result is a meta-gradient; else it is each task's query loss."""
        return self.kind not in TESTS

    @property
    def flops(self) -> int:
        """Floating-point operations that one iteration needs: two for each multiply-add of convolutions and matmuls.

        A pass of a layer counts once forward, once by its weight and once by its input (not the images). Second order
        differentiates all three: by the gradient that came in (twice), weight and input, then by these of the forward
        pass again; 9 in all, 4 in the first layer, 6 in a head on features that do not adapt. Nothing counts twice for
        being computed twice. What an update rule does beyond MAML is not counted.
        """
        support, query = self.n_way * self.n_shot, self.n_way * self.n_query
        inner, once = self.steps * support, support + query
        first, rest, head = {  # samples that each layer counts for
            "maml": (4 * inner + 2 * query, 9 * inner + 3 * query, 9 * inner + 3 * query),
            "fomaml": (2 * inner + 2 * query, 3 * inner + 3 * query, 3 * inner + 3 * query),
            "anil": (2 * once, 3 * once, 6 * inner + 3 * query),
            "full": (2 * inner + query, 3 * inner + query, 3 * inner + query),
            "frozen": (once, once, 2 * inner + query),
            "nil": (once, once, 0),
        }["maml" if self.kind in RULES else self.kind]
        total, size, channels = 0, self.image_size, self.channels
        for samples in (first, rest, rest, rest):
            out = size if self.downsample == "max-pool" else -(-size // 2)
            total += samples * out * out * 9 * channels * self.filters
            size, channels = -(-size // 2) if self.downsample == "stride" else size // 2, self.filters
        features = self.filters * (size * size if self.downsample == "max-pool" else 1)
        total += head * features * self.n_way + (query * support * features if self.kind == "nil" else 0)
        return 2 * self.tasks * total

    def __str__(self) -> str:
        kernels = f"{self.filters} filters, {self.downsample}"
        images = f"{self.channels}×{self.image_size}×{self.image_size}"
        episode = f"{self.n_way}-way {self.n_shot}-shot, {self.n_query} queries a class"
        return f"{self.tasks} tasks of {episode}, images {images}, {kernels}, {self.steps} steps"

    def smallest(self) -> Work:
        """Return the same kind of work at the smallest size, to warm up with."""
        least = {"n_way": 2, "n_shot": 1, "n_query": 1, "image_size": 16, "filters": 2, "steps": 1, "tasks": 1}
        return dataclasses.replace(self, **least)

    def problem(self) -> tuple[Conv4, Tasks]:
        """Return the initial network and the tasks, random images: the same numbers in every process."""
        dtype, generator = getattr(torch, self.dtype), torch.Generator().manual_seed(0)

        def examples(per_class: int) -> Examples:
            labels = torch.arange(self.n_way).repeat_interleave(per_class).expand(self.tasks, -1).to(self.device)
            shape = (*labels.shape, self.channels, self.image_size, self.image_size)
            return Examples(torch.rand(shape, generator=generator, dtype=dtype).to(self.device), labels, labels)

        shape = (self.n_way, self.channels, self.image_size, self.filters, self.downsample)
        network = build_network(NetworkConfig("conv4", *shape, "transductive"), seed=0)
        assert isinstance(network, Conv4)
        classes = torch.arange(self.n_way).expand(self.tasks, -1)
        tasks = Tasks(
            examples(self.n_shot), examples(self.n_query), classes, tuple(range(self.tasks)), ("random",) * self.tasks
        )
        return network.to(self.device, dtype), tasks
