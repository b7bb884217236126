"""Tables as LaTeX, in the manner of booktabs, with everything from outside escaped."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader

from reports.page.parts import PageTable
from trainers.formats.text import typeset

__all__ = ["escape", "latex_table"]

# fmt: off
_ESCAPES = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": r"\textless{}", ">": r"\textgreater{}", "\n": " ",
    "−": "$-$", "±": r"$\pm$", "×": r"$\times$", "→": r"$\to$", "Δ": r"$\Delta$", "²": "$^2$", "≥": r"$\ge$",
    "–": "--", "—": "---", "…": r"\ldots{}", "\N{NO-BREAK SPACE}": "~",
}
# fmt: on
_WORDS = r">{\raggedright\arraybackslash}p{0.2\linewidth}"  # a sentence in a plain column would leave the page


def escape(text: str) -> str:
    """Escape text for LaTeX, make visible what does not print, and write typographic signs as commands it knows."""
    return "".join(_ESCAPES.get(letter, letter) for letter in typeset(text))


def latex_table(table: PageTable) -> str:
    r"""Write a table for `\usepackage{booktabs,array}`, its notes after its caption."""
    columns, body = "", []
    for place in range(len(table.header)):
        cells = [row[place] for row in table.rows]
        long = any(len(line) > 40 for cell in cells for line in (cell.text, *cell.lines))
        columns += "r" if any(cell.number for cell in cells) else _WORDS if long else "l"
    for row in table.rows:
        texts = [(cell.text, *cell.lines) for cell in row]
        for line in range(max(map(len, texts))):
            cells = [escape(text[line]) if line < len(text) else "" for text in texts]
            size = r"\footnotesize " * bool(line)
            # A bracket after a line break would be read as its optional argument.
            body.append(" & ".join(f"{size}{{{cell}}}" if cell else "" for cell in cells) + r" \\")
    environment = Environment(loader=FileSystemLoader(Path(__file__).parent / "templates"), keep_trailing_newline=True)
    told = {"caption": escape(" ".join([table.caption, *table.notes])), "header": [*map(escape, table.header)]}
    return environment.get_template("table.tex.j2").render(**told, name=table.name, columns=columns, body=body)
