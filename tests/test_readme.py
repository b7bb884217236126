"""What the README says is there."""

import re
from pathlib import Path

import pytest

from metaprobe.analyses import MEASURES
from metaprobe.probe.cli import COMMANDS

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_command_that_it_names_exists():
    named = set(re.findall(r"`metaprobe (\w+)", README))
    assert named <= set(COMMANDS)
    assert named >= set(COMMANDS) - {"train"}
    assert set(MEASURES) >= set(re.findall(r"analyses\.(\w+)\(", README))


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"])
def test_links_lead_to_files(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)]+)\)", text) if "://" not in link]
    assert [link for link in links if not (ROOT / link.partition("#")[0]).exists()] == []
    assert name != "README.md" or links
