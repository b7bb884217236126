"""What a module gives, when it is no tensor: a tuple, a dict, a named tuple, a dataclass."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping

from torch import Tensor

__all__ = ["first_tensor"]


def first_tensor(output: object) -> tuple[Tensor, str] | None:
    """Return the first tensor in what a module gave, and where it stands in it, as it would be written behind it.

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
        yield from ((f"[{key!r}]", part) for key, part in output.items())
    elif isinstance(output, tuple | list):
        names = getattr(output, "_fields", None)
        yield from ((f".{names[i]}" if names else f"[{i}]", part) for i, part in enumerate(output))
    elif dataclasses.is_dataclass(output):
        yield from ((f".{field.name}", getattr(output, field.name)) for field in dataclasses.fields(output))
