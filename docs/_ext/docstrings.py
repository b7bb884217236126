"""Docstrings as reStructuredText: what is plain text in them stays plain, and sections ("Args:") become lists.

They name `files/*.toml`, |x| and x_ as they are. reStructuredText would read markup into that, so outside of backticks
it is escaped; words between asterisks are emphasis, and lines set off by four spaces are formulas or listings.
"""

from __future__ import annotations

import re

from sphinx.application import Sphinx

__all__ = ["as_rest", "setup"]

_MARKED = re.compile(r"(``.+?``|`[^`\n]+`|(?<![\w*])\*\w[\w ]*\*(?![\w*]))")
_SECTION = re.compile(r"(Args|Attributes|Raises|Returns|Yields):")
_ITEM = re.compile(r"    ([\w.*]+(?:, [\w.*]+)*): (.*)")


def as_rest(lines: list[str]) -> list[str]:
    """Return the lines of a docstring as reStructuredText."""
    found, section = list[str](), ""
    for line in lines:
        if title := _SECTION.fullmatch(line):
            section = title[1]
            found += [f"**{section}**", ""]
        elif section in ("Returns", "Yields"):
            found.append(_escaped_line(line.strip()))
        elif section:
            item = _ITEM.fullmatch(line)
            found.append(f"* ``{item[1]}``: {_escaped_line(item[2])}" if item else f"  {_escaped_line(line.strip())}")
        elif line.startswith("    "):
            found += ["::", "", line] if found and not found[-1] else [line]
        else:
            found.append(_escaped_line(line))
    return found


def _escaped_line(line: str) -> str:
    return "".join(map(_escaped, _MARKED.split(line)))


def _escaped(part: str) -> str:
    if part.startswith("`") or (part.startswith("*") and part.endswith("*") and len(part) > 2):
        return part
    part = re.sub(r"[\\*|]", r"\\\g<0>", part)
    return re.sub(r"(?<=\w)_(?!\w)", r"\\_", part)


def _process(app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]) -> None:
    lines[:] = as_rest(lines)


def setup(app: Sphinx) -> dict[str, bool]:
    """Have autodoc read docstrings this way."""
    app.connect("autodoc-process-docstring", _process)
    return {"parallel_read_safe": True}
