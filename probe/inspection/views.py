"""Inspections and differences as tables: what `metaprobe inspect` and `metaprobe diff` print."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from metaprobe.probe.inspection.cluster_views import cluster_difference_grids, cluster_facts, cluster_grids
from metaprobe.probe.inspection.inspect import Inspection, TensorReport
from metaprobe.probe.inspection.rates import rate_grids
from metaprobe.probe.inspection.tree import tree_lines
from metaprobe.probe.show import Cell, Grid, as_json, show, write_line
from metaprobe.trainers.formats.tensor_names import FCE, MODULATION, UPDATE_RULE, is_step_norm
from metaprobe.trainers.formats.text import visible
from metaprobe.trainers.network_config import network_as_told
from metaprobe.trainers.otherwise import told_iteration

if TYPE_CHECKING:
    from metaprobe.probe.inspection.diff import Difference, LayerDifference, TensorDifference

__all__ = ["difference_grids", "inspection_grids", "show_difference", "show_inspection"]

_STATISTICS = ("norm", "minimum", "maximum", "mean", "nan", "inf", "all_zero")
_DISTANCE = ("max_abs", "l2", "relative", "cosine", "left_out")
_BESIDE = {UPDATE_RULE: "update rule", MODULATION: "modulation", FCE: "full-context embeddings"}
_SHORT, _LONG = 24, 60  # characters: names between are not broken over lines, those above may be


def show_inspection(
    inspection: Inspection, depth: int | None = None, json_wanted: bool = False, stream: TextIO | None = None
) -> None:
    """Write an inspection: tree and tables on a terminal, tables as TSV in a pipe, one JSON object when asked for.

    Args:
        inspection: what `inspect_file` found.
        depth: levels of the tree to show; None for all. On a terminal only: tables and JSON are always complete.
        json_wanted: write JSON.
        stream: where to; standard output by default.
    """
    out = stream or sys.stdout
    if json_wanted:
        write_line(as_json(_inspection_document(inspection)), out)
        return
    grids = inspection_grids(inspection)
    if out.isatty():
        for line in tree_lines(inspection, depth):
            write_line(line, out)
        grids = tuple(_beside_a_tree(grid) for grid in grids)
    show(grids, out)


def show_difference(difference: Difference, json_wanted: bool = False, stream: TextIO | None = None) -> None:
    """Write a difference: a verdict, then tables (TSV in a pipe), or one JSON object when asked for."""
    out = stream or sys.stdout
    if json_wanted:
        write_line(as_json({"same": difference.same, "difference": difference}), out)
        return
    grids = difference_grids(difference)
    show(tuple(_telling(grid) for grid in grids) if out.isatty() else grids, out)


def _telling(grid: Grid) -> Grid:
    """Drop the columns of tensors that say nothing: empty ones, and dtypes and shapes that all agree."""
    if grid.title != "tensors that differ":
        return grid
    values = {column: [row[number] for row in grid.rows] for number, column in enumerate(grid.columns)}
    silent = {column for column, cells in values.items() if all(cell in (None, "") for cell in cells)}
    for what in ("dtype", "shape"):
        if values[f"{what}_a"] == values[f"{what}_b"]:
            silent |= {f"{what}_a", f"{what}_b"}
    kept = [number for number, column in enumerate(grid.columns) if column not in silent]
    rows = tuple(tuple(row[number] for number in kept) for row in grid.rows)
    names = [str(cell) for cell in values["tensor"]]
    return Grid(grid.title, tuple(grid.columns[number] for number in kept), rows, unbroken=_whole("tensor", names))


def _whole(column: str, names: Sequence[str]) -> frozenset[str]:
    """Return the column as one not to break, where its longest name would be, and a line can hold it."""
    return frozenset({column} if _SHORT < max(map(len, names), default=0) <= _LONG else ())


def _beside_a_tree(grid: Grid) -> Grid:
    """Drop what the tree has said of the tensors already, and remarks that nobody made: a terminal is narrow."""
    if grid.title != "tensors":
        return grid
    kept = [0, *(number for number, column in enumerate(grid.columns) if column in _STATISTICS)]
    if any(row[-1] for row in grid.rows) and grid.columns[-1] == "remark":
        kept.append(len(grid.columns) - 1)
    rows = grid.rows if len(kept) > 1 else ()
    return Grid(grid.title, tuple(grid.columns[n] for n in kept), tuple(tuple(row[n] for n in kept) for row in rows))


def inspection_grids(inspection: Inspection) -> tuple[Grid, ...]:
    """Return the tables of an inspection: the file, its clusters, learned rates, layers, tensors, its metadata."""
    with_statistics = inspection.statistics
    layer_columns = ("layer", "tensors", "parameters", "bytes")
    tensor_columns = ("tensor", "layer", "dtype", "shape", "parameters", "bytes")
    if with_statistics:
        layer_columns += ("norm", "with_nan", "with_inf", "all_zero")
        tensor_columns += (*_STATISTICS, "remark")
    return (
        Grid("file", ("what", "value"), tuple(_file_rows(inspection))),
        *cluster_grids(inspection.clusters, with_statistics),
        *rate_grids(inspection.rates),
        Grid(
            "layers",
            layer_columns,
            tuple(
                (layer.name, layer.tensors, layer.parameters, layer.nbytes)
                + ((layer.norm, layer.nan, layer.inf, layer.all_zero) if with_statistics else ())
                for layer in inspection.layers
            ),
            unbroken=_whole("layer", [layer.name for layer in inspection.layers]),
        ),
        Grid("tensors", tensor_columns, tuple(_tensor_row(report) for report in inspection.tensors)),
        Grid("metadata", ("key", "value"), tuple(_metadata_rows(inspection))),
    )


def _file_rows(inspection: Inspection) -> Iterator[tuple[Cell, ...]]:
    yield "path", str(inspection.path)
    yield "kind", inspection.kind
    yield "bytes", inspection.file_size
    yield "tensors", inspection.total
    if len(inspection.tensors) != inspection.total:
        yield "tensors chosen", len(inspection.tensors)
    yield "parameters", sum(layer.parameters for layer in inspection.layers)
    if buffers := sum(report.info.buffers for report in inspection.tensors):
        yield "numbers of buffers beside them", buffers
    learned: dict[str, int] = {}
    for info in (report.info for report in inspection.tensors):
        whose = next((told for prefix, told in _BESIDE.items() if info.name.startswith(prefix)), "")
        whose = "norms of each step" if is_step_norm(info.name) else whose
        learned[whose] = learned.get(whose, 0) + info.learned
    yield from ((f"numbers of its {whose}", count) for whose, count in learned.items() if count)
    if kept := sum(report.info.statistics for report in inspection.tensors):
        yield "numbers of running statistics", kept
    if inspection.checkpoint is not None:
        yield "checkpoint id", inspection.checkpoint.checkpoint_id
        yield "fingerprint", inspection.checkpoint.fingerprint
        if (family := inspection.checkpoint.config.get("like")) is not None:
            yield "network and norms like", visible(str(family), 40)
    if inspection.fingerprint is not None:
        yield "fingerprint of the tensors", inspection.fingerprint
        yield "fingerprint check", _check(inspection)
    yield from cluster_facts(inspection.clusters)


def _check(inspection: Inspection) -> str:
    if inspection.fingerprint_matches is None:
        return "none recorded"
    return "matches" if inspection.fingerprint_matches else "MISMATCH: these are not the tensors that were saved"


def _tensor_row(report: TensorReport) -> tuple[Cell, ...]:
    info, found = report.info, report.statistics
    row: tuple[Cell, ...] = (info.name, info.layer, info.dtype, info.shape, info.parameters, info.nbytes)
    if found is None:
        return row
    if not found.computed:
        return (*row, *(None for _ in _STATISTICS), found.reason)
    return (*row, *(getattr(found, name) for name in _STATISTICS), found.reason)


def _metadata_rows(inspection: Inspection) -> Iterator[tuple[Cell, ...]]:
    checkpoint = inspection.checkpoint
    if checkpoint is not None:
        at = told_iteration(checkpoint.iteration, checkpoint.provenance)
        yield "iteration", "not known" if at is None else at
        for part in ("config", "network", "adaptation", "metrics", "provenance"):
            values = getattr(checkpoint, part)
            yield from _flat(part, network_as_told(values) if part == "network" else values)
    yield from inspection.metadata


def _flat(name: str, value: Mapping[str, Any]) -> Iterator[tuple[Cell, ...]]:
    for key, inner in value.items():
        if isinstance(inner, dict) and inner:
            yield from _flat(f"{name}.{key}", inner)
        else:
            yield f"{name}.{key}", inner if isinstance(inner, str) else json.dumps(inner, ensure_ascii=False)


def _inspection_document(inspection: Inspection) -> dict[str, object]:
    return {
        "path": inspection.path,
        "kind": inspection.kind,
        "bytes": inspection.file_size,
        "total_tensors": inspection.total,
        "fingerprint": None if inspection.checkpoint is None else inspection.checkpoint.fingerprint,
        "fingerprint_of_tensors": inspection.fingerprint,
        "fingerprint_matches": inspection.fingerprint_matches,
        "clusters": inspection.clusters,
        "rates": inspection.rates,
        "layers": inspection.layers,
        "tensors": [
            {"name": report.info.name, "layer": report.info.layer, "dtype": report.info.dtype}
            | {"shape": report.info.shape, "parameters": report.info.parameters, "bytes": report.info.nbytes}
            | {"statistics": report.statistics}
            for report in inspection.tensors
        ],
        "checkpoint": inspection.checkpoint,
        "metadata": dict(inspection.metadata),
    }


def difference_grids(difference: Difference) -> tuple[Grid, ...]:
    """Return the tables of a difference: the verdict, clusters, layers, tensors, metadata."""
    changed = [tensor for tensor in difference.tensors if not tensor.equal]
    alone = [("A", tensor) for tensor in difference.only_a] + [("B", tensor) for tensor in difference.only_b]
    verdict: list[tuple[Cell, ...]] = [
        ("verdict", "same" if difference.same else "different"),
        ("A", f"{difference.a} ({difference.kind_a})"),
        ("B", f"{difference.b} ({difference.kind_b})"),
        ("tensors in both", len(difference.tensors)),
        ("of those, different", len(changed)),
        ("only in A", len(difference.only_a)),
        ("only in B", len(difference.only_b)),
    ]
    if difference.note:
        verdict.append(("note", difference.note))
    if difference.clusters is not None:
        verdict.extend(("clusters", sentence) for sentence in difference.clusters.sentences)
    return (
        Grid("comparison", ("what", "value"), tuple(verdict)),
        *cluster_difference_grids(difference.clusters),
        Grid(
            "layers",
            ("layer", "tensors", "different", *_DISTANCE),
            tuple((layer.name, layer.tensors, layer.different, *_distance(layer)) for layer in difference.layers),
            unbroken=_whole("layer", [layer.name for layer in difference.layers]),
        ),
        Grid(
            "tensors that differ",
            ("tensor", "dtype_a", "dtype_b", "shape_a", "shape_b", *_DISTANCE, "remark"),
            tuple((x.a.name, x.a.dtype, x.b.dtype, x.a.shape, x.b.shape, *_distance(x), x.reason) for x in changed),
        ),
        Grid(
            "tensors of one side",
            ("side", "tensor", "dtype", "shape"),
            tuple((side, tensor.name, tensor.dtype, tensor.shape) for side, tensor in alone),
        ),
        Grid(
            "metadata that differs",
            ("key", "a", "b", "counts"),
            tuple((key.key, key.a, key.b, key.counts) for key in difference.keys),
        ),
    )


def _distance(found: LayerDifference | TensorDifference) -> tuple[Cell, ...]:
    if found.distance is None:
        return tuple(None for _ in _DISTANCE)
    return tuple(getattr(found.distance, name) for name in _DISTANCE)
