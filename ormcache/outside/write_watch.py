"""Notices what other programs write to PostgreSQL, MySQL and MariaDB, by what these count for each table.

Every ``OUTSIDE_WRITES_INTERVAL`` seconds one process of the deployment looks at what was counted
(:mod:`ormcache.catalog.activity`). Writes of ormcache's own leave a stamp in the table's slot, and those that are
rolled back one in a slot beside it. A table that has moved, and had none of them since the counting can have lagged
behind, was written by another program: it is invalidated, and the log says so.

If it had some, ormcache alone may have written, or another program as well. Then it is invalidated once, without a
line in the log: as soon as there was none of them for as long, or else ten minutes after the move.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import NamedTuple

from django.db import Error

from ormcache.background.worker import Databases
from ormcache.cache.keys import name_beside
from ormcache.catalog import ALL_ROWS_AND_SCHEMA
from ormcache.catalog.activity import LATEST, is_counted, is_doubtful, read_activity
from ormcache.database.database import Database
from ormcache.exceptions import StoreFull, StoreUnavailable
from ormcache.outside.connections import own_connections
from ormcache.outside.leader import Leader
from ormcache.utils.bounded import Bounded
from ormcache.utils.log_throttle import LogThrottle

logger = logging.getLogger("ormcache")

#: Seconds after which a table is invalidated that ormcache goes on writing, and perhaps another program as well
LONGEST_DOUBT = 600.0
#: Seconds for which a leader that died is missed
CLAIM = 30.0

MOST_DATABASES = 256
MOST_LOGGED = 1024  # tables about which lines in the log are remembered


class _Table:
    """What is known of one table."""

    __slots__ = ("_doubted_since", "_own", "_own_at", "value")

    def __init__(self, value: str, own: tuple[bytes | None, ...], now: float) -> None:
        self.value = value  # that was counted
        self._own = own  # the values of its slots
        self._own_at = now  # when they were last seen to change, by time.monotonic
        self._doubted_since: float | None = None  # since when it may have been written by another program

    def look(self, value: str, own: tuple[bytes | None, ...], now: float) -> bool:
        """Compare it with the last look. Return whether another program has written it for certain."""
        if self._own != own:
            self._own, self._own_at = own, now
        before, self.value = self.value, value
        if before == value:
            return False
        if now - self._own_at > LATEST and not is_doubtful(before, value):
            return True
        if self._doubted_since is None:
            self._doubted_since = now
        return False

    def ends_doubt(self, now: float) -> bool:
        """Return whether it has been doubted for long enough, and doubt it no more if so."""
        since = self._doubted_since
        if since is None or not (now - self._own_at > LATEST or now - since > LONGEST_DOUBT):
            return False
        self._doubted_since = None
        return True

    def record_own(self, stamp: bytes) -> None:
        """Record that this process has put a stamp into its slot without having written to it."""
        self._own = (stamp, *self._own[1:])


class Findings(NamedTuple):
    """What one look at a database has found."""

    outside: frozenset[str]  # tables that another program has written
    doubtful: frozenset[str]  # that one may have written


class TableWatch:
    """The tables of one database as they were at the last look."""

    def __init__(self) -> None:
        self._tables: dict[str, _Table] = {}

    @property
    def values(self) -> dict[str, str]:
        """What was counted, by table."""
        return {name: table.value for name, table in self._tables.items()}

    def resume(self, values: dict[str, str], now: float) -> None:
        """Go on from what another process has seen."""
        self._tables = {name: _Table(value, (), now) for name, value in values.items()}

    def look(self, values: dict[str, str], own: dict[str, tuple[bytes | None, ...]], now: float) -> Findings:
        """Compare what is counted now with the last look. ``own``: the values of the slots of each table."""
        outside, doubtful = set(), set()
        for name in self._tables.keys() - values.keys():
            del self._tables[name]  # dropped: a schema change of another program is not noticed by its rows
        for name, value in values.items():
            table = self._tables.get(name)
            if table is None:  # it is new, or nothing was counted before: then it may have been written
                self._tables[name] = _Table(value, own[name], now)
                continue
            if table.look(value, own[name], now):
                outside.add(name)
            if table.ends_doubt(now):
                doubtful.add(name)
        return Findings(frozenset(outside), frozenset(doubtful - outside))

    def record_own(self, names: Iterable[str], stamp: bytes) -> None:
        """Record that this process has put a stamp into the slots of tables without having written to them."""
        for name in names:
            table = self._tables.get(name)
            if table is not None:
                table.record_own(stamp)


class WriteWatch:
    """The task of the background thread. One thread at a time calls its methods."""

    title = "search for writes of other programs"

    def __init__(self) -> None:
        self._leader = Leader("outside writes", CLAIM)
        self.reset()

    def reset(self) -> None:
        """Forget what was seen."""
        self._leader.reset()
        #: identity of a database → its tables
        self._watches: Bounded[str, TableWatch] = Bounded(MOST_DATABASES)
        self._logs: Bounded[tuple[str, str], LogThrottle] = Bounded(MOST_LOGGED)

    def interval(self, databases: Databases) -> float | None:
        """Return the shortest interval that the settings of these databases name."""
        found = (one.config.outside_writes_interval for one in databases.values() if _is_watched(one))
        return min(filter(None, found), default=None)

    def run(self, databases: Databases) -> None:
        """Look at each database that this process is the leader of. Raises the last error of a database."""
        failed = None
        for alias, database in {one.identity: (alias, one) for alias, one in databases.items()}.values():
            if not _is_watched(database) or not database.config.outside_writes_interval:
                continue
            try:
                if self._leader.leads(database):
                    self._look(alias, database)
                else:
                    self._watches.pop(database.identity, None)
            except StoreUnavailable:
                self._watches.pop(database.identity, None)
            except Error as error:
                own_connections.close(alias)
                failed = error
        if failed is not None:
            raise failed

    def _look(self, alias: str, database: Database) -> None:
        connection = own_connections.get(alias, database)
        if connection is None:
            return
        counted = connection.run(lambda made: read_activity(made, database.vendor))
        # Writes of ormcache's own mark their slots before they are counted.
        values = {name: value for name, value in counted.items() if not database.rules.excludes(name)}
        own = _own_stamps(database, values)
        now, watch = time.monotonic(), self._watches.get(database.identity)
        if watch is None:
            watch = TableWatch()
            self._watches.put(database.identity, watch)
            known = _read_values(database)
            if known is None:
                database.renew(ALL_ROWS_AND_SCHEMA)  # nobody has looked for a while
            else:
                watch.resume(known, now)
        found = watch.look(values, own, now)
        for name in sorted(found.outside | found.doubtful):
            relations = database.plans.closure(frozenset({name}))
            watch.record_own(relations, database.renew_at_once(relations))
        # Writes of ormcache's own leave no stamps where there is no room for them.
        for name in () if database.strict_stamps.store.is_full else sorted(found.outside):
            database.outside_writes.record(name)
            self._report(alias, database, name)
        _write_values(database, watch.values)

    def _report(self, alias: str, database: Database, name: str) -> None:
        key = (database.identity, name)
        log = self._logs.get(key)
        if log is None:
            log = LogThrottle()
            self._logs.put(key, log)
        more = log.due()
        if more is not None:
            logger.warning("another program has written to %s of %r: it was invalidated%s", name, alias, more)


def _is_watched(database: Database) -> bool:
    return is_counted(database.vendor) and not database.server.replica and database.server.shared


def _own_stamps(database: Database, names: Iterable[str]) -> dict[str, tuple[bytes | None, ...]]:
    """Return what the slots of tables hold, and those of writes to them that were undone. Raises StoreUnavailable."""
    listed = list(names)
    slots = [slot for name in listed for slot in (database.slots.name(name), database.slots.undone(name))]
    held = database.strict_stamps.store.look_up(None, slots)[1] if slots else []
    return {name: tuple(held[2 * place : 2 * place + 2]) for place, name in enumerate(listed)}


def _name_of_values(database: Database) -> bytes:
    return name_beside(database.stamps.partition, b"counted writes", database.identity.encode())


def _read_values(database: Database) -> dict[str, str] | None:
    """Return what the last leader has seen; None: that is not known. Raises StoreUnavailable."""
    held, _ = database.strict_stamps.store.look_up(_name_of_values(database), [])
    try:
        values = None if held is None else json.loads(held)
    except ValueError:
        return None
    return values if isinstance(values, dict) else None


def _write_values(database: Database, values: dict[str, str]) -> None:
    with suppress(StoreFull):  # then the next leader finds older ones, and invalidates more
        database.strict_stamps.store.put_entry(_name_of_values(database), json.dumps(values).encode(), None)


#: The one of this process
write_watch = WriteWatch()
