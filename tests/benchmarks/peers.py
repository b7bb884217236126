"""How users of plain torch, `higher`, `torchopt` and `learn2learn` do the work of a benchmark.

Each peer follows its library's own examples (MAML on Omniglot), one task after the other, a backward pass a task. Where
an example leaves a choice it falls as a competent user's would: ANIL passes each task's images through the body once
and adapts the head alone; first order and tests build no second-order graph; a frozen body is passed once.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from metaprobe.trainers.networks import Conv4
from tests.benchmarks.work import Work


class Episode(NamedTuple):
    """One task, of images or of their features."""

    support: Tensor
    labels: Tensor
    query: Tensor
    query_labels: Tensor


class PlainNetwork(nn.Module):
    """Conv4 of torch's own modules, with the weights of the project's, in the same order."""

    def __init__(self, work: Work, source: Conv4) -> None:
        super().__init__()
        strides = work.downsample == "stride"
        layers: list[nn.Module] = []
        for channels in (work.channels, work.filters, work.filters, work.filters):
            layers.append(nn.Conv2d(channels, work.filters, 3, stride=2 if strides else 1, padding=1, bias=False))
            layers += [nn.BatchNorm2d(work.filters, track_running_stats=False), nn.ReLU()]
            layers += [] if strides else [nn.MaxPool2d(2)]
        end = [nn.AdaptiveAvgPool2d(1), nn.Flatten()] if strides else [nn.Flatten()]
        self.body = nn.Sequential(*layers, *end)
        self.head = nn.Linear(source.head.weight.shape[1], work.n_way)
        self.to(work.device, source.head.weight.dtype)
        with torch.no_grad():
            for mine, its in zip(self.parameters(), source.parameters(), strict=True):
                mine.copy_(its)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


class Peer:
    """What the peers share: the loop over the tasks, and which module adapts. A subclass knows how."""

    library: str | None = None

    def __init__(self, work: Work) -> None:
        source, tasks = work.problem()
        self.work, self.network = work, PlainNetwork(work, source)
        parts = (tasks.support.images, tasks.support.labels, tasks.query.images, tasks.query.labels)
        self.episodes = [Episode(*task) for task in zip(*parts, strict=True)]

    def __call__(self) -> list[Tensor]:
        """Do the work once; return the meta-gradient, summed over the tasks, or each task's query loss."""
        if not self.work.trains:
            return [self._test(episode) for episode in self.episodes]
        self.network.zero_grad()
        for support, labels, query, query_labels in self.episodes:
            if self.work.kind == "anil":
                features = Episode(self.network.body(support), labels, self.network.body(query), query_labels)
                self.second_order(self.network.head, features)
            else:
                train = self.second_order if self.work.kind == "maml" else self.first_order
                train(self.network, Episode(support, labels, query, query_labels))
        return [parameter.grad for parameter in self.network.parameters() if parameter.grad is not None]

    def second_order(self, module: nn.Module, episode: Episode) -> None:
        """Adapt a module, and add the gradient of the query loss by its initial weights to their `grad`."""
        raise NotImplementedError

    def first_order(self, module: nn.Module, episode: Episode) -> None:
        """Do the same, with the inner gradients as constants."""
        raise NotImplementedError

    def adapted(self, module: nn.Module, support: Tensor, labels: Tensor) -> Callable[[Tensor], Tensor]:
        """Return the adapted module, for tests."""
        raise NotImplementedError

    def _test(self, episode: Episode) -> Tensor:
        support, labels, query, query_labels = episode
        if self.work.kind == "full":
            model = self.adapted(self.network, support, labels)
            with torch.no_grad():
                return F.cross_entropy(model(query), query_labels)
        with torch.no_grad():
            support, query = self.network.body(support), self.network.body(query)
        if self.work.kind == "frozen":
            model = self.adapted(self.network.head, support, labels)
            with torch.no_grad():
                return F.cross_entropy(model(query), query_labels)
        attention = torch.softmax(F.normalize(query, dim=1) @ F.normalize(support, dim=1).T, dim=1)
        probabilities = attention @ F.one_hot(labels, self.work.n_way).to(attention.dtype)
        return F.nll_loss(probabilities.log(), query_labels)


class Sequential(Peer):
    """Plain torch: `functional_call` and `autograd.grad`, the loop written out."""

    def second_order(self, module: nn.Module, episode: Episode) -> None:
        weights = dict(module.named_parameters())
        for _ in range(self.work.steps):
            weights = self._step(module, weights, episode.support, episode.labels, create_graph=True)
        F.cross_entropy(functional_call(module, weights, (episode.query,)), episode.query_labels).backward()

    def first_order(self, module: nn.Module, episode: Episode) -> None:
        weights = self._descend(module, episode.support, episode.labels)
        loss = F.cross_entropy(functional_call(module, weights, (episode.query,)), episode.query_labels)
        add_gradients(module, torch.autograd.grad(loss, list(weights.values())))

    def adapted(self, module: nn.Module, support: Tensor, labels: Tensor) -> Callable[[Tensor], Tensor]:
        weights = self._descend(module, support, labels)
        return lambda x: functional_call(module, weights, (x,))

    def _descend(self, module: nn.Module, support: Tensor, labels: Tensor) -> dict[str, Tensor]:
        weights = dict(module.named_parameters())
        for _ in range(self.work.steps):
            stepped = self._step(module, weights, support, labels, create_graph=False)
            weights = {name: value.detach().requires_grad_() for name, value in stepped.items()}
        return weights

    def _step(
        self, module: nn.Module, weights: dict[str, Tensor], support: Tensor, labels: Tensor, create_graph: bool
    ) -> dict[str, Tensor]:
        loss = F.cross_entropy(functional_call(module, weights, (support,)), labels)
        gradients = torch.autograd.grad(loss, list(weights.values()), create_graph=create_graph)
        lr = self.work.inner_lr
        return {name: w - lr * g for (name, w), g in zip(weights.items(), gradients, strict=True)}


