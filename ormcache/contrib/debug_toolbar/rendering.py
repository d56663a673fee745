"""The panel's statements and templates; these are found whether or not ormcache is in ``INSTALLED_APPS``."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from debug_toolbar.panels.sql.utils import reformat_sql
from django.template import Context, Engine
from django.utils.html import escape
from django.utils.safestring import SafeString
from sqlparse.exceptions import SQLParseError

from ormcache.diagnostics.format.sql import LONGEST_INDENTED, truncate


def highlight(sql: str, *, with_toggle: bool = False) -> SafeString:
    """Return a statement as the toolbar's own SQL panel shows it, cut first: sqlparse is slow on long input."""
    sql = truncate(sql, LONGEST_INDENTED)
    try:
        return SafeString(reformat_sql(sql, with_toggle=with_toggle))  # it escapes
    except SQLParseError:  # nested too deeply
        return escape(sql)


def render(name: str, values: Mapping[str, Any]) -> str:
    """Render a template. Times are shown in their own time zone, UTC."""
    return _engine().get_template(f"ormcache/{name}").render(Context(values, use_tz=False))


@cache
def _engine() -> Engine:
    return Engine(dirs=[str(Path(__file__).parent / "templates")])
