"""A work that is cited, as a record: it writes its BibTeX entry and its line in the references."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field

from metaprobe.trainers.formats.text import typeset

__all__ = ["Work"]

_VENUES = {"article": "journal", "inproceedings": "booktitle", "book": "publisher", "techreport": "institution"}
_ACCENTS = {"\u0300": "`", "\u0301": "'", "\u0302": "^", "\u0303": "~", "\u0308": '"', "\u030c": "v ", "\u0327": "c "}
_LETTERS = {"ø": r"{\o}", "Ø": r"{\O}", "ß": r"{\ss}", "ł": r"{\l}", "Ł": r"{\L}", "æ": r"{\ae}", "å": r"{\aa}"}
_LETTERS |= {"\N{EN DASH}": "--", "&": r"\&", "%": r"\%", "#": r"\#", "_": r"\_"}


@dataclass(frozen=True)
class Work:
    """A paper, a book or a report.

    Attributes:
        key: of its BibTeX entry.
        kind: of the entry: "article", "inproceedings", "book", "techreport" or "misc".
        authors: as "Family, Given", each.
        title: in braces what must keep its capitals.
        venue: journal, proceedings, publisher or institution; "" for none.
        year: of it.
        fields: further fields of the entry, as volume and pages.
    """

    key: str
    kind: str
    authors: tuple[str, ...]
    title: str
    venue: str
    year: int
    fields: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def line(self) -> str:
        """Its line in the references: "Authors. Title. Venue, year."."""
        names = [" ".join(reversed([part.strip() for part in author.split(",", 1)])) for author in self.authors]
        title = self.title.translate({ord("{"): None, ord("}"): None})
        ending = f"{self.venue}, {self.year}." if self.venue else f"{self.year}."
        return f"{', '.join(names)}. {title}{'' if title.endswith(('?', '!')) else '.'} {ending}"

    @property
    def bibtex(self) -> str:
        """Its BibTeX entry, in letters that every BibTeX reads."""
        venue = {_VENUES.get(self.kind, "howpublished"): self.venue} if self.venue else {}
        told = {"author": " and ".join(self.authors), "title": self.title} | venue | dict(self.fields)
        lines = [f"  {name} = {{{_plain(value)}}}," for name, value in told.items()]
        return "\n".join([f"@{self.kind}{{{self.key},", *lines, f"  year = {{{self.year}}}", "}"])


def _plain(text: str) -> str:
    r"""Write letters with accents as BibTeX's commands: "João" as "Jo{\\~a}o"."""
    found = ""
    for letter in typeset(text):
        base, *marks = unicodedata.normalize("NFD", letter)
        known = len(marks) == 1 and marks[0] in _ACCENTS
        found += f"{{\\{_ACCENTS[marks[0]]}{base}}}" if known else _LETTERS.get(letter, letter)
    return found
