"""The cells of tutorials, which are MyST notebooks: as Jupyter shows them, without running them.

tests/test_tutorials.py runs them. A cell of commands has `!` before each, which the page leaves out.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar

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


_COMMANDS = re.compile(r'<div class="highlight-sh .*?</pre>', re.S)
_OPTION = re.compile(r"(?<=[\s>])--\w[\w-]*")


def _marked(block: re.Match[str]) -> str:
    return _OPTION.sub(r'<span class="option">\g<0></span>', block[0])


def _keep_options_whole(app: Sphinx, page: str, template: str, context: dict[str, Any], tree: nodes.document) -> None:
    """Mark the options of commands, which wrap on a narrow page and would break behind the hyphens of an option."""
    if "body" in context:
        context["body"] = _COMMANDS.sub(_marked, context["body"])


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive, and what is done to commands."""
    app.add_directive("code-cell", CodeCell)
    app.connect("html-page-context", _keep_options_whole)
    return {"parallel_read_safe": True}
