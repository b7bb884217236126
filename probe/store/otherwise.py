"""In what a capture was otherwise than its checkpoint was trained."""

from __future__ import annotations

from metaprobe.probe.store.metadata import StoreMetadata
from metaprobe.trainers.formats.text import count
from metaprobe.trainers.otherwise import TEST_QUERIES, told_queries

__all__ = ["captured_otherwise"]


def captured_otherwise(metadata: StoreMetadata) -> str:
    """Return in which ways, shots, queries and rate a capture's tasks differ from its checkpoint's training, in words.

    "" where they do not, or the store does not know its checkpoint. What was done with the images is in its `data`.
    """
    if (trained := metadata.checkpoint) is None:
        return ""
    parts, shots = [], metadata.n_support // metadata.n_way
    if metadata.n_way != (way := trained.network["n_way"]):
        parts.append(f"{metadata.n_way} ways under a new head (trained: {way})")
    if shots != (shot := trained.config["n_shot"]):
        parts.append(f"{count(shots, 'shot')} (trained: {shot})")
    queries = metadata.n_query // metadata.n_way
    if queries not in (TEST_QUERIES, query := trained.config["n_query"]):
        parts.append(told_queries(queries, query, trained.provenance))
    if metadata.adaptation.inner_lr != (rate := trained.adaptation["inner_lr"]):
        parts.append(f"inner rate {metadata.adaptation.inner_lr:g} (trained: {rate:g})")
    _, _, images = metadata.data.partition(", images ")
    return "; ".join([*parts, *([f"images {images}"] if images else [])])
