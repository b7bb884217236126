"""The pages of the gallery, which stand beside their tables in reports/gallery, as pages of the documentation."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from pages.markdown import contents

__all__ = ["copy_reports", "linked", "pages"]

_GALLERY = Path(__file__).resolve().parents[3] / "reports" / "gallery"
_IN_DOCS = re.compile(r"\]\((?:\.\./)+reports/gallery/([\w-]+?)(?:/README)?\.md\)")
_LINK = re.compile(r"\[([^\]]*)\]\(([^)#:]+)\)")
_INTRODUCTION = """# Gallery

What was measured with metaprobe, each page with the command that makes it again. Tables and checkpoints are in the
repository, in `reports/gallery`.
"""


def pages() -> dict[str, str]:
    """Return the pages by their names."""
    texts = {path.parent.name: path.read_text(encoding="utf-8") for path in sorted(_GALLERY.glob("*/README.md"))}
    texts["domains"] = (_GALLERY / "domains.md").read_text(encoding="utf-8")
    made = {f"gallery/{name}": _LINK.sub(lambda found, name=name: _link(name, *found.groups()), text)
            for name, text in texts.items()}  # fmt: skip
    listed = "\n".join(f"- [{text.splitlines()[0].removeprefix('# ')}]({name}.md)" for name, text in texts.items())
    return {"gallery/index": "\n\n".join((_INTRODUCTION, listed, contents(texts))), **made}


def linked(text: str) -> str:
    """Return a page's text whose links to the repository's gallery lead to its pages here."""
    return _IN_DOCS.sub(r"](/gallery/\1.md)", text)


def copy_reports(site: Path) -> None:
    """Put the reports, which are pages of their own, beside the pages that lead to them."""
    for path in _GALLERY.glob("*/report.html"):
        (site / "gallery" / path.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, site / "gallery" / path.parent.name / path.name)


def _link(name: str, words: str, target: str) -> str:
    """Return a link as it is here: to another page, to the report, to a picture; to what is not here, its words."""
    if target == "report.html":
        return f'<a href="{name}/report.html">{words.strip("`")}</a>'
    if target.endswith(".png"):
        return f"[{words}](../../reports/gallery/{target})"
    return f"[{words}]({target.removeprefix('../')}.md)" if target.startswith("../") else words
