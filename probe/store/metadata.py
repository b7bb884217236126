"""What a store says about itself: one JSON text in one attribute, as in a checkpoint. No torch."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from metaprobe.trainers.config import Adaptation, TrainConfig, from_mapping, to_mapping
from metaprobe.trainers.errors import MetaprobeError, UnreadableInput
from metaprobe.trainers.formats.checkpoint_format import CheckpointMetadata, metadata_json, parse_metadata
from metaprobe.trainers.formats.strict_json import parse_json
from metaprobe.trainers.formats.text import visible
from metaprobe.trainers.network_config import network_from

__all__ = [
    "FORMAT_VERSION",
    "LARGEST_SET",
    "MOST_PARTS",
    "ROOT_KEY",
    "LayerInfo",
    "RawOptions",
    "StoreMetadata",
    "metadata_from_json",
    "metadata_to_json",
]

FORMAT_VERSION = 2
ROOT_KEY = "metaprobe"  # the attribute, as in a checkpoint
EPS = {"float16": 2.0**-10, "bfloat16": 2.0**-7, "float32": 2.0**-23, "float64": 2.0**-52}
"""Machine epsilon of the types in which a network may compute."""

Samples = Literal["positions", "images"]
_LARGEST = 1_000_000_000  # no size in a store comes near
LARGEST_SET = 1_000_000  # nor any number of tasks or samples
MOST_PARTS = 100_000  # layers × steps


@dataclass(frozen=True)
class RawOptions:
    """How whole activations are stored.

    Attributes:
        dtype: "as computed" keeps the network's own (bfloat16 becomes float32), "float16" halves the size.
        zstd: compress, with the hdf5plugin package.
    """

    dtype: Literal["as computed", "float16"] = "as computed"
    zstd: bool = False

    def __post_init__(self) -> None:
        if self.dtype not in ("as computed", "float16"):
            raise MetaprobeError(f"raw activations are stored 'as computed' or as 'float16'; got {self.dtype!r}")


@dataclass(frozen=True)
class LayerInfo:
    """One layer of a store.

    Attributes:
        name: dotted name, with call index (`relu#1`).
        shape: of one sample's output, such as (channel, height, width).
        channel_axis: which of those axes holds the features.
        dtype: that the network computed in.
        part: where it stands in what the module gave, as "[0]" of a tuple; "" for all of it.
    """

    name: str
    shape: tuple[int, ...]
    channel_axis: int
    dtype: str
    part: str = ""

    @property
    def samples(self) -> Samples:
        """What a row is: one of the layer's positions, or a whole image."""
        return "images" if len(self.shape) == 1 else "positions"

    @property
    def features(self) -> int:
        """Number of columns of a representation of this layer."""
        return self.shape[self.channel_axis]

    @property
    def grid(self) -> tuple[int, ...]:
        """Sizes of the feature map, () where a sample gives one row."""
        return tuple(size for axis, size in enumerate(self.shape) if axis != self.channel_axis)

    @property
    def positions(self) -> int:
        """Number of rows that one query sample gives."""
        return math.prod(self.shape) // self.features

    @property
    def eps(self) -> float:
        """Machine epsilon of `dtype`."""
        return EPS[self.dtype]


@dataclass(frozen=True)
class StoreMetadata:
    """What was captured, from what, and how.

    Attributes:
        fingerprint: SHA-256 of the parameters before adaptation, as of a checkpoint.
        checkpoint: what the checkpoint said about itself; None when a network was captured through the Python API.
        adaptation: how the tasks were adapted to.
        normalisation: whose statistics normalised the queries: "transductive", "non-transductive", "running" (those
            that the weights came with); of a foreign module "as in train mode" or "as in eval mode".
        data: name of the image set. data_fingerprint: its hash. split: of it. task_seed: of the tasks. All are empty
            (None) where the caller did not say.
        n_tasks, n_query, n_support, n_way: sizes of the task set.
        steps: inner steps with moments, ascending; the last is the phase "post".
        sketch_rows: most rows of a sketch. sketch_seed: what picks them, with the tasks.
        layers: in the order of their outputs.
        raw: how whole activations are stored; None when they are not.
        provenance: versions, device, threads, seed.
        left_out: why other outputs were not captured that the patterns chose, by name.
        format: version of the format.
    """

    fingerprint: str
    checkpoint: CheckpointMetadata | None
    adaptation: Adaptation
    normalisation: str
    data: str
    data_fingerprint: str
    split: str
    task_seed: int | None
    n_tasks: int
    n_query: int
    n_support: int
    n_way: int
    steps: tuple[int, ...]
    sketch_rows: int
    sketch_seed: int
    layers: tuple[LayerInfo, ...]
    raw: RawOptions | None
    provenance: Mapping[str, Any]
    left_out: Mapping[str, str] = field(default_factory=dict)
    format: int = FORMAT_VERSION

    @property
    def phases(self) -> tuple[str, ...]:
        """Names of the steps with activations: "pre" (step 0), "step1" …, "post"."""
        return ("pre", *(f"step{step}" for step in self.steps[:-1]), "post")


