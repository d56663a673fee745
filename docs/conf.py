"""How Sphinx builds the site out of the Markdown pages beside this file: ``make docs``."""

from __future__ import annotations

import re
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

import ormcache

HERE = Path(__file__).parent

project = "ormcache"
author = "The ormcache authors"
project_copyright = "The ormcache authors"
version = release = ormcache.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["demo", "_build"]

myst_enable_extensions = ["attrs_inline", "colon_fence"]
# The anchors that GitHub gives to headings, so that a link is right in both places.
myst_heading_anchors = 4

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"

# A cross-reference that leads nowhere is a warning, and warnings are errors. Other projects' names have no address
# here: their inventories would have to be fetched.
nitpicky = True
nitpick_ignore_regex = [
    ("py:.*", r"(?!ormcache\b).*"),
    ("py:.*", r"ormcache\.[\w.]+\.[A-Z]"),  # type variables
]

html_theme = "furo"
html_title = "ormcache"
html_static_path = ["_static"]
html_css_files = ["tables.css"]
html_copy_source = False
html_show_sphinx = False
pygments_style = "friendly"
pygments_dark_style = "monokai"


def inline_drawings(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Put drawings into the page itself: as pictures they would not follow the reader's choice of light or dark."""
    if app.builder.format != "html":
        return
    for image in list(doctree.findall(nodes.image)):
        path = HERE / image["uri"]
        if path.parent == HERE / "drawings":
            svg = re.sub(r"<\?xml.*?\?>\s*", "", path.read_text(encoding="utf-8"))
            image.replace_self(nodes.raw("", f'<div class="drawing">{svg}</div>', format="html"))


def check_nothing_is_fetched(app: Sphinx, error: Exception | None) -> None:
    """A reader of the site is not told of to others: its pages load nothing from elsewhere."""
    if error is not None or app.builder.format != "html":
        return
    loading = re.compile(
        r"""<(?:script|img|iframe|link rel="(?:stylesheet|preload|icon))[^>]*(?:src|href)="(?:https?:)?//"""
    )
    for page in app.outdir.rglob("*.html"):
        if loading.search(page.read_text(encoding="utf-8")):
            raise ExtensionError(f"{page.name} loads something from elsewhere")
    for sheet in app.outdir.rglob("*.css"):
        if re.search(r"""(?:@import|url\()\s*["']?(?:https?:)?//""", sheet.read_text(encoding="utf-8")):
            raise ExtensionError(f"{sheet.name} loads something from elsewhere")


def setup(app: Sphinx) -> None:
    app.connect("doctree-resolved", inline_drawings)
    app.connect("build-finished", check_nothing_is_fetched)
