"""Filters of the page's templates."""

from __future__ import annotations

from django import template

from ormcache.diagnostics.page import filters
from ormcache.diagnostics.page.rendering import draw

register = template.Library()
register.filters.update(filters.register.filters)
register.filter("drawn", draw)
