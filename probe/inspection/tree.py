"""The tensors of a file as a tree of dotted names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from metaprobe.probe.inspection.inspect import Inspection
from metaprobe.probe.inspection.tensor_files import TensorInfo
from metaprobe.trainers.formats.text import visible

__all__ = ["tree_lines"]

_LEVELS = 32  # a name with more dots than this keeps the rest as one part


@dataclass
class _Node:
    tensor: TensorInfo | None = None
    inner: dict[str, _Node] = field(default_factory=dict)
    tensors: int = 0
    parameters: int = 0
    nbytes: int = 0


def tree_lines(inspection: Inspection, depth: int | None = None) -> list[str]:
    """Return the tree as lines for a terminal: one for the file, then one for every module and tensor.

    Args:
        inspection: what `inspect_file` found; a pattern given there has chosen the tensors.
        depth: levels below the file to show (1: layers only); None for all. Deeper tensors are summed up.
    """
    root = _grow([report.info for report in inspection.tensors])
    lines = [f"{visible(str(inspection.path))}  {_size_of(root)}"]
    lines.extend(_branches(root, "", _LEVELS if depth is None else depth))
    return lines


def _grow(tensors: Sequence[TensorInfo]) -> _Node:
    root = _Node()
    for tensor in tensors:
        path = [root]
        for part in tensor.name.split(".", _LEVELS - 1):
            path.append(path[-1].inner.setdefault(part, _Node()))
        path[-1].tensor = tensor
        for node in path:
            node.tensors += 1
            node.parameters += tensor.parameters
            node.nbytes += tensor.nbytes
    return root


def _branches(node: _Node, indent: str, depth: int) -> Iterator[str]:
    if depth <= 0:
        return
    for number, (part, inner) in enumerate(node.inner.items(), 1):
        last = number == len(node.inner)
        own = "" if inner.tensor is None else f"  {inner.tensor.dtype} {list(inner.tensor.shape)}"
        size = _size_of(inner) if inner.inner else f"{inner.parameters:,}"
        yield f"{indent}{'└── ' if last else '├── '}{visible(part) or '(empty)'}{own}  {size}"
        yield from _branches(inner, indent + ("    " if last else "│   "), depth - 1)


def _size_of(node: _Node) -> str:
    tensors = "1 tensor" if node.tensors == 1 else f"{node.tensors:,} tensors"
    return f"({tensors}, {node.parameters:,} parameters, {_bytes(node.nbytes)})"


def _bytes(count: int) -> str:
    size, unit = float(count), "B"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if size < 1000 or unit == "TB":
            break
        size /= 1000
    return f"{count} B" if unit == "B" else f"{size:.1f} {unit}"
