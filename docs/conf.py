"""The documentation: what Sphinx needs to know; the pages that are written at build time are from `_ext`."""

import os
import sys
from importlib.metadata import version as installed
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE / "_ext"), str(HERE.parent / ".ci/src")]
os.environ["COLUMNS"] = "90"  # of the commands' help

project = "metaprobe"
author = "The metaprobe developers"
copyright = author
version = release = installed("metaprobe")

extensions = ["myst_parser", "sphinx.ext.autodoc", "code_cells", "declared", "docstrings"]
exclude_patterns = ["_build", "_ext"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
suppress_warnings = ["myst.header"]  # pages made of a README begin with its own headings

default_role = "code"  # docstrings write names in single backticks
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # signatures would be longer than what they are of; docstrings say shapes
autodoc_class_signature = "separated"

nitpicky = True
smartquotes = False  # an option is --option
nitpick_ignore_regex = [("py:.*", ".*")]  # types in signatures, many of them of other libraries; no page links to one
html_theme = "furo"
html_title = "metaprobe"
html_static_path = ["_static"]
html_css_files = ["metaprobe.css"]
html_copy_source = False
html_show_sphinx = False
