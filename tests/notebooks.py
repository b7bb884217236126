"""The tutorials of docs/, which are MyST notebooks, run cell by cell."""

import ast
import shlex
from pathlib import Path

import jupytext

from metaprobe.probe.cli import main

DOCS = Path(__file__).resolve().parents[1] / "docs"
EXPECTED = "# → "

SMALL = {
    "--iterations": "3", "--meta-batch": "2", "--filters": "4", "--val-tasks": "4", "--tasks": "12",
    "--n-query": "2", "--replicates": "40",
}  # fmt: skip
"""Sizes in which commands are run, whatever the text says."""


def cells(name):
    """Return the code cells of a page: their text, and their tags."""
    notebook = jupytext.read(DOCS / name, fmt="md:myst")
    return [(cell.source, cell.metadata.get("tags", [])) for cell in notebook.cells if cell.cell_type == "code"]


def tagged(name, tag):
    """Return the one cell of a page that has a tag."""
    (source,) = (source for source, tags in cells(name) if tag in tags)
    return source


def run_page(name, scope=None):
    """Run the cells of a page in the working folder, commands in small sizes; return what is defined then."""
    scope = {} if scope is None else scope
    for source, _ in cells(name):
        if source.startswith("!"):
            for line in source.splitlines():
                run_command(line)
        else:
            run_code(source, scope, f"{name}: {source[:40]!r}")
    return scope


def run_command(line):
    """Run a line "!metaprobe …" in this process."""
    program, *words = shlex.split(line.removeprefix("!"))
    assert program == "metaprobe", line
    words = [SMALL.get(before, word) for before, word in zip(["", *words], words, strict=False)]
    assert main(words) == 0, words


def run_code(source, scope, where):
    """Run a cell; where its last line is "# → VALUE", its last expression must be of that value."""
    tree = ast.parse(source, where)
    last = tree.body[-1]
    found = None
    if isinstance(last, ast.Expr):
        exec(compile(ast.Module(tree.body[:-1], []), where, "exec"), scope)
        found = eval(compile(ast.Expression(last.value), where, "eval"), scope)
    else:
        exec(compile(tree, where, "exec"), scope)
    if (told := source.splitlines()[-1]).startswith(EXPECTED):
        assert repr(found) == told.removeprefix(EXPECTED), where
