"""References: BibTeX entries, as the measures carry them, as they are and as lines of a bibliography."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from analyses.measures.measure import MEASURES
from trainers.errors import MetaprobeError, unknown_name

__all__ = ["Bibliography", "citation_of", "cited", "entries"]

_ACCENTS = {"`": "\u0300", "'": "\u0301", "^": "\u0302", "~": "\u0303", '"': "\u0308"}


@dataclass(frozen=True)
class Bibliography:
    """The works that a page cites, numbered in the order of `texts`.

    Attributes:
        texts: one line of text a work.
        marks: for each measure and method, the numbers of its works, as "[2]" or "[2,3]".
        bibtex: the entry of each work, in the same order.
    """

    texts: tuple[str, ...]
    marks: dict[str, str]
    bibtex: tuple[str, ...]

    @classmethod
    def of(
        cls, first: str, measures: Iterable[str], cite: Callable[[str], str], methods: Mapping[str, str] | None = None
    ) -> Bibliography:
        """Collect the works of some measures and methods after a first one; the same work is listed once.

        Args:
            first: BibTeX of the work that stands first.
            measures: names of measures.
            cite: from a measure's name to its BibTeX.
            methods: from the name of whatever else was used (a learner, a way to get intervals, a data set) to its
                BibTeX.

        Raises:
            MetaprobeError: a citation is not BibTeX as `cited` expects it, or two works have one key.
        """
        sources = {measure: cite(measure) for measure in measures} | dict(methods or {})
        works = dict(zip(cited(first), entries(first), strict=True))
        for source in sources.values():
            for text, entry in zip(cited(source), entries(source), strict=True):
                works.setdefault(text, entry)
        _check_keys(works.values())
        texts = list(works)
        marks = {
            name: f"[{','.join(str(texts.index(text) + 1) for text in cited(source))}]"
            for name, source in sources.items()
        }
        return cls(tuple(texts), marks, tuple(works.values()))


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
    return tuple(_line(entry) for entry in entries(bibtex))


def entries(bibtex: str) -> tuple[str, ...]:
    """Return each entry of some BibTeX, as it stands there.

    Raises:
        MetaprobeError: text without an entry.
    """
    found = re.split(r"(?=^[ \t]*@\w+\s*\{)", bibtex, flags=re.MULTILINE)[1:]
    if not found:
        raise MetaprobeError(
            f"a citation holds no BibTeX entry: {bibtex[:60]!r}. Expected '@article{{key, title={{…}}, …}}'."
        )
    return tuple(entry.strip() for entry in found)


def _check_keys(works: Iterable[str]) -> None:
    """Refuse two works of one key, of which LaTeX would leave one out."""
    first: dict[str, str] = {}
    for entry in works:
        key = _key(entry)
        if key in first:
            one, other = (_fields(e).get("title") for e in (first[key], entry))
            raise MetaprobeError(f"two works have the BibTeX key {key!r}: {one!r} and {other!r}. Give one another key.")
        first[key] = entry


def _key(entry: str) -> str:
    return entry.partition("{")[2].partition(",")[0].strip()


def _line(entry: str) -> str:
    fields = _fields(entry)
    lacking = [name for name in ("author", "title", "year") if not fields.get(name)]
    if lacking:
        raise MetaprobeError(f"the BibTeX entry {_key(entry)!r} has no {' and no '.join(lacking)}.")
    authors = ", ".join(_name(author) for author in re.split(r"\s+and\s+", fields["author"]))
    venue = next((fields[name] for name in ("booktitle", "journal", "publisher", "institution") if name in fields), "")
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
        text = re.sub(r"\\([`'^\"~])\s*\{?(\w)\}?", _accented, entry[match.end() : end - 1])
        found.setdefault(match[1].lower(), " ".join(re.sub(r"[{}]", "", text).split()))
    return found


def _accented(command: re.Match[str]) -> str:
    return unicodedata.normalize("NFC", command[2] + _ACCENTS[command[1]])


def _name(author: str) -> str:
    family, _, given = author.partition(",")
    return f"{given.strip()} {family.strip()}" if given else family.strip()
