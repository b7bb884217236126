"""Checkpoints: the weights and everything needed to adapt as their trainer would, in one safetensors file."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import torch
from safetensors.torch import load, save
from torch import Tensor

from metaprobe.trainers.algorithms import ALGORITHMS
from metaprobe.trainers.checking import check_shapes, contradiction
from metaprobe.trainers.clustering.clusters import Clusters, Start
from metaprobe.trainers.clustering.file import cluster_tensors, read_clusters
from metaprobe.trainers.config import Adaptation, TestNorm, TrainConfig, from_mapping, to_mapping
from metaprobe.trainers.errors import MetaprobeError, UnreadableInput
from metaprobe.trainers.files import write_bytes
from metaprobe.trainers.formats.checkpoint_format import (
    FORMAT_VERSION,
    METADATA_KEY,
    CheckpointMetadata,
    checked_metadata,
    layout_of,
    metadata_json,
    tensor_fingerprint,
    with_format,
)
from metaprobe.trainers.formats.safetensors_header import open_regular, read_header
from metaprobe.trainers.formats.tensor_names import UNTRAINED
from metaprobe.trainers.network_config import AnyNetwork, ModuleConfig, network_from
from metaprobe.trainers.networks import TaskNetwork, build_network
from metaprobe.trainers.networks.filling import check_claimed, fill
from metaprobe.trainers.rule_parameters import begin_rule
from metaprobe.trainers.step_statistics import without_statistics
from metaprobe.trainers.update_rules import rule_part

__all__ = ["Checkpoint", "fingerprint_of", "load_checkpoint", "metadata_for", "read_tensors", "save_checkpoint"]
__all__ += ["write_tensors"]

_DTYPES = {torch.float32: "F32", torch.float64: "F64", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64"}
_DTYPES |= {torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL"}


@dataclass(frozen=True)
class Checkpoint:
    """A learner at one moment of its training.

    Attributes:
        params: by name, on the CPU; of a learner with clusters, the base.
        config: the run's.
        network_config: what to build.
        adaptation: how the learner adapts to a task.
        iteration: outer steps taken.
        metrics: numbers known when it was written (validation accuracy in percent, loss in nats).
        provenance: see `trainers.provenance`.
        clusters: the centres and initialisations of a learner that has several.
        format: version of the format of the file that it was read from.
        constants: of a module from elsewhere, by name, what never adapts, such as running statistics.
        begun: the weights and constants before training, by name; None where those are what its config and seed draw.
        rule: the parameters of its update rule (`trainers.update_rules`) or modulation (`trainers.modulations`), by
            full name.
    """

    params: Mapping[str, Tensor]
    config: TrainConfig
    network_config: AnyNetwork
    adaptation: Adaptation
    iteration: int
    metrics: Mapping[str, float] = field(default_factory=dict)
    provenance: Mapping[str, str | int] = field(default_factory=dict)
    clusters: Clusters | None = None
    format: int = FORMAT_VERSION
    constants: Mapping[str, Tensor] = field(default_factory=dict)
    begun: Mapping[str, Tensor] | None = None
    rule: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all tensors, 64 hexadecimal digits; the first 12 are the checkpoint's id."""
        return fingerprint_of(self.tensors())

    @property
    def digest(self) -> str:
        """SHA-256 of the tensors and of all else that decides a number: iteration, config, network, adaptation."""
        return metadata_for(self).digest

    def tensors(self) -> dict[str, Tensor]:
        """Return what the file holds, by name: weights, and what lies below `clusters`, `untrained`, `update_rule` …"""
        begun = {UNTRAINED + name: value for name, value in (self.begun or {}).items()}
        clusters = cluster_tensors(self.clusters) if self.clusters else {}
        return {**self.params, **self.constants, **clusters, **begun, **self.rule}

    @property
    def norm(self) -> TestNorm:
        """Whose statistics normalise in its tests."""
        return "running" if self.adaptation.step_statistics == "running" else self.config.norm

    def start(self, device: torch.device | str = "cpu") -> Start:
        """Return what a test adapts from: weights and the update rule's, or clusters that give each task its own."""
        if self.clusters is not None:
            return self.clusters.to(device)
        rule = self.rule if self.norm == "running" else without_statistics(self.rule)
        return {name: value.to(device) for name, value in {**self.params, **rule}.items()}

    def network(self, norm: TestNorm | None = None) -> TaskNetwork:
        """Return the network with these weights in it.

        Args:
            norm: whose statistics its batch norms take, where it is a module from elsewhere (default: its own).

        Raises:
            MetaprobeError: it is code that the command line has not named, or not the network of these weights.
        """
        config = self.network_config
        if isinstance(config, ModuleConfig):
            check_claimed(config, {**self.params, **self.constants})
            wanted = config.norm if norm in (None, "one-query") else norm
            network = build_network(dataclasses.replace(config, norm=wanted), self.config.seed)
            fill(network, self.params, self.constants, config.told)
            return network
        if norm == "running" and self.norm != norm:
            raise MetaprobeError(f"{config.name} keeps no running statistics; test with another norm")
        network = build_network(config, seed=0)
        network.load_state_dict(dict(self.params))
        return network

    def untrained(self) -> Checkpoint:
        """Return the same learner before its training: as its file says, else as its config and seed draw it."""
        rule, adaptation = self.rule, dataclasses.replace(self.adaptation, step_statistics="batch")  # there are none
        if self.begun is None:
            drawn = build_network(self.network_config, self.config.seed)
            params, constants = {name: value.detach() for name, value in drawn.named_parameters()}, self.constants
            rule = begin_rule(drawn, self.adaptation, self.config)
        else:
            params = {name: self.begun[name] for name in self.params}
            constants = {name: self.begun[name] for name in self.constants}
        anew = {"adaptation": adaptation, "rule": rule, "iteration": 0, "clusters": None, "begun": None, "metrics": {}}
        return dataclasses.replace(self, params=params, constants=constants, **anew)


