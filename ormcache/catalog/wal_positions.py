"""Reads how far servers of PostgreSQL are in their write-ahead log: what a primary has written, and a replica replayed.

Whatever was visible on the primary when it gave its position is visible on a replica that has replayed that position:
https://www.postgresql.org/docs/current/hot-standby.html. Positions can be compared within one timeline of one cluster
alone: after a promotion, the servers of before can have gone farther, along another timeline.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ormcache.catalog.postgresql import asking

# What is visible may not be written to disk yet (synchronous_commit = off), so it is where the next record begins.
_WRITTEN = """
    SELECT system_identifier, ('x' || left(pg_catalog.pg_walfile_name(lsn), 8))::bit(32)::bigint,
        pg_catalog.pg_wal_lsn_diff(lsn, '0/0')::bigint
    FROM (
        SELECT CASE WHEN NOT pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_current_wal_insert_lsn() END AS lsn
    ) AS now, pg_catalog.pg_control_system()
"""
# Which timeline a replica follows is shown to everybody by the checkpoints that it has replayed, which is late: after
# a promotion, none of its positions counts until then.
_REPLAYED = """
    SELECT system_identifier, timeline_id, pg_catalog.pg_wal_lsn_diff(lsn, '0/0')::bigint
    FROM (
        SELECT CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn() END AS lsn
    ) AS now, pg_catalog.pg_control_system(), pg_catalog.pg_control_checkpoint()
"""


class Position(NamedTuple):
    """A position in the write-ahead log of one cluster."""

    system: int  # the identifier that a cluster and its replicas share
    timeline: int
    lsn: int  # bytes

    def reaches(self, other: Position) -> bool:
        """Return whether a replica at this position has replayed the other one."""
        return self[:2] == other[:2] and self.lsn >= other.lsn


def written(driver_connection: Any) -> Position | None:
    """Return the position of a primary, which nothing that is visible lies behind; None: it is no primary.

    ``driver_connection``: the driver's, in no failed transaction. Raises the driver's errors.
    """
    return _position(driver_connection, _WRITTEN)


def replayed(driver_connection: Any) -> Position | None:
    """Return up to which position the next statement sees everything; None: the server replays nothing.

    ``driver_connection``: as above. Raises the driver's errors.
    """
    return _position(driver_connection, _REPLAYED)


def _position(driver_connection: Any, sql: str) -> Position | None:
    with asking(driver_connection) as cursor:
        cursor.execute(sql)
        system, timeline, lsn = cursor.fetchone()
    return None if lsn is None else Position(system, timeline, lsn)
