"""What a run begins with: its network, drawn or taken from a base, and the clusters of a learner that has some."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import torch
from torch import Tensor

from metaprobe.trainers.algorithms import Algorithm
from metaprobe.trainers.checkpoint import Checkpoint, load_checkpoint
from metaprobe.trainers.clustering.clusters import Clusters
from metaprobe.trainers.clustering.finding import Search
from metaprobe.trainers.clustering.settings import Clustering
from metaprobe.trainers.config import Adaptation, NetworkConfig, TrainConfig
from metaprobe.trainers.device import memory_of
from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.families import network_options
from metaprobe.trainers.interrupt import Interrupted, StopRequest
from metaprobe.trainers.learner import Learner
from metaprobe.trainers.limits import bytes_of_tasks, check_memory, parameters_of
from metaprobe.trainers.network_config import ModuleConfig
from metaprobe.trainers.networks import TaskNetwork, build_network, layer_of
from metaprobe.trainers.networks.running import statistics_part
from metaprobe.trainers.progress import ProgressLine
from metaprobe.trainers.rule_parameters import begin_rule, limits_of
from metaprobe.trainers.run import RunFolder
from metaprobe.trainers.saving import refuse_other_origin
from metaprobe.trainers.tasks.data import Data, input_shape
from metaprobe.trainers.tasks.imageset import ImageSet

__all__ = ["begin_clusters", "begin_learner", "begin_network", "check_room", "network_config_for"]

_NOT_OF_CLUSTERS = {  # fields of an adaptation, and what a base does that has another than a run with clusters
    "layers": "does not adapt all layers",
    "rule": "takes its steps by a learned update rule",
    "step_norms": "has norms of each step",
    "step_statistics": "keeps running statistics of each step",
    "modulation": "begins at what each task makes of its weights",
    "prox_lambda": "is held near its start",
}
_COPIES = 4  # of the weights while they are trained: themselves, their gradient, and Adam's two means


def network_config_for(config: TrainConfig, data: Data) -> NetworkConfig:
    """Return the network that a run builds: as its options ask, else its family, else Finn's two variants.

    Of images it is a conv4, of feature vectors an mlp.

    Raises:
        MetaprobeError: the data are neither, or an option is not of the network.
    """
    if config.norm == "running":
        raise MetaprobeError("--norm running is for imported networks; train with transductive or non-transductive")
    shape = input_shape(data)
    if not isinstance(data, ImageSet) and data.tokens:
        raise MetaprobeError(
            f"the samples of {data.name} are whole numbers, token ids, which the networks here do not embed; bring a "
            "module that does (probe.capture, analyses.freezing.freeze_module), or store feature vectors as floats"
        )
    if len(shape) == 1:
        own = network_options(config, shape[0], 1, "mlp")
        return NetworkConfig("mlp", config.n_way, shape[0], 1, norm="transductive", **own)
    if len(shape) != 3 or shape[1] != shape[2]:
        raise MetaprobeError(
            f"the samples of {data.name} have shape {shape}; the networks here take feature vectors (feature), or "
            "images (channel, height, width) with height = width"
        )
    return NetworkConfig(
        name="conv4",
        n_way=config.n_way,
        channels=shape[0],
        image_size=shape[1],
        norm="transductive" if config.norm == "transductive" else "non-transductive",
        **network_options(config, shape[0], shape[1]),
    )


def check_room(config: TrainConfig, shape: NetworkConfig, tasks: int, device: torch.device) -> None:
    """Refuse a run that no engine could train in the memory that a machine has, before anything of it is made.

    Args:
        config: the run.
        shape: of its network.
        tasks: of a meta-batch, those of this process.
        device: that it trains on.

    Raises:
        MetaprobeError: its weights and the images of its tasks take more.
    """
    weights = 4 * parameters_of(shape)
    batch = bytes_of_tasks(shape, config.n_shot + config.n_query, tasks, min(tasks, config.chunk or 1))
    there = memory_of(device)
    check_memory(_COPIES * weights, "lower --filters, --blocks or --n-way", there)
    check_memory(_COPIES * weights + batch, "lower --meta-batch, --chunk, --n-query or --filters", there)


def begin_network(config: TrainConfig, algorithm: Algorithm, shape: NetworkConfig) -> tuple[TaskNetwork, str | None]:
    """Return the network that a run begins with, and the fingerprint of its base checkpoint, if it has one.

    Raises:
        UnreadableInput: the base cannot be read.
        MetaprobeError: it is of another shape than the run's network.
    """
    network = build_network(shape, config.seed)
    if config.base is None:
        return network, None
    base = load_checkpoint(config.base)
    if base.clusters is not None:
        told = f"--base {config.base} has {base.clusters.count} initialisations"
        raise MetaprobeError(f"{told}; name a checkpoint of one, such as the one that its run started from")
    if isinstance(base.network_config, ModuleConfig):
        told = f"--base {config.base} is of {base.network_config.told}, trained elsewhere"
        raise MetaprobeError(f"{told}; name a checkpoint that `metaprobe train` made")
    if base.adaptation.modulation and algorithm.new_head:
        told = f"--base {config.base} ({base.config.algorithm}) begins at what each task makes of its weights"
        raise MetaprobeError(f"{told}: its body by itself is no learner's, {algorithm.name} would not be its head")
    here, there = dataclasses.asdict(shape), dataclasses.asdict(base.network_config)
    if differing := [name for name in here if here[name] != there[name]]:
        told = "; ".join(f"{name} {there[name]} there, {here[name]} here" for name in differing)
        raise MetaprobeError(f"--base {config.base} is of another network or other data than this run: {told}")
    if algorithm.cluster is not None:
        _check_adaptation(config, algorithm.adaptation(config, network.layer_names), base)
    head = network.layer_names[-1]
    kept = {name: value for name, value in base.params.items() if not (algorithm.new_head and layer_of(name) == head)}
    network.load_state_dict(kept, strict=not algorithm.new_head)
    return network, base.fingerprint


def _check_adaptation(config: TrainConfig, here: Adaptation, base: Checkpoint) -> None:
    """Refuse a base that adapts otherwise than the run would adapt it: its clusters would be of another learner."""
    there, name = base.adaptation, f"--base {config.base} ({base.config.algorithm})"
    if lacking := [told for one, told in _NOT_OF_CLUSTERS.items() if getattr(there, one) != getattr(here, one)]:
        told = f"{name} {' and '.join(lacking)}, and {config.algorithm} has no setting for that"
        raise MetaprobeError(f"{told}: name a base that adapts all layers by plain gradient steps, as maml trains it")
    pairs = [("--n-shot", base.config.n_shot, config.n_shot), ("--inner-lr", there.inner_lr, here.inner_lr)]
    pairs += [("--inner-steps", there.steps, here.steps), ("--adapt-norm", there.adapt_norm, here.adapt_norm)]
    if differing := [f"{option} {old} there, {new} here" for option, old, new in pairs if old != new]:
        told = f"{name} adapts otherwise than this run: {'; '.join(differing)}"
        raise MetaprobeError(f"{told}; train with the base's own settings")


def begin_learner(
    config: TrainConfig,
    network: TaskNetwork,
    adaptation: Adaptation,
    beside: Mapping[str, Tensor],
    clusters: Clusters | None,
) -> Learner:
    """Return what a run trains: the weights of its network, and its update rule's parameters as they start.

    Raises:
        MetaprobeError: the rule cannot serve the network, or takes more memory than there is.
    """
    params = dict(network.named_parameters())
    rule = begin_rule(network, adaptation, config, memory_of(next(iter(params.values())).device))
    averaged = statistics_part(rule)  # not learned: the outer loop lets them follow its batches
    params |= {name: value.requires_grad_(name not in averaged) for name, value in rule.items()}
    return Learner(params, beside, clusters, adaptation, limits_of(network, adaptation, config))


def begin_clusters(
    algorithm: Algorithm, search: Search, folder: RunFolder, provenance: Mapping[str, object], stop: StopRequest
) -> Clusters | None:
    """Return the clusters that a run begins with: those of its first checkpoint, else found now; None without any.

    Args:
        algorithm: of the run.
        search: what finding them needs.
        folder: the run's.
        provenance: of the run; a first checkpoint must be of the same images and base.
        stop: whether to stop.

    Raises:
        MetaprobeError: the folder holds another run, or clusters cannot be found.
        Interrupted: a stop was asked for.
    """
    if algorithm.cluster is None:
        return None
    first = folder.checkpoint("start")
    device = next(iter(search.base.values())).device
    if first.exists():
        begun = load_checkpoint(first)
        refuse_other_origin(folder, begun.provenance, provenance)
        assert begun.clusters is not None  # `load_checkpoint` has seen to it
        return begun.clusters.to(device)
    tasks = Clustering.of(search.config).tasks
    with ProgressLine(f"adapting to tasks, for the clusters of {folder.path.name}", tasks, unit="tasks") as bar:

        def advance(done: int) -> None:
            bar.advance(steps=done)
            if stop.asked:
                raise Interrupted(
                    "stopped while looking for clusters; nothing is trained yet, so the same command begins anew"
                )

        return algorithm.cluster(search, advance).to(device)
