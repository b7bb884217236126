"""Several numbers as one word of the command line. No torch."""

from __future__ import annotations

from typing import Any

from tyro.constructors import PrimitiveConstructorSpec

__all__ = ["joined"]


def joined(kind: type[int] | type[float], metavar: str) -> PrimitiveConstructorSpec[Any]:
    """Return how the command line says several numbers: "256,128"."""

    def read(words: list[str]) -> tuple[Any, ...]:
        try:
            return tuple(kind(word) for word in words[0].split(",")) if words[0].strip() else ()
        except ValueError:
            raise ValueError(f"must be numbers joined by commas; got {words[0]!r}") from None

    return PrimitiveConstructorSpec(
        nargs=1,
        metavar=metavar,
        instance_from_str=read,
        is_instance=lambda value: value is None or isinstance(value, tuple),
        str_from_instance=lambda value: [",".join(map(str, value or ()))],
    )
