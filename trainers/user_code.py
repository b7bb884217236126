"""Code of the user's that may be run for a network: what a command line names, never what a file says. No torch."""

from __future__ import annotations

from contextvars import ContextVar

__all__ = ["LIBRARIES", "USER_CODE", "is_code"]

LIBRARIES = ("torchvision", "timm")

USER_CODE: ContextVar[str | None] = ContextVar("USER_CODE", default=None)
"""The factory, "package.module:factory", that builds networks of the user's code; None lets none be built."""


def is_code(name: str) -> bool:
    """Tell whether a network's name is the place of code of the user's, "package.module:factory"."""
    first, colon, _ = name.partition(":")
    return bool(colon) and first not in LIBRARIES
