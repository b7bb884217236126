"""Pages written at build time from what the project declares, so that none can be forgotten or say something else.

A page for each measure, algorithm, update rule, command and public module, and for each page of the gallery, each kind
in a folder of its own, which git does not know.
"""

from __future__ import annotations

from pathlib import Path

from pages import commands, gallery, learners, measures, modules
from sphinx.application import Sphinx

__all__ = ["FOLDERS", "setup"]

FOLDERS = ("measures", "algorithms", "update_rules", "commands", "api", "gallery")
_MAKERS = (measures.pages, learners.pages, commands.pages, modules.pages, gallery.pages)


def _write(app: Sphinx) -> None:
    """Write the pages, those that have changed alone, and take away those that are no longer made."""
    root = Path(app.srcdir)
    wanted = {root / f"{name}.md": f"{text.rstrip()}\n" for make in _MAKERS for name, text in make().items()}
    for path in (path for folder in FOLDERS for path in (root / folder).glob("*.md")):
        if path not in wanted:
            path.unlink()
    for path, text in wanted.items():
        path.parent.mkdir(exist_ok=True)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def _link_gallery(app: Sphinx, docname: str, source: list[str]) -> None:
    source[0] = gallery.linked(source[0])


def _copy_reports(app: Sphinx, failed: Exception | None) -> None:
    if failed is None and app.builder.format == "html":
        gallery.copy_reports(Path(app.outdir))


def setup(app: Sphinx) -> dict[str, bool]:
    """Have the pages written before any is read."""
    app.connect("builder-inited", _write)
    app.connect("source-read", _link_gallery)
    app.connect("build-finished", _copy_reports)
    return {"parallel_read_safe": True}
