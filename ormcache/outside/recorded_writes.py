"""Invalidates what triggers have recorded in the outbox, after the COMMIT of whoever wrote it.

Results may be stale between that COMMIT and the invalidation. Afterwards none is: a query that does not see the write
has begun before the row was visible in the outbox, and the stamps of its result were read before that. The
invalidation replaces those stamps, whether the result is stored by then or only later.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from ormcache.catalog import ALL_ROWS
from ormcache.catalog.outbox import MOST_ROWS, delete, find_outbox, run
from ormcache.database.database import Database
from ormcache.outside.connections import OwnConnection

if TYPE_CHECKING:
    from ormcache.connection.protocol import CachedConnection

#: What is said to be the cause of such an invalidation
CAUSE = "another program's write, which a trigger has recorded"

# Seconds since they were written, by the database's clock alone. Rows of everything, and of writes that are not
# finished, are those of writers that found the store unavailable.
_AGE = {
    "postgresql": "extract(epoch FROM clock_timestamp() - written_at)::float8",
    "mysql": "TIMESTAMPDIFF(MICROSECOND, written_at, UTC_TIMESTAMP(6)) / 1000000",
}
_READ = (
    "SELECT id, relation, {age} FROM {table} WHERE NOT unfinished AND LEFT(relation, 1) <> '*' ORDER BY id LIMIT {most}"
)


class SettledWrites(NamedTuple):
    """What was found in the outbox and invalidated."""

    relations: frozenset[str]  # that were recorded
    affected: frozenset[str]  # what was invalidated
    lags: tuple[float, ...]  # seconds from the write to the invalidation, of each row
    is_all: bool  # False: there may be more rows


def settle_recorded(own: OwnConnection, database: Database, table: str) -> SettledWrites | None:
    """Invalidate what the oldest rows of an outbox name, and delete these rows. None: there are none.

    ``table``: the outbox, as SQL names it. Raises ``django.db.Error`` and StoreUnavailable: the rows stay then.
    """
    rows = own.execute(_READ.format(age=_AGE[own.vendor], table=table, most=MOST_ROWS))
    if not rows:
        return None
    began = time.perf_counter()
    relations = frozenset(str(relation) for _, relation, _ in rows)
    affected = _affected(own, database, relations)
    database.stamps.renew(database.slots.names(affected))
    seconds = time.perf_counter() - began
    own.connection.ormcache.observer.invalidation(
        affected, {affected: CAUSE}, seconds=seconds, marked=False, published=True
    )
    with own.connection.wrap_database_errors:
        delete(own.driver_connection, own.vendor, table, [number for number, *_ in rows])
    lags = tuple(max(0.0, float(age)) + seconds for *_, age in rows)
    database.outside_writes.record_lags(lags)
    return SettledWrites(relations, affected, lags, is_all=len(rows) < MOST_ROWS)


def longest_wait(connection: CachedConnection) -> float | None:
    """Return for how many seconds the oldest row has waited; None: there is none. Raises ``django.db.Error``."""
    vendor, driver_connection = connection.vendor, connection.connection
    with connection.wrap_database_errors:
        table = find_outbox(driver_connection, vendor)
        rows = [] if table is None else run(driver_connection, _READ.format(age=_AGE[vendor], table=table, most=1))
    return float(rows[0][2]) if rows else None


def _affected(own: OwnConnection, database: Database, relations: frozenset[str]) -> frozenset[str]:
    """Return what a write to these relations may change; everything if one of them is unknown.

    Raises ``django.db.Error`` and StoreUnavailable.
    """
    cache = database.catalog_cache
    part = cache.part
    if part is None or not cache.check_part(part) or not relations <= part.catalog.relations:
        cache.load(own.connection)
        part = cache.part
    if part is None or not relations <= part.catalog.relations:
        return ALL_ROWS  # of a table that has another name by now
    return database.plans.closure(relations)
