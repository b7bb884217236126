"""Markdown out of what is declared."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Sequence

__all__ = ["about", "bullets", "contents", "fenced", "plain", "table"]

_CODE = re.compile(r"(`[^`]+`)")


def plain(text: str) -> str:
    """Return plain text as Markdown that shows it as it is, but for names in backticks."""
    parts = _CODE.split(text)
    return "".join(part if part.startswith("`") else re.sub(r"[\\*_<\[|]", r"\\\g<0>", part) for part in parts)


def about(thing: object) -> str:
    """Return the docstring of a module or function as Markdown, without its sections ("Args:" …)."""
    text = re.split(r"\n(?:Args|Returns|Raises|Attributes):\n", inspect.getdoc(thing) or "")[0]
    blocks = text.split("\n\n")
    return "\n\n".join(block if block.startswith("    ") else plain(block) for block in blocks)


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table; cells are Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def bullets(items: Iterable[str]) -> str:
    """Return a list; items are Markdown."""
    return "\n".join(f"- {item}" for item in items)


def fenced(text: str, language: str = "text") -> str:
    """Return a block of code."""
    return f"```{language}\n{text.rstrip()}\n```"


def contents(names: Iterable[str]) -> str:
    """Return the hidden table of contents of a page."""
    return "```{toctree}\n:hidden:\n\n" + "\n".join(names) + "\n```"