def save_checkpoint(path: Path | str, checkpoint: Checkpoint) -> None:
    """Write a checkpoint, whole or not at all; equal checkpoints give equal bytes.

    Raises:
        MetaprobeError: its metadata is not JSON, or contradicts itself.
    """
    if problem := contradiction(
        checkpoint.config, checkpoint.network_config, checkpoint.adaptation, checkpoint.iteration
    ):
        raise MetaprobeError(f"this checkpoint contradicts itself: {problem}")
    checkpoint = dataclasses.replace(checkpoint, format=FORMAT_VERSION)
    write_tensors(path, checkpoint.tensors(), metadata_for(checkpoint))


def load_checkpoint(path: Path | str) -> Checkpoint:
    """Read a checkpoint and check that weights and metadata are the ones it was written with, and fit each other.

    Warns where the file is of an older format, of which the weights alone are covered by a hash.

    Raises:
        UnreadableInput: the file is missing, damaged, not a checkpoint, or its weights do not fit its network or its
            fingerprint, or it contradicts itself.
    """
    with open_regular(path) as file:
        header = read_header(file, path)
    metadata = checked_metadata(header, path)
    if metadata.kind != "checkpoint":
        raise UnreadableInput(f"{path}: expected a checkpoint, got a {metadata.kind}; it lies beside one.")
    network_config = network_from(metadata.network, f"{path}: network")
    config = from_mapping(TrainConfig, metadata.config, f"{path}: config")
    adaptation = from_mapping(Adaptation, metadata.adaptation, f"{path}: adaptation")
    names = check_shapes(path, header, network_config, adaptation)  # before anything of a claimed size is made or read
    metadata, tensors = read_tensors(path)
    rule = {} if isinstance(network_config, ModuleConfig) else rule_part(tensors)
    params = {name: tensors[name] for name in names}
    constants = {n: tensors[n] for n in (network_config.constants if isinstance(network_config, ModuleConfig) else ())}
    begun = {name.removeprefix(UNTRAINED): value for name, value in tensors.items() if name.startswith(UNTRAINED)}
    made_with = ALGORITHMS.get(config.algorithm)
    clusters = None
    if len(params) + len(constants) + len(begun) + len(rule) < len(tensors):
        clusters = read_clusters(path, params, tensors, config, adaptation)
    elif made_with is not None and made_with.cluster is not None:
        raise UnreadableInput(f"{path}: a checkpoint of {config.algorithm} without clusters; they were taken out of it")
    found = Checkpoint(
        params=params,
        config=config,
        network_config=network_config,
        adaptation=adaptation,
        iteration=metadata.iteration,
        metrics=metadata.metrics,
        provenance=metadata.provenance,
        clusters=clusters,
        format=metadata.format,
        constants=constants,
        begun=begun or None,
        rule=rule,
    )
    if problem := contradiction(config, network_config, adaptation, metadata.iteration):
        raise UnreadableInput(f"{path}: it contradicts itself: {problem}")
    if not metadata.iteration:  # it has collected no statistics
        found = dataclasses.replace(found, adaptation=dataclasses.replace(adaptation, step_statistics="batch"))
    if metadata.format < FORMAT_VERSION:
        warnings.warn(
            f"{path}: written in format {metadata.format}, in which a checksum covers the weights and not what is said "
            f"of them; train again, or go on with its training, for format {FORMAT_VERSION}",
            stacklevel=2,
        )
    return found


