"""References as text: BibTeX entries, as the measures carry them, turned into lines of a bibliography."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from analyses.measures.measure import MEASURES
from trainers.errors import MetaprobeError, unknown_name

__all__ = ["Bibliography", "citation_of", "cited"]


@dataclass(frozen=True)
class Bibliography:
    """The works that a page cites, numbered in the order of `texts`.

    Attributes:
        texts: one line of text a work.
        marks: for each measure, the numbers of its works, as "[2]" or "[2,3]".
    """

    texts: tuple[str, ...]
    marks: dict[str, str]

    @classmethod
    def of(cls, first: str, measures: Iterable[str], cite: Callable[[str], str]) -> Bibliography:
        """Collect the works of some measures after a first one; the same work is listed once.

        Args:
            first: BibTeX of the work that stands first.
            measures: names of measures.
            cite: from a measure's name to its BibTeX.
        """
        texts = list(cited(first))
        marks = {}
        for measure in measures:
            works = cited(cite(measure))
            texts += [work for work in works if work not in texts]
            marks[measure] = f"[{','.join(str(texts.index(work) + 1) for work in works)}]"
        return cls(tuple(texts), marks)


def citation_of(measure: str) -> str:
    """Return the BibTeX of a registered measure.

    Raises:
        MetaprobeError: no such measure.
    """
    if measure not in MEASURES:
        raise unknown_name("measure", measure, MEASURES)
    return MEASURES[measure].citation


def cited(bibtex: str) -> tuple[str, ...]:
    """Return each entry of some BibTeX as "Authors. Title. Venue, year.", without its other fields.

    Raises:
        MetaprobeError: text without an entry, or an entry without author, title or year.
    """
    entries = re.split(r"^\s*@\w+\s*\{", bibtex, flags=re.MULTILINE)[1:]
    if not entries:
        raise MetaprobeError(
            f"a citation holds no BibTeX entry: {bibtex[:60]!r}. Expected '@article{{key, title={{…}}, …}}'."
        )
    return tuple(_line(entry) for entry in entries)


def _line(entry: str) -> str:
    fields = _fields(entry)
    lacking = [name for name in ("author", "title", "year") if not fields.get(name)]
    if lacking:
        raise MetaprobeError(f"the BibTeX entry {entry.split(',')[0].strip()!r} has no {' and no '.join(lacking)}.")
    authors = ", ".join(_name(author) for author in re.split(r"\s+and\s+", fields["author"]))
    venue = fields.get("booktitle") or fields.get("journal") or fields.get("publisher") or ""
    ending = f"{venue}, {fields['year']}." if venue else f"{fields['year']}."
    stop = "" if fields["title"].endswith(("?", "!")) else "."
    return f"{authors}. {fields['title']}{stop} {ending}"


def _fields(entry: str) -> dict[str, str]:
    found = {}
    for match in re.finditer(r"(\w+)\s*=\s*\{", entry):
        depth, end = 1, match.end()
        while depth and end < len(entry):
            depth += {"{": 1, "}": -1}.get(entry[end], 0)
            end += 1
        found.setdefault(match[1].lower(), " ".join(re.sub(r"[{}]", "", entry[match.end() : end - 1]).split()))
    return found


def _name(author: str) -> str:
    family, _, given = author.partition(",")
    return f"{given.strip()} {family.strip()}" if given else family.strip()