class Higher(Peer):
    """`higher`: `innerloop_ctx`, a functional copy of the module and of its optimiser for each task."""

    library = "higher"

    def second_order(self, module: nn.Module, episode: Episode) -> None:
        model = self._descend(module, episode.support, episode.labels, copy_initial_weights=False)
        F.cross_entropy(model(episode.query), episode.query_labels).backward()

    def first_order(self, module: nn.Module, episode: Episode) -> None:
        model = self.adapted(module, episode.support, episode.labels)
        loss = F.cross_entropy(model(episode.query), episode.query_labels)
        add_gradients(module, torch.autograd.grad(loss, list(model.parameters())))

    def adapted(self, module: nn.Module, support: Tensor, labels: Tensor) -> nn.Module:
        return self._descend(module, support, labels, track_higher_grads=False)

    def _descend(self, module: nn.Module, support: Tensor, labels: Tensor, **options: bool) -> nn.Module:
        import higher

        optimiser = torch.optim.SGD(module.parameters(), lr=self.work.inner_lr)
        with higher.innerloop_ctx(module, optimiser, **options) as (model, inner):
            for _ in range(self.work.steps):
                inner.step(F.cross_entropy(model(support), labels))
        return model


class TorchOpt(Peer):
    """`torchopt`: `MetaSGD` moves the module, whose state is put back; to first order the functional `sgd`."""

    library = "torchopt"

    def second_order(self, module: nn.Module, episode: Episode) -> None:
        import torchopt

        inner = torchopt.MetaSGD(module, lr=self.work.inner_lr)
        initial = torchopt.extract_state_dict(module, by="reference", detach_buffers=True)
        for _ in range(self.work.steps):
            inner.step(F.cross_entropy(module(episode.support), episode.labels))
        loss = F.cross_entropy(module(episode.query), episode.query_labels)
        torchopt.recover_state_dict(module, initial)
        loss.backward()

    def first_order(self, module: nn.Module, episode: Episode) -> None:
        weights = self._descend(module, episode.support, episode.labels)
        loss = F.cross_entropy(functional_call(module, weights, (episode.query,)), episode.query_labels)
        add_gradients(module, torch.autograd.grad(loss, list(weights.values())))

    def adapted(self, module: nn.Module, support: Tensor, labels: Tensor) -> Callable[[Tensor], Tensor]:
        weights = self._descend(module, support, labels)
        return lambda x: functional_call(module, weights, (x,))

    def _descend(self, module: nn.Module, support: Tensor, labels: Tensor) -> dict[str, Tensor]:
        import torchopt

        sgd = torchopt.sgd(lr=self.work.inner_lr)
        weights = {name: value.detach().clone().requires_grad_() for name, value in module.named_parameters()}
        state = sgd.init(weights)
        for _ in range(self.work.steps):
            loss = F.cross_entropy(functional_call(module, weights, (support,)), labels)
            found = torch.autograd.grad(loss, list(weights.values()))
            updates, state = sgd.update(dict(zip(weights, found, strict=True)), state, inplace=False)
            weights = torchopt.apply_updates(weights, updates, inplace=True)
        return weights


class Learn2Learn(Peer):
    """`learn2learn`: a clone of `MAML` for each task."""

    library = "learn2learn"

    def second_order(self, module: nn.Module, episode: Episode) -> None:
        learner = self._descend(module, episode.support, episode.labels, first_order=False)
        F.cross_entropy(learner(episode.query), episode.query_labels).backward()

    def first_order(self, module: nn.Module, episode: Episode) -> None:
        learner = self._descend(module, episode.support, episode.labels, first_order=True)
        F.cross_entropy(learner(episode.query), episode.query_labels).backward()

    def adapted(self, module: nn.Module, support: Tensor, labels: Tensor) -> nn.Module:
        return self._descend(module, support, labels, first_order=True)

    def _descend(self, module: nn.Module, support: Tensor, labels: Tensor, first_order: bool) -> nn.Module:
        with warnings.catch_warnings():  # its imports: gym and pkg_resources
            warnings.simplefilter("ignore")
            import learn2learn

        learner = learn2learn.algorithms.MAML(module, lr=self.work.inner_lr, first_order=first_order).clone()
        for _ in range(self.work.steps):
            learner.adapt(F.cross_entropy(learner(support), labels))
        return learner


def add_gradients(module: nn.Module, gradients: tuple[Tensor, ...]) -> None:
    """Add gradients to those of a module's parameters, as `backward` would."""
    for parameter, gradient in zip(module.parameters(), gradients, strict=True):
        parameter.grad = gradient if parameter.grad is None else parameter.grad.add_(gradient)


PEERS: dict[str, type[Peer]] = {
    "sequential": Sequential,
    "higher": Higher,
    "torchopt": TorchOpt,
    "learn2learn": Learn2Learn,
}