def write_tensors(path: Path | str, tensors: Mapping[str, Tensor], metadata: CheckpointMetadata) -> None:
    """Write tensors with their metadata as one safetensors file, whole or not at all."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    layout = layout_of((name, _DTYPES[tensor.dtype], tuple(tensor.shape)) for name, tensor in plain.items())
    text = metadata_json(dataclasses.replace(metadata, layout=layout))
    write_bytes(path, with_format(save(plain, {METADATA_KEY: text})))


def read_tensors(path: Path | str) -> tuple[CheckpointMetadata, dict[str, Tensor]]:
    """Read metadata and tensors of a safetensors file of ours.

    Raises:
        UnreadableInput: the file cannot be read, is not ours, or its tensors differ from its fingerprint.
    """
    with open_regular(path) as file:
        header = read_header(file, path)
        metadata = checked_metadata(header, path)
        if header.file_size > psutil.virtual_memory().total / 4:  # its bytes, their tensors, and what is done with them
            raise UnreadableInput(f"{path}: {header.file_size / 1e9:,.1f} GB are too much for this machine's memory")
        file.seek(0)
        content = file.read()
    tensors = load(content)
    for name, tensor in tensors.items():
        if tensor.dtype not in _DTYPES:
            raise UnreadableInput(f"{path}: {name} is of type {tensor.dtype}, which no file of metaprobe's holds")
    if (found := fingerprint_of(tensors)) != metadata.fingerprint:
        raise UnreadableInput(
            f"{path}: the tensors were changed after the file was written: fingerprint {found[:12]}, "
            f"expected {metadata.fingerprint[:12]}"
        )
    return metadata, tensors


def fingerprint_of(tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of named tensors, as in `trainers.formats.checkpoint_format.tensor_fingerprint`."""
    return tensor_fingerprint(
        (name, _DTYPES[tensor.dtype], tuple(tensor.shape), _bytes(tensor)) for name, tensor in tensors.items()
    )


def metadata_for(
    checkpoint: Checkpoint,
    kind: str = "checkpoint",
    tensors: Mapping[str, Tensor] | None = None,
    metrics: Mapping[str, float] | None = None,
) -> CheckpointMetadata:
    """Return the metadata of a checkpoint, or of another kind of file that belongs to it, with tensors of its own."""
    return CheckpointMetadata(
        kind=kind,
        fingerprint=fingerprint_of(checkpoint.tensors() if tensors is None else tensors),
        iteration=checkpoint.iteration,
        config=to_mapping(checkpoint.config),
        network=to_mapping(checkpoint.network_config),
        adaptation=to_mapping(checkpoint.adaptation),
        metrics=dict(checkpoint.metrics if metrics is None else metrics),
        provenance=dict(checkpoint.provenance),
        format=checkpoint.format,
    )


def _bytes(tensor: Tensor) -> bytes:
    return tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
