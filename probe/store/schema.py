"""Which datasets a store holds: one table, by which stores are written and against which they are checked.

    moments/{layer}/     n, mean, scatter, cubic, quartic, largest (task, step, …) and eps: `JointMoments`, all of it
    sketch/{layer}/      pre, post, step1 … (row, feature) beside task, sample, position, id, label of each row
    tasks/               ids, labels and class ids of every sample
    activations/{phase}/{layer}     (task, sample, channel, height, width), when asked for
    checks/crc32         checksums of all others, part by part (`probe.store.checksum`); not in format 1

Every dimension has a scale of its name in the dataset's group (for activations: one group up), as netCDF-4 wants it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from urllib.parse import quote

from metaprobe.probe.store.metadata import LayerInfo, StoreMetadata
from metaprobe.probe.store.picking import sketch_rows

__all__ = [
    "DatasetSpec",
    "activation_group",
    "expected_bytes",
    "moment_group",
    "schema",
    "sketch_group",
    "storage_dtype",
]

_CHUNK = 2 << 20  # bytes; of raw activations
_SMALL_CHUNK = 256 << 10  # bytes; stays in the chunk cache while tasks are appended to it
_AXES = {1: ("feature",), 2: ("axis1", "axis2"), 3: ("channel", "height", "width")}


@dataclass(frozen=True)
class DatasetSpec:
    """One dataset: where it is, its dimensions' scales by path, shape, little-endian dtype and chunk.

    `parts` counts the first axes along which each entry is read, and has a checksum, alone.
    """

    path: str
    dims: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: str
    chunk: tuple[int, ...]
    compressed: bool = False
    parts: int = 0

    @property
    def is_scale(self) -> bool:
        """Whether this is the scale of a dimension."""
        return self.dims == (self.path,)

    @property
    def itemsize(self) -> int:
        """Bytes of an element."""
        return int(self.dtype[2:])

    @property
    def n_chunks(self) -> int:
        """How many chunks hold it."""
        return math.prod(-(-size // chunk) for size, chunk in zip(self.shape, self.chunk, strict=True))

    @property
    def stored_bytes(self) -> int:
        """Bytes that it takes uncompressed."""
        return self.n_chunks * math.prod(self.chunk) * self.itemsize

    @property
    def is_checked(self) -> bool:
        """Whether it has checksums: all but these have."""
        return not self.path.startswith("checks/")

    @property
    def n_parts(self) -> int:
        """How many checksums it has."""
        return math.prod(self.shape[: self.parts])


def schema(metadata: StoreMetadata) -> tuple[DatasetSpec, ...]:
    """Return every dataset of a store with this metadata, scales before what they belong to."""
    specs = _group("tasks", _task_sizes(metadata), _TASK_DATASETS, scale_dtype="<i8")
    for layer in metadata.layers:
        specs += _moments(metadata, layer)
        specs += _sketch(metadata, layer)
    if metadata.raw is not None:
        specs += _activations(metadata, metadata.raw.dtype == "float16", metadata.raw.zstd)
    if metadata.format > 1:
        parts = {"part": sum(spec.n_parts for spec in specs)}
        specs += _group("checks", parts, {"crc32": ("part",)}, scale_dtype="<i8", dtype="<u4")
    return tuple(specs)


def expected_bytes(metadata: StoreMetadata) -> int:
    """Return about how large a store will be, in bytes, without compressed datasets, whose size is not known."""
    return sum(spec.stored_bytes for spec in schema(metadata) if not spec.compressed)


def moment_group(layer: str) -> str:
    """Return the group of a layer's moments."""
    return f"moments/{_safe(layer)}"


def sketch_group(layer: str) -> str:
    """Return the group of a layer's sketch."""
    return f"sketch/{_safe(layer)}"


def activation_group(phase: str) -> str:
    """Return the group of the activations of a phase."""
    return f"activations/{phase}"


_TASK_DATASETS = {
    "class_ids": ("task", "way"),
    "query_ids": ("task", "sample"),
    "query_labels": ("task", "sample"),
    "support_ids": ("task", "support_sample"),
    "support_labels": ("task", "support_sample"),
}


def _task_sizes(metadata: StoreMetadata) -> dict[str, int]:
    return {
        "task": metadata.n_tasks,
        "way": metadata.n_way,
        "sample": metadata.n_query,
        "support_sample": metadata.n_support,
    }


