"""Template filters: numbers and times as people read them."""

from __future__ import annotations

import datetime

from django import template
from django.utils import timezone

from ormcache.diagnostics.format import quantities

register = template.Library()
register.filter("duration", quantities.duration)


@register.filter
def share(value: float | None) -> str:
    """Format a number from 0 to 1 as per cent."""
    return "\N{EN DASH}" if value is None else quantities.percent(value)


@register.filter
def number(value: float) -> str:
    """Format a whole number with thousands separators."""
    return f"{value:,.0f}"


@register.filter
def local(seconds: float) -> datetime.datetime:
    """Convert seconds since the epoch to the current time zone, whether or not the project uses time zones."""
    return timezone.localtime(datetime.datetime.fromtimestamp(seconds, datetime.UTC))


@register.filter
def ago(seconds: float, now: float) -> str:
    """Format how long before ``now`` a time was, in one unit."""
    return quantities.duration(max(float(round(now - seconds)), 0.0)).partition(" ")[0] + _unit(max(now - seconds, 0.0))


def _unit(seconds: float) -> str:
    for unit, limit in ((" s", 59.5), (" min", 3599.5), (" h", 86_399.5)):
        if seconds < limit:
            return unit
    return " d"


@register.filter
def unlocalised(value: float) -> str:
    """Format a number for SVG, which has no decimal commas."""
    return str(value)
