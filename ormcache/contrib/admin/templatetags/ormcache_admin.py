"""How the page writes numbers and times."""

from __future__ import annotations

import datetime

from django import template
from django.utils import timezone

from ormcache.insight import quantities

register = template.Library()
register.filter("duration", quantities.duration)


@register.filter
def share(value: float | None) -> str:
    """A part of 1, as per cent."""
    return "\N{EN DASH}" if value is None else quantities.percent(value)


@register.filter
def number(value: float) -> str:
    return f"{value:,.0f}"


@register.filter
def local(seconds: float) -> datetime.datetime:
    """Seconds since the epoch, in the present time zone, whether or not the project uses them."""
    return timezone.localtime(datetime.datetime.fromtimestamp(seconds, datetime.UTC))


@register.filter
def ago(seconds: float, now: float) -> str:
    """How long before ``now`` a moment was, in one unit."""
    return quantities.duration(max(float(round(now - seconds)), 0.0)).partition(" ")[0] + _unit(max(now - seconds, 0.0))


def _unit(seconds: float) -> str:
    for unit, limit in ((" s", 59.5), (" min", 3599.5), (" h", 86_399.5)):
        if seconds < limit:
            return unit
    return " d"


@register.filter
def unlocalised(value: float) -> str:
    """A number for SVG, which knows no decimal commas."""
    return str(value)
