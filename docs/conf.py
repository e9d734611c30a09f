"""Sphinx: furo, MyST. The reference pages are generated from the code before the build."""

import sys
from importlib.metadata import version as installed
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from generate import write_all

project = "weightsearch"
author = "the weightsearch developers"
version = release = installed("weightsearch")
extensions = ["myst_parser"]
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = "weightsearch"
smartquotes = False
html_copy_source = False
html_show_sphinx = False
exclude_patterns = ["_build"]
suppress_warnings: list[str] = []
nitpicky = True

write_all(Path(__file__).parent / "reference")
