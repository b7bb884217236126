"""The cells of tutorials, which are MyST notebooks: as Jupyter shows them, without running them.

tests/test_tutorials.py runs them. A cell of commands has `!` before each, which the page leaves out.
"""

from __future__ import annotations

from typing import ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.directives.code import CodeBlock

__all__ = ["setup"]


class CodeCell(CodeBlock):
    """A code block whose language follows from what is in it."""

    option_spec: ClassVar = {**(CodeBlock.option_spec or {}), "tags": directives.unchanged}

    def run(self) -> list[nodes.Node]:
        """Return the block, in the language that it is in."""
        lines = list(self.content)
        language = "python"
        if lines[0].startswith("!"):
            lines, language = [line.removeprefix("!") for line in lines], "sh"
        self.content = StringList(lines)
        self.arguments = [language]
        return super().run()


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("code-cell", CodeCell)
    return {"parallel_read_safe": True}
