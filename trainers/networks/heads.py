"""Heads that have no weights of their own."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from metaprobe.trainers.networks.first_layers import one_batch
from metaprobe.trainers.networks.full_context import full_context
from metaprobe.trainers.networks.task_network import Parameters, TaskNetwork, forward_tasks, layer_of
from metaprobe.trainers.tasks.episodes import Tasks

__all__ = ["body_of", "features_of", "matching_logits", "matching_of_features", "nil_log_probabilities"]
__all__ += ["nil_of_features", "one_query_at_a_time"]


def nil_log_probabilities(
    network: TaskNetwork, params: Parameters, tasks: Tasks, transductive: bool = True, one_query: bool = False
) -> Float[Tensor, "task sample way"]:
    """Classify without a head: log Σ_k a(x, x_k) y_k, a = softmax of cosine similarities of features.

    The NIL head of Raghu et al. (2020, §5.1), with the attention of Vinyals et al. (2016, Eq. 1 and §2.1.1).

    Args:
        network: its layers but the last make the features.
        params: shared or per task.
        tasks: support sets give the labels, query sets are classified.
        transductive: normalise query sets by themselves, else with the support set's statistics.
        one_query: neither, but each query with the support set and itself, see `one_query_at_a_time`.
    """
    return nil_of_features(*_features_of_both(network, params, tasks, transductive, one_query), tasks)


def matching_logits(
    network: TaskNetwork,
    params: Parameters,
    tasks: Tasks,
    transductive: bool = True,
    one_query: bool = False,
    fce_steps: int = 0,
) -> Float[Tensor, "task sample way"]:
    """Classify without a head: the logit of a class is Σ_k cos(f(x), f(x_k)) over its support images x_k.

    The matching networks of Ravi and Larochelle (2017, baselines of their released code), without the softmax over the
    support set that Vinyals et al. (2016, Eq. 1) and the NIL head have; arguments as `nil_log_probabilities`. With
    `fce_steps` f and g are full-context embeddings of features (`trainers.networks.full_context`), by `params`.
    """
    support, query = _features_of_both(network, params, tasks, transductive, one_query)
    if fce_steps:
        support, query = full_context(params, support, query, fce_steps)
    return matching_of_features(support, query, tasks)


def _features_of_both(
    network: TaskNetwork, params: Parameters, tasks: Tasks, transductive: bool, one_query: bool
) -> tuple[Float[Tensor, "task sample feature"], Float[Tensor, "task other feature"]]:
    """Return the features of support and query sets, normalised as `nil_log_probabilities` says."""
    support = features_of(network, params, tasks.support.images)
    if one_query:
        query = one_query_at_a_time(lambda images: features_of(network, params, images), tasks)
    elif transductive:
        query = features_of(network, params, tasks.query.images)
    else:
        n_context = tasks.support.images.shape[1]
        both = one_batch(tasks.support.images, tasks.query.images)
        query = features_of(network, params, both, n_context)[:, n_context:]
    return support, query


def nil_of_features(
    support: Float[Tensor, "task sample feature"], query: Float[Tensor, "task other feature"], tasks: Tasks
) -> Float[Tensor, "task other way"]:
    """Classify query features by the support set's labels; see `nil_log_probabilities`."""
    return torch.log(torch.softmax(_cosines(support, query), dim=-1) @ _one_hot(tasks, support.dtype))


def matching_of_features(
    support: Float[Tensor, "task sample feature"], query: Float[Tensor, "task other feature"], tasks: Tasks
) -> Float[Tensor, "task other way"]:
    """Classify query features by the support set's labels; see `matching_logits`."""
    return _cosines(support, query) @ _one_hot(tasks, support.dtype)


def _cosines(support: Tensor, query: Tensor) -> Float[Tensor, "task other sample"]:
    return F.normalize(query, dim=-1) @ F.normalize(support, dim=-1).transpose(1, 2)


def _one_hot(tasks: Tasks, dtype: torch.dtype) -> Float[Tensor, "task sample way"]:
    """Return the support set's labels as indicators of the classes."""
    ways = torch.arange(tasks.class_ids.shape[1], device=tasks.support.labels.device)
    return (tasks.support.labels.unsqueeze(-1) == ways).to(dtype)


def one_query_at_a_time(
    through: Callable[[Float[Tensor, "task sample ..."]], Tensor], tasks: Tasks
) -> Float[Tensor, "task sample feature"]:
    """Return what a network makes of each query when it comes alone with the task's support set, as one batch.

    Zhou et al. (2021, §5.2): "batch normalization statistics are collected from all training data and one test sample".
    It takes a pass over the support set and a query for each query, that is for Q queries and S support images
    Q (S + 1) images where the other ways take Q, or S + Q.

    Args:
        through: images of each task → an output a sample, normalised as one batch.
        tasks: their support and query images.
    """
    support, query = tasks.support.images, tasks.query.images
    places = range(query.shape[1])
    alone = (torch.cat([support, query[:, place : place + 1]], dim=1) for place in places)
    return torch.cat([through(images)[:, -1:] for images in alone], dim=1)


def features_of(
    network: TaskNetwork, params: Parameters, images: Float[Tensor, "task sample ..."], n_context: int | None = None
) -> Float[Tensor, "task sample feature"]:
    """Return what the head reads; norms take their statistics from the first `n_context` samples (default: all)."""
    maps = forward_tasks(network, params, images, n_context=n_context, layers=network.layer_names[:-1])
    return network.features(maps)


def body_of(network: TaskNetwork, params: Parameters) -> dict[str, Tensor]:
    """Return the parameters of all layers but the last, the head."""
    return {name: value for name, value in params.items() if layer_of(name) in network.layer_names[:-1]}
