"""What a module gives, when it is no tensor: a tuple, a dict, a named tuple, a dataclass."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping

from torch import Tensor

__all__ = ["first_tensor"]


def first_tensor(output: object) -> tuple[Tensor, str] | None:
    """Return the first tensor in what a module gave, and where it stands in it, as it would be written behind it.

    What is called `logits` comes before all else: a loss may stand in front of it.

    Args:
        output: a tensor (which stands at ""), or tuples ("[0]"), named tuples and dataclasses (".logits") and mappings
            ("['out']"), within each other too.

    Returns:
        These; None where there is no tensor.
    """
    if isinstance(output, Tensor):
        return output, ""
    for place, part in _parts(output):
        if (found := first_tensor(part)) is not None:
            return found[0], place + found[1]
    return None


def _parts(output: object) -> Iterator[tuple[str, object]]:
    if isinstance(output, Mapping):
        found = [(f"[{key!r}]", part, key) for key, part in output.items()]
    elif isinstance(output, tuple | list):
        names = getattr(output, "_fields", None)
        found = [(f".{names[i]}" if names else f"[{i}]", part, names and names[i]) for i, part in enumerate(output)]
    elif dataclasses.is_dataclass(output):
        names = [field.name for field in dataclasses.fields(output)]
        found = [(f".{name}", getattr(output, name), name) for name in names]
    else:
        found = []
    for place, part, _ in sorted(found, key=lambda one: one[2] != "logits"):  # stable: else in their order
        yield place, part
