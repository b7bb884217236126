"""CSV as this project writes and reads it: text that a spreadsheet would run as a formula is made plain text."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from metaprobe.trainers.errors import UnreadableInput

__all__ = ["csv_text", "read_csv_rows"]

_FORMULA = re.compile("'*[=+@\t\r\n＝＋－＠-]")  # also as East Asian keyboards write them


def csv_text(rows: Iterable[Iterable[str | float | None]]) -> str:
    r"""Return rows as CSV: numbers in full, None as an empty cell, lines that end in "\n".

    A text that begins with =, +, -, @, a tab or a line end is a formula to a spreadsheet, which may run it. It is
    written behind an apostrophe, and so is one that begins with apostrophes before such a character: `read_csv_rows`
    takes the first one off again, so that every text comes back as it was. Numbers are no text and stay as they are.
    Half surrogate pairs, which UTF-8 has no bytes for, are written as escapes, `\udcff`.
    """
    out = _Lines()
    writer = csv.writer(out, lineterminator="\r\n")  # so that a lone \r is quoted too
    for row in rows:
        writer.writerow([_plain(cell) if isinstance(cell, str) else cell for cell in row])
    return "".join(out.lines).encode("utf-8", "backslashreplace").decode()


def read_csv_rows(path: Path | str) -> Iterator[list[str]]:
    """Yield the rows of a file that holds what `csv_text` wrote, and of any other CSV; empty lines are left out.

    Raises:
        UnreadableInput: the file is missing, no regular file, not UTF-8 or not CSV.
    """
    try:
        if not Path(path).is_file() and Path(path).exists():  # a pipe would be waited for
            raise ValueError("it is no regular file")
        with open(path, encoding="utf-8-sig", newline="") as file:
            for row in csv.reader(file, strict=True):
                if row:
                    yield [cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell for cell in row]
    except (OSError, ValueError, csv.Error) as error:
        raise UnreadableInput(f"{path}: cannot be read as a table: {error}") from error


class _Lines:
    """Takes lines of CSV, and ends them as this project's files do."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def write(self, line: str) -> None:
        self.lines.append(line.removesuffix("\r\n") + "\n")


def _plain(text: str) -> str:
    return f"'{text}" if _FORMULA.match(text) else text
