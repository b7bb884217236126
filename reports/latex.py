"""Tables as LaTeX, in the manner of booktabs, with everything from outside escaped."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["escape", "latex_table"]

_ESCAPES = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "\N{MINUS SIGN}": "$-$",
    "\N{PLUS-MINUS SIGN}": r"$\pm$",
    "\N{MULTIPLICATION SIGN}": r"$\times$",
    "\N{RIGHTWARDS ARROW}": r"$\to$",
    "\N{EN DASH}": "--",
    "\N{EM DASH}": "---",
    "\N{GREEK CAPITAL LETTER DELTA}": r"$\Delta$",
    "\N{HORIZONTAL ELLIPSIS}": r"\ldots{}",
    "\N{NO-BREAK SPACE}": "~",
    "\n": " ",
}


def escape(text: str) -> str:
    """Escape text for LaTeX, and write its typographic signs as commands that every engine knows."""
    return "".join(_ESCAPES.get(letter, letter) for letter in text)


def latex_table(
    name: str,
    caption: str,
    header: Sequence[str],
    rows: Sequence[Sequence[Sequence[str]]],
    numeric: Sequence[bool],
    notes: Sequence[str] = (),
) -> str:
    r"""Write a table for `\usepackage{booktabs,array}`.

    Args:
        name: label of the table, after "tab:".
        caption: its caption.
        header: column titles.
        rows: cells as (row, column, line): the main text and the smaller lines under it.
        numeric: for each column, whether it is set right-aligned.
        notes: remarks, added to the caption.
    """
    longest = [max((len(line) for row in rows for line in row[i]), default=0) for i in range(len(header))]
    words = r">{\raggedright\arraybackslash}p{0.2\linewidth}"  # a sentence in a plain column would leave the page
    columns = "".join("r" if numeric[i] else words if longest[i] > 40 else "l" for i in range(len(header)))
    body = []
    for row in rows:
        depth = max(len(cell) for cell in row)
        for line in range(depth):
            cells = [escape(cell[line]) if line < len(cell) else "" for cell in row]
            size = r"\footnotesize " if line else ""
            # A bracket after a line break would be read as its optional argument.
            body.append(" & ".join(f"{size}{{{cell}}}" if cell else "" for cell in cells) + r" \\")
    return "\n".join(
        [
            "% needs \\usepackage{booktabs,array}",
            r"\begin{table}",
            r"  \centering",
            f"  \\caption{{{escape(' '.join([caption, *notes]))}}}",
            f"  \\label{{tab:{name}}}",
            f"  \\begin{{tabular}}{{{columns}}}",
            r"    \toprule",
            "    " + " & ".join(escape(title) for title in header) + r" \\",
            r"    \midrule",
            *(f"    {line}" for line in body),
            r"    \bottomrule",
            r"  \end{tabular}",
            r"\end{table}",
            "",
        ]
    )
