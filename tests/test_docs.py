"""The documentation builds without a warning, has a page for all that is declared, and its links lead somewhere."""

import html
import importlib
import inspect
import re
import subprocess
import sys
from html.parser import HTMLParser
from urllib.parse import unquote

import pytest

from metaprobe.analyses.measures.measure import INVARIANCES, MEASURES
from metaprobe.probe.cli import COMMANDS
from metaprobe.reports.registry import STUDIES
from metaprobe.trainers.algorithms import ALGORITHMS
from metaprobe.trainers.update_rules import UPDATE_RULES
from tests.notebooks import DOCS
from tests.tiny_study import made_once

sys.path.append(str(DOCS / "_ext"))
from docstrings import as_rest
from pages.modules import MODULES


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site, built with warnings as errors; once, as two processes would write their pages over each other."""

    def build(out):
        words = ("-W", "--keep-going", "-q", "-d", str(out / "doctrees"), "-b", "html", str(DOCS), str(out / "html"))
        done = subprocess.run(
            [sys.executable, "-m", "sphinx", *words], cwd=DOCS.parent, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr

    return made_once(tmp_path_factory, "site", build) / "html"


class Page(HTMLParser):
    """What a page leads to, and the places in it."""

    def __init__(self, path):
        super().__init__()
        self.links, self.places = [], set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        told = dict(attributes)
        self.places |= {told[name] for name in ("id", "name") if told.get(name)}
        self.links += [told[name] for name in ("href", "src") if told.get(name)]


def text_of(path):
    """Return the words of a page, without its navigation."""
    body = re.search(r"<article.*?</article>", path.read_text(encoding="utf-8"), re.S)[0]
    return " ".join(html.unescape(re.sub(r"<[^>]+>", "", body)).split())


def test_links_lead_to_pages_and_places(site):
    paths = {path.resolve(): None for path in site.rglob("*.html") if not re.search("/gallery/.*/report", str(path))}
    pages = {path: Page(path) for path in paths}
    lost = []
    for path, page in pages.items():
        for link in page.links:
            target, _, place = unquote(link).partition("#")
            if "://" in link or link.startswith(("data:", "mailto:")):
                continue
            found = (path.parent / target.partition("?")[0]).resolve() if target else path
            there = found.exists() and (not place or found not in pages or place in pages[found].places)
            lost += [] if there else [f"{path.relative_to(site.resolve())}: {link}"]
    assert len(pages) > 100
    assert lost == []


def test_options_of_commands_are_words_that_no_narrow_page_breaks(site):
    page = (site / "figures.html").read_text(encoding="utf-8")
    assert '</span><span class="option">--figure</span><span class="w"> </span>freezing.pdf' in page
    assert "metaprobe freeze runs/demo/maml-glyphs --figure freezing.pdf" in text_of(site / "figures.html")


def test_every_measure_has_its_page(site):
    listed = text_of(site / "measures" / "index.html")
    for name, measure in MEASURES.items():
        assert measure.misleads, f"{name}: say when it misleads"
        told = text_of(site / "measures" / f"{name}.html")
        for expected in (measure.misleads, *(work.title.translate({123: None, 125: None}) for work in measure.works)):
            assert " ".join(expected.split()) in told, (name, expected)
        assert [word for word, what in INVARIANCES.items() if what in told] == [
            word for word in INVARIANCES if word in measure.invariances
        ]
        assert name in listed


def test_every_learner_has_its_page(site):
    for kind, entries in (("algorithms", ALGORITHMS), ("update_rules", UPDATE_RULES)):
        listed = text_of(site / kind / "index.html")
        for name, entry in entries.items():
            told = text_of(site / kind / f"{name}.html")
            assert entry.summary in told and entry.citation in told and entry.summary in listed


def test_every_command_has_its_options(site):
    for name in (*COMMANDS, *(f"study-{name}" for name in STUDIES)):
        told = text_of(site / "commands" / f"{name}.html")
        assert f"usage: metaprobe {name.replace('-', ' ')}" in told
        assert "show this help message" in told
    assert "--symmetric-head" in text_of(site / "commands" / "train.html")
    assert "--one-query-tasks" in text_of(site / "commands" / "study-zhou2021.html")


def test_every_public_module_has_its_names(site):
    for name in MODULES:
        told = text_of(site / "api" / f"{name}.html")
        module = importlib.import_module(name)
        public = {word: getattr(module, word) for word in module.__all__}
        wanted = {word for word, thing in public.items() if inspect.isclass(thing) or inspect.isfunction(thing)}
        assert {word for word in wanted if word not in told} == set(), name


def test_the_gallery_has_its_reports(site):
    names = {path.parent.name for path in (DOCS.parent / "reports" / "gallery").glob("*/report.html")}
    assert names and all((site / "gallery" / name / "report.html").exists() for name in names)
    assert "reuse index" in text_of(site / "gallery" / "raghu2020-rate-and-head.html")


def test_docstrings_keep_what_is_plain():
    lines = [
        "Files `a*` and *.h5, x_ and |x|, the *sum*.",
        "",
        "    e = x*y",
        "",
        "Args:",
        "    a: b*",
        "        c",
        "Raises:",
    ]
    assert as_rest(lines) == [
        r"Files `a*` and \*.h5, x\_ and \|x\|, the *sum*.", "", "::", "", "    e = x*y", "", "**Args**", "",
        r"* ``a``: b\*", "  c", "**Raises**", "",
    ]  # fmt: skip
