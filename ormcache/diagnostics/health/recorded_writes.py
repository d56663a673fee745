"""Findings about the triggers that record writes of other programs, and about who listens for them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ormcache.database.database import Database
from ormcache.diagnostics.format.quantities import count
from ormcache.diagnostics.format.relations import display_name
from ormcache.diagnostics.health.findings import OK, WARNING, Finding
from ormcache.outside.recorded_writes import longest_wait
from ormcache.outside.triggers import TriggerState, WriteTriggers

if TYPE_CHECKING:
    from ormcache.connection.protocol import CachedConnection

#: Seconds that a recorded write waits at most where somebody listens
LONGEST_WAIT = 10.0

MOST_NAMED = 5  # tables in one sentence


def judge_triggers(connection: CachedConnection, database: Database) -> Iterator[Finding]:
    """Judge the triggers of a database, if it has any. Raises ``django.db.Error``."""
    if not database.catalog_cache.has_write_triggers:
        return
    tables = WriteTriggers(connection, database).status()
    lacking = [one.relation for one in tables if one.state in (TriggerState.MISSING, TriggerState.OUTDATED)]
    if lacking:
        named = ", ".join(map(display_name, lacking[:MOST_NAMED]))
        more = f" and {len(lacking) - MOST_NAMED} more" if len(lacking) > MOST_NAMED else ""
        yield Finding(
            WARNING,
            "triggers",
            f"{count(len(lacking), 'table')} that may be cached without current triggers: {named}{more}.",
            "Run: manage.py ormcache triggers install. Or leave it, if no other program writes to them.",
        )
    else:
        yield Finding(OK, "triggers", "All tables that may be cached have triggers.")
    waiting = longest_wait(connection)
    if waiting is not None and waiting > LONGEST_WAIT:
        yield Finding(
            WARNING,
            "triggers",
            f"A write of another program was recorded {waiting:.0f} s ago and is not invalidated: nobody listens.",
            "Run manage.py ormcache listen, or leave LISTEN on in the processes of the site.",
        )
