"""Checkpoints: the weights and everything needed to adapt as their trainer would, in one safetensors file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors.torch import load, save
from torch import Tensor

from trainers.algorithms import ALGORITHMS
from trainers.clustering.clusters import Clusters, Start
from trainers.clustering.file import CLUSTERS, cluster_tensors, read_clusters
from trainers.config import Adaptation, NetworkConfig, TrainConfig, from_mapping, to_mapping
from trainers.errors import MetaprobeError, UnreadableInput
from trainers.files import write_bytes
from trainers.formats.checkpoint_format import (
    METADATA_KEY,
    CheckpointMetadata,
    metadata_json,
    metadata_of,
    read_metadata,
    tensor_fingerprint,
)
from trainers.formats.safetensors_header import open_regular, read_header
from trainers.formats.text import visible
from trainers.networks import TaskNetwork, build_network

__all__ = [
    "Checkpoint",
    "fingerprint_of",
    "load_checkpoint",
    "metadata_for",
    "read_tensors",
    "save_checkpoint",
    "write_tensors",
]

_DTYPES = {torch.float32: "F32", torch.float64: "F64", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64"}


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
    """

    params: Mapping[str, Tensor]
    config: TrainConfig
    network_config: NetworkConfig
    adaptation: Adaptation
    iteration: int
    metrics: Mapping[str, float] = field(default_factory=dict)
    provenance: Mapping[str, str | int] = field(default_factory=dict)
    clusters: Clusters | None = None

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all tensors, 64 hexadecimal digits; the first 12 are the checkpoint's id."""
        return fingerprint_of(self.tensors())

    def tensors(self) -> dict[str, Tensor]:
        """Return what the file holds, by name: the weights, and the clusters' tensors below `clusters`."""
        return dict(self.params) | (cluster_tensors(self.clusters) if self.clusters else {})

    def start(self, device: torch.device | str = "cpu") -> Start:
        """Return what a test adapts from: the weights, or the clusters that give each task its own."""
        if self.clusters is not None:
            return self.clusters.to(device)
        return {name: value.to(device) for name, value in self.params.items()}

    def network(self) -> TaskNetwork:
        """Return the network with these weights in it."""
        network = build_network(self.network_config, seed=0)
        network.load_state_dict(dict(self.params))
        return network


def save_checkpoint(path: Path | str, checkpoint: Checkpoint) -> None:
    """Write a checkpoint, whole or not at all; equal checkpoints give equal bytes.

    Raises:
        MetaprobeError: its metadata is not JSON.
    """
    write_tensors(path, checkpoint.tensors(), metadata_for(checkpoint))


def load_checkpoint(path: Path | str) -> Checkpoint:
    """Read a checkpoint and check that its weights are the ones it was written with.

    Raises:
        UnreadableInput: the file is missing, damaged, not a checkpoint, or its weights do not fit its network or its
            fingerprint.
    """
    metadata = read_metadata(path)
    if metadata.kind != "checkpoint":
        raise UnreadableInput(f"{path}: expected a checkpoint, got a {metadata.kind}; it lies beside one.")
    _, tensors = read_tensors(path)
    network_config = from_mapping(NetworkConfig, metadata.network, f"{path}: network")
    params = _params_of(path, tensors, network_config)
    config = from_mapping(TrainConfig, metadata.config, f"{path}: config")
    adaptation = from_mapping(Adaptation, metadata.adaptation, f"{path}: adaptation")
    made_with = ALGORITHMS.get(config.algorithm)
    clusters = None
    if len(params) < len(tensors):
        clusters = read_clusters(path, params, tensors, config, adaptation)
    elif made_with is not None and made_with.cluster is not None:
        raise UnreadableInput(f"{path}: a checkpoint of {config.algorithm} without clusters; they were taken out of it")
    return Checkpoint(
        params=params,
        config=config,
        network_config=network_config,
        adaptation=adaptation,
        iteration=metadata.iteration,
        metrics=metadata.metrics,
        provenance=metadata.provenance,
        clusters=clusters,
    )


def _params_of(path: Path | str, tensors: Mapping[str, Tensor], config: NetworkConfig) -> dict[str, Tensor]:
    """Return a file's weights in the network's order: as they come from a file it is another one each time."""
    try:
        built = build_network(config, seed=0)
    except MetaprobeError as error:
        raise UnreadableInput(f"{path}: its network cannot be built: {error}") from error
    expected = {name: (tuple(value.shape), value.dtype) for name, value in built.named_parameters()}
    found = {n: (tuple(value.shape), value.dtype) for n, value in tensors.items() if not n.startswith(CLUSTERS)}
    if expected != found:
        name = min(set(expected.items()) ^ set(found.items()), key=lambda item: item[0])[0]
        raise UnreadableInput(
            f"{path}: the weights do not fit network {config.name!r}: {visible(name)} is "
            f"{_told(found.get(name))}, expected {_told(expected.get(name))}"
        )
    return {name: tensors[name] for name in expected}


def write_tensors(path: Path | str, tensors: Mapping[str, Tensor], metadata: CheckpointMetadata) -> None:
    """Write tensors with their metadata as one safetensors file, whole or not at all."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_bytes(path, save(plain, {METADATA_KEY: metadata_json(metadata)}))


def read_tensors(path: Path | str) -> tuple[CheckpointMetadata, dict[str, Tensor]]:
    """Read metadata and tensors of a safetensors file of ours.

    Raises:
        UnreadableInput: the file cannot be read, is not ours, or its tensors differ from its fingerprint.
    """
    with open_regular(path) as file:
        metadata = metadata_of(read_header(file, path), path)
        file.seek(0)
        content = file.read()
    if metadata is None:
        raise UnreadableInput(f"{path}: a safetensors file, but not a checkpoint of metaprobe")
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
    fingerprint: str | None = None,
    metrics: Mapping[str, float] | None = None,
) -> CheckpointMetadata:
    """Return the metadata of a checkpoint, or of another kind of file that belongs to it."""
    return CheckpointMetadata(
        kind=kind,
        fingerprint=checkpoint.fingerprint if fingerprint is None else fingerprint,
        iteration=checkpoint.iteration,
        config=to_mapping(checkpoint.config),
        network=to_mapping(checkpoint.network_config),
        adaptation=to_mapping(checkpoint.adaptation),
        metrics=dict(checkpoint.metrics if metrics is None else metrics),
        provenance=dict(checkpoint.provenance),
    )


def _told(kind: tuple[tuple[int, ...], torch.dtype] | None) -> str:
    return "not there" if kind is None else f"{kind[1]} {kind[0]}"


def _bytes(tensor: Tensor) -> bytes:
    return tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
