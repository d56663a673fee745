"""Renders charts and reports, whatever template engines a project has set up."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from django.template import Context, Engine
from django.utils.safestring import SafeString

from ormcache.diagnostics.page.content import Page
from ormcache.diagnostics.page.drawing import Chart


@cache
def _engine() -> Engine:
    return Engine(
        dirs=[str(Path(__file__).parent / "templates")],
        libraries={"ormcache_page": f"{__package__}.filters"},
    )


def draw(chart: Chart) -> SafeString:
    """Return a chart as HTML: an SVG without colours, with its numbers as a table."""
    return _engine().get_template("ormcache_page/chart.html").render(Context({"chart": chart}))


def render_report(pages: Sequence[Page], at: float) -> str:
    """Return one HTML document about these databases that needs no other file. ``at``: seconds since the epoch."""
    sections = [(page, [draw(chart) for chart in page.charts]) for page in pages]
    return _engine().get_template("ormcache_page/report.html").render(Context({"sections": sections, "at": at}))
