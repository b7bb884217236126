"""What must hold for the HTML of every page."""

import html
import re
from html.parser import HTMLParser

VOID = {"meta", "br", "hr", "img", "link", "input"}


class Checker(HTMLParser):
    """Collect the tags, ids and links of a page, and fail on tags that do not nest."""

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.ids, self.links = [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.ids += [value for name, value in attrs if name == "id" and value]
        self.links += [value for name, value in attrs if name in ("href", "xlink:href", "src") and value]
        assert not any(name.startswith("on") for name, _ in attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def checked(html, folder=None):
    checker = Checker()
    checker.feed(html)
    assert not checker.open and len(checker.ids) == len(set(checker.ids))
    assert not {"script", "link", "img", "iframe", "object"} & set(checker.tags)
    assert not re.search(r"(?i)https?:|//cdn|@import|url\((?!#)", re.sub(r'xmlns(:\w+)?="[^"]+"', "", html))
    for link in checker.links:
        assert link[1:] in checker.ids if link.startswith("#") else folder is None or (folder / link).is_file(), link
    return checker


def commands_of(path):
    """Return the text of a page's file without the marks that keep the words of a command whole."""
    return html.unescape(re.sub("</?span[^>]*>", "", path.read_text(encoding="utf-8")))
