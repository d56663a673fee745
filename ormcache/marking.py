"""Marking relations before what changes them, settling them after: rules W3 to W5 on one connection."""

from __future__ import annotations

import logging
import time
import weakref
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from django.db import OperationalError

from ormcache import signals
from ormcache.catalog import EVERYTHING, SCHEMA, split_neighbour
from ormcache.database import Database
from ormcache.figures import figures_of
from ormcache.publishing import publisher
from ormcache.stores.base import StoreUnavailable
from ormcache.transaction import Transaction

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

logger = logging.getLogger("ormcache")

T = TypeVar("T")


class WriteRefused(OperationalError):
    """The store cannot be told of a write and ``ON_OUTAGE`` is ``"refuse"``: nothing was committed."""


class Marked(NamedTuple):
    """Relations that are marked for one writer, or could not be."""

    relations: frozenset[str]
    slots: tuple[bytes, ...]
    writer: bytes | None  # None: the store was away
    seconds: float  # that it took


class Marking:
    """What one connection tells the store of its writes. The thread that owns the connection owns this."""

    def __init__(self, connection: BaseDatabaseWrapper, transaction: Transaction) -> None:
        self._connection: Any = weakref.proxy(connection)
        self._transaction = transaction
        self._figures = figures_of(connection.alias)

    def around(
        self, database: Database, call: Callable[[], T], relations: frozenset[str], *, statement: bool = False
    ) -> T:
        """Run ``call``, which makes changes to these relations visible, between marking and settling them.

        ``statement``: it also makes those changes. It may have waited for a lock after it was planned, while somebody
        changed the schema: what hangs on its relations is asked for again. (A transaction is marked when all of
        its statements have run.)
        """
        marked = self.mark(database, relations)
        try:
            answer = call()
        except BaseException:
            # The database has answered: it is over. It has not: the change may still come, after any settling
            # that could be done now, so the marks stay until their leases end.
            if self.is_decided():
                self.settle(database, marked)
            raise
        self.settle(database, marked, asks_again=statement)
        return answer

    def is_decided(self) -> bool:
        """Has the database answered all that it was asked? It has if it answers another question."""
        with suppress(Exception):
            return bool(self._connection.is_usable())
        return False

    def mark(self, database: Database, relations: frozenset[str]) -> Marked:
        """W3. Raises WriteRefused."""
        began = time.perf_counter()
        if SCHEMA in relations:
            relations |= EVERYTHING
        slots = database.slots_of(relations)
        try:
            writer, version = database.stamps.mark(slots, watch=database.schema)
            more = self._more(database, relations, version)
            if more:
                added = database.slots_of(more)
                database.stamps.mark_more(added, writer)
                relations, slots = relations | more, slots + added
        except StoreUnavailable as error:
            if database.config.on_outage == "refuse":
                untold = database.refused_told.due()
                if untold is not None:
                    logger.warning("a write on %r was refused: %s%s", self._connection.alias, error, untold)
                raise WriteRefused(f"the write was not committed, because {error} (ON_OUTAGE is 'refuse')") from error
            writer = None
        return Marked(relations, slots, writer, time.perf_counter() - began)

    def settle(self, database: Database, marked: Marked, *, asks_again: bool = False) -> None:
        """W5. What the store does not take waits until it does.

        Unless the store has said that nobody has changed the schema, more may hang on the relations: then it is all.
        """
        began = time.perf_counter()
        told = True
        try:
            if marked.writer is None:
                database.stamps.renew(database.slots_of(marked.relations | EVERYTHING))
            else:
                watch = database.schema if asks_again and SCHEMA not in marked.relations else None
                version = database.stamps.settle(marked.slots, marked.writer, watch)
                if watch is not None:
                    more = self._more(database, marked.relations, version)
                    if more:
                        database.renew(more)
        except StoreUnavailable:
            complete = marked.writer is not None and not asks_again
            database.pending.add(marked.relations if complete else marked.relations | EVERYTHING)
            told = False
        seconds = marked.seconds + time.perf_counter() - began
        causes, self._transaction.causes = self._transaction.causes, {}
        self.tell(marked.relations, causes, seconds, marked=marked.writer is not None, told=told)

    def _more(self, database: Database, relations: frozenset[str], version: bytes | None) -> frozenset[str]:
        """What else hangs on these relations by the catalog as it is now; the epoch where that cannot be told."""
        if SCHEMA in relations:
            return frozenset()
        if database.is_version(version):
            if self._transaction.catalogs == {database.catalog}:
                return frozenset()
            # Statements were planned by an older catalog than the one of now.
            return self._closure(database, relations) - relations
        # Somebody has changed the schema.
        if version is None or self._transaction.in_old_snapshot:
            return EVERYTHING - relations
        database.load_catalog(self._connection)
        return self._closure(database, relations) - relations

    def _closure(self, database: Database, relations: frozenset[str]) -> frozenset[str]:
        return frozenset().union(
            *(database.closure(relations, standpoint) for standpoint in self._transaction.standpoints)
        )

    def tell(
        self,
        relations: frozenset[str],
        causes: Mapping[frozenset[str], str],
        seconds: float,
        *,
        marked: bool,
        told: bool,
    ) -> None:
        """Tell the figures and whoever listens that results of these are retired, which took so long.

        ``causes``: the first statement for each set of relations. ``marked``: they were, before. ``told``: the store
        was told at once.
        """
        if publisher.rests:
            publisher.resume()
        self._figures.wrote(relations, causes, seconds, marked=marked, told=told)
        if signals.invalidated.receivers:
            own = frozenset(name for name in relations if name != SCHEMA and split_neighbour(name)[0] is None)
            signals.tell(
                signals.invalidated,
                self._connection.__class__,
                using=self._connection.alias,
                relations=own,
                causes=tuple(causes.values()),
                took=seconds,
            )