def _moments(metadata: StoreMetadata, layer: LayerInfo) -> list[DatasetSpec]:
    columns = 2 * layer.features
    sizes = {"task": metadata.n_tasks, "step": len(metadata.steps), "column": columns, "column_b": columns}
    sizes |= {"side": 2, "term": 3}
    datasets = {
        "mean": ("task", "step", "column"),
        "scatter": ("task", "step", "column", "column_b"),
        "cubic": ("task", "step", "side", "column"),
        "quartic": ("task", "step", "term"),
        "largest": ("task", "step", "column"),
        "eps": ("side",),
    }
    group = moment_group(layer.name)
    specs = _group(group, sizes, datasets, scale_dtype="<i8", dtype="<f8")
    return [*specs, _spec(f"{group}/n", ("task", "step"), sizes, "<i8")]


def _sketch(metadata: StoreMetadata, layer: LayerInfo) -> list[DatasetSpec]:
    rows = sketch_rows(metadata.n_tasks, metadata.n_query * layer.positions, metadata.sketch_rows)
    sizes = {"row": rows, "feature": layer.features}
    labels = {name: ("row",) for name in ("task", "sample", "position", "id", "label")}
    specs = _group(sketch_group(layer.name), sizes, labels, scale_dtype="<i8")
    for phase in metadata.phases:
        path = f"{sketch_group(layer.name)}/{phase}"
        specs.append(_spec(path, ("row", "feature"), sizes, storage_dtype(layer.dtype)))
    return specs


def _activations(metadata: StoreMetadata, half: bool, zstd: bool) -> list[DatasetSpec]:
    sizes = {"task": metadata.n_tasks, "sample": metadata.n_query}
    specs = _group("activations", sizes, {}, scale_dtype="<i8")
    placed = []
    for layer in metadata.layers:
        rank = len(layer.shape)
        names = [f"{_safe(layer.name)}.{axis}" for axis in _AXES.get(rank, [f"axis{i + 1}" for i in range(rank)])]
        own = dict(zip(names, layer.shape, strict=True))
        specs += _group("activations", own, {}, scale_dtype="<i8")
        dims = tuple(f"activations/{name}" for name in ("task", "sample", *names))
        shape = (metadata.n_tasks, metadata.n_query, *layer.shape)
        dtype = "<f2" if half else storage_dtype(layer.dtype)
        for phase in metadata.phases:
            path = f"{activation_group(phase)}/{_safe(layer.name)}"
            placed.append(DatasetSpec(path, dims, shape, dtype, _raw_chunk(shape, int(dtype[2:])), zstd, parts=1))
    return specs + placed


def storage_dtype(computed: str) -> str:
    """Return the dtype in which activations are stored that a network computed in another; HDF5 has no bfloat16."""
    return {"float16": "<f2", "bfloat16": "<f4", "float32": "<f4", "float64": "<f8"}[computed]


def _group(
    group: str, sizes: dict[str, int], datasets: dict[str, tuple[str, ...]], scale_dtype: str, dtype: str = "<i8"
) -> list[DatasetSpec]:
    scales = [_spec(f"{group}/{name}", (name,), sizes, scale_dtype) for name in sizes]
    return scales + [_spec(f"{group}/{name}", dims, sizes, dtype) for name, dims in datasets.items()]


def _spec(path: str, dims: tuple[str, ...], sizes: dict[str, int], dtype: str) -> DatasetSpec:
    shape = tuple(sizes[name] for name in dims)
    row = math.prod(shape[1:]) * int(dtype[2:])
    first = max(1, min(shape[0], _SMALL_CHUNK // row))
    chunk = (first, *shape[1:])
    if path.endswith("/scatter"):
        chunk = (1, 1, *shape[2:])  # one task's moments at one step are read and written alone
    group = path.rpartition("/")[0]
    parts = 2 if dims[:2] == ("task", "step") else 0
    return DatasetSpec(path, tuple(f"{group}/{name}" for name in dims), shape, dtype, chunk, parts=parts)


def _raw_chunk(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    """Return a chunk of about 2 MB that does not cut samples, and where it can be helped divides the samples evenly."""
    tasks, samples, *rest = shape
    sample = math.prod(rest) * itemsize
    if sample * samples <= _CHUNK:
        return (max(1, min(tasks, round(_CHUNK / (sample * samples)))), samples, *rest)
    even = [n for n in range(1, samples + 1) if samples % n == 0 and _CHUNK / 2 <= n * sample <= 2 * _CHUNK]
    best = min(even, key=lambda n: abs(math.log(n * sample / _CHUNK)), default=max(1, _CHUNK // sample))
    return (1, best, *rest)


def _safe(layer: str) -> str:
    """Return a layer's name as one path component: `/` and `%` are percent-encoded."""
    return quote(layer, safe=" !#$&'()*+,;=:@[]|~^{}<>?\"\\`")
