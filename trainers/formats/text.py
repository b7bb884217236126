"""Text from strangers, made safe to show: names in files are data, and a terminal must never obey them. And counts."""

from __future__ import annotations

import re
import unicodedata

__all__ = ["count", "fits_utf8", "typeset", "visible"]


def visible(text: str, limit: int | None = None) -> str:
    r"""Return `text` on one line, with every character that a terminal could act on written as an escape.

    Tabs, line ends, escape sequences, direction marks, lone surrogates and backslashes become `\t`, `\n`, `\x1b`,
    `\u202e`, `\ud800`, `\\`: the result holds only printable characters, and no two texts share one (unless `limit`
    cuts them).

    Args:
        text: any string.
        limit: at most so many characters of the result, the last of them "…" where something was cut.
    """
    if limit is not None and len(text) > limit:
        text = text[: limit + 1]  # one more than fits, so that the cut below is noticed
    if not text.isprintable() or "\\" in text:
        text = "".join(_escape(character) for character in text)
    return text if limit is None or len(text) <= limit else text[: limit - 1] + "…"


def fits_utf8(text: str) -> bool:
    """Return whether UTF-8 has bytes for a text: not for half surrogate pairs, as in names that are no UTF-8."""
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def typeset(text: str) -> str:
    r"""Return `text` as a page, a drawing or a LaTeX table may hold it: what does not print is an escape.

    Control characters, which XML cannot hold, direction marks, which show a name as another, and half surrogate pairs
    become `\x1b`, `\u202e`, `\udcff`. Spaces of any width, tabs, line ends and backslashes stay.
    """
    return _SUSPECT.sub(_escape_unprinted, text)


_SUSPECT = re.compile(r"[^\n\t\x20-\x7e]")  # may not print


def _escape_unprinted(found: re.Match[str]) -> str:
    character = found[0]
    return character if character.isprintable() or unicodedata.category(character) == "Zs" else _escape(character)


def _escape(character: str) -> str:
    if character != "\\" and character.isprintable():
        return character
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


def count(number: int, thing: str, things: str = "") -> str:
    """Write how many there are of a thing: "1 step", "5 steps"; `things` where it is no "…s"."""
    return f"{number:,} {thing if number == 1 else things or thing + 's'}"