def metadata_to_json(metadata: StoreMetadata) -> str:
    """Return the JSON text, keys sorted, so that equal metadata give equal bytes."""
    content = dataclasses.asdict(dataclasses.replace(metadata, checkpoint=None))
    content |= {"kind": "activations", "adaptation": to_mapping(metadata.adaptation)}
    content["layers"] = [{key: value for key, value in one.items() if value != ""} for one in content["layers"]]
    if not metadata.left_out:  # what there is nothing to say of is not said: as files have it that were written before
        del content["left_out"]
    if metadata.checkpoint is not None:
        content["checkpoint"] = json.loads(metadata_json(metadata.checkpoint))
    return json.dumps(content, sort_keys=True, allow_nan=False, separators=(",", ":"))


def metadata_from_json(text: str, path: str) -> StoreMetadata:
    """Parse and check the JSON text; sizes in it are checked for being sizes, not yet against the file.

    Raises:
        UnreadableInput: one line that names the file and what is wrong.
    """
    try:
        return _parse(text, path)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        what = f"missing {error}" if isinstance(error, KeyError) else str(error)
        raise UnreadableInput(f"{path}: its metadata is damaged: {visible(what, 200)}.") from None


def _parse(text: str, path: str) -> StoreMetadata:
    content = parse_json(text)
    if not isinstance(content, dict) or content.pop("kind", None) != "activations":
        raise ValueError("not those of an activation store")
    version = _count(content["format"], "format")
    if version > FORMAT_VERSION:
        raise ValueError(f"written in store format {version}, newer than {FORMAT_VERSION}; update metaprobe")
    names = {field.name for field in dataclasses.fields(StoreMetadata)}
    content.setdefault("left_out", {})
    if wrong := names ^ set(content):
        raise ValueError(f"{'missing' if min(wrong) in names else 'unknown'} key {min(wrong)!r}")
    for name in ("fingerprint", "normalisation", "data", "data_fingerprint", "split"):
        if not isinstance(content[name], str):
            raise ValueError(f"{name} must be text, got {content[name]!r}")
    for name in ("n_tasks", "n_query", "n_support", "n_way", "sketch_rows"):
        _count(content[name], name, LARGEST_SET)
    for name in ("sketch_seed", "task_seed"):
        if not (type(content[name]) is int or (name == "task_seed" and content[name] is None)):
            raise ValueError(f"{name} must be a whole number, got {content[name]!r}")
    steps = tuple(_count(step, "a step") for step in content["steps"])
    if not steps or steps != tuple(sorted(set(steps))):
        raise ValueError(f"steps must ascend, got {content['steps']!r}")
    layers = tuple(_layer(entry) for entry in content["layers"])
    if len(layers) * len(steps) > MOST_PARTS:
        raise ValueError(f"{len(layers)} layers at {len(steps)} steps are more than any store has")
    if not layers or len({layer.name for layer in layers}) != len(layers):
        raise ValueError("there must be layers, each once")
    checkpoint = content["checkpoint"]
    lost = content["left_out"]
    if not isinstance(lost, dict) or not all(isinstance(why, str) for why in lost.values()):
        raise ValueError("left_out must give a reason for each name")
    if not isinstance(content["provenance"], dict):
        raise ValueError("provenance must be an object")
    told = None if checkpoint is None else parse_metadata(json.dumps(checkpoint), path)
    if told is not None:  # it is believed like a checkpoint's own
        from_mapping(TrainConfig, told.config, f"{path}: checkpoint")
        network_from(told.network, f"{path}: checkpoint")
        from_mapping(Adaptation, told.adaptation, f"{path}: checkpoint")
    changed = {
        "steps": steps,
        "layers": layers,
        "adaptation": from_mapping(Adaptation, content["adaptation"], f"{path}: adaptation"),
        "checkpoint": told,
        "raw": None if content["raw"] is None else from_mapping(RawOptions, content["raw"], f"{path}: raw"),
    }
    return StoreMetadata(**(content | changed))


def _layer(entry: Mapping[str, Any]) -> LayerInfo:
    named = (entry["name"], tuple(entry["shape"]), entry["channel_axis"], entry["dtype"])
    layer = LayerInfo(*named, entry.get("part", ""))
    if (
        len(entry) != 4 + ("part" in entry)
        or not isinstance(layer.part, str)
        or not isinstance(layer.name, str)
        or not layer.name
    ):
        raise ValueError(f"not a layer: {entry!r}")
    if not 1 <= len(layer.shape) <= 16 or math.prod(_count(size, "a size") for size in layer.shape) > _LARGEST:
        raise ValueError(f"layer {layer.name!r} has the impossible shape {layer.shape}")
    if type(layer.channel_axis) is not int or not 0 <= layer.channel_axis < len(layer.shape):
        raise ValueError(f"layer {layer.name!r} has no axis {layer.channel_axis!r}")
    if layer.dtype not in EPS:
        raise ValueError(f"layer {layer.name!r} has the unknown dtype {layer.dtype!r}")
    return layer


def _count(value: Any, name: str, most: int = _LARGEST) -> int:
    if type(value) is not int or not 1 <= value <= most:
        raise ValueError(f"{name} must be a whole number from 1 to {most}, got {value!r}")
    return value
