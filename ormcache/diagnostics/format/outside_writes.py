"""Writes of other programs that were noticed, as people read it."""

from __future__ import annotations

import datetime
from collections.abc import Mapping

from ormcache.diagnostics.format.quantities import count
from ormcache.diagnostics.format.relations import display_name

MOST_NAMED = 5  # tables


def describe_outside_writes(times: Mapping[str, int], last: datetime.datetime) -> str:
    """Return which tables were written how often, and when last.

    ``times``: by relation, the highest first. ``last``: in UTC.
    """
    named = ", ".join(f"{display_name(relation)} {number:,}" for relation, number in list(times.items())[:MOST_NAMED])
    more = f" and {count(len(times) - MOST_NAMED, 'other table')}" if len(times) > MOST_NAMED else ""
    noticed = f"{count(sum(times.values()), 'write')} of other programs noticed"
    return f"{noticed}, the last at {last:%Y-%m-%d %H:%M:%S} UTC: {named}{more}"
