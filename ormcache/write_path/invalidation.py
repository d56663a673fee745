"""Marking relations before a write becomes visible and settling them after it, on one connection.

``docs/how-it-works.md`` has the protocol and the argument for it.
"""

from __future__ import annotations

import logging
import time
import weakref
from collections.abc import Callable, Mapping
from contextlib import suppress
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from ormcache.background.excluded_marks import mark_before_long
from ormcache.cache.stamps import new_writer
from ormcache.catalog import ALL_ROWS, ALL_ROWS_AND_SCHEMA, EPOCH, SCHEMA
from ormcache.database.catalog_cache import CatalogCache
from ormcache.database.catalog_parts import CatalogPart
from ormcache.database.database import Database
from ormcache.database.own_commits import PendingCommit
from ormcache.exceptions import StoreFull, StoreUnavailable, WriteRefused
from ormcache.session.observer import Observer
from ormcache.session.transaction import ANY_ROWS, Transaction, WrittenRows
from ormcache.utils import drivers
from ormcache.write_path.commit_accounts import CommitAccounts
from ormcache.write_path.outbox_writer import OutboxRows, OutboxWriter

if TYPE_CHECKING:
    from ormcache.connection.protocol import CachedConnection

logger = logging.getLogger("ormcache")

T = TypeVar("T")


class Announces(Enum):
    """How a commit to a SQLite file is announced."""

    LOCKED = 1  # of a transaction that has SQLite's lock for writers, so that it is known which commit is the next one
    UNLOCKED = 2  # of statements that take that lock by themselves


class MarkedWrite(NamedTuple):
    """A write whose relations are marked for one writer, or could not be marked."""

    relations: frozenset[str]
    slots: tuple[bytes, ...]
    writer: bytes | None  # None: the store was unavailable
    seconds: float  # that marking took
    rows: OutboxRows = OutboxRows()  # of a write that could not be marked
    #: whether the store had no room for marks, so that slots were emptied instead: they can be filled before the COMMIT
    emptied: bool = False
    commit: PendingCommit | None = None  # SQLite: whose slot is the last one

    @property
    def is_protected(self) -> bool:
        """Whether nothing is stored under its slots until it is settled."""
        return self.writer is not None and not self.emptied

    def joined(self, later: MarkedWrite) -> MarkedWrite:
        """Return both as one write, which is marked if both are."""
        return MarkedWrite(
            self.relations | later.relations,
            tuple(dict.fromkeys(self.slots + later.slots)),
            self.writer if self.writer == later.writer else None,
            self.seconds + later.seconds,
            self.rows,  # of the later write there are none, in a pipeline
            self.emptied or later.emptied,
        )


class UnfinishedWrite(NamedTuple):
    """A marked write that the driver has returned from and the server may still be running."""

    database: Database
    marked: MarkedWrite
    causes: dict[frozenset[str], str]  # see Transaction.causes
    cursor: Callable[[], Any]  # a weak reference to the cursor whose results are still to come


class Invalidator:
    """Invalidates what one connection writes. The thread that owns the connection owns this."""

    def __init__(self, connection: CachedConnection, transaction: Transaction, observer: Observer) -> None:
        self._connection: CachedConnection = weakref.proxy(connection)
        self._transaction = transaction
        self._observer = observer
        self.outbox = OutboxWriter(connection)
        #: SQLite: accounts for what commits
        self.accounts = CommitAccounts(connection)
        #: settled when a later statement was answered, or the cursor has no more results
        self.unfinished: UnfinishedWrite | None = None

    def run_marked(
        self,
        database: Database,
        call: Callable[[], T],
        relations: frozenset[str],
        rows: WrittenRows = ANY_ROWS,
        *,
        is_statement: bool = False,
        is_commit: bool = False,
        announces: Announces | None = None,
        cursor: Any = None,
    ) -> T:
        """Run ``call``, which makes changes to these relations visible, between marking and settling them.

        ``rows``: to which of their rows. ``is_statement``: it also makes those changes. It may have waited for a lock
        after it was planned, while the schema was changed, so what depends on its relations is looked up once more. (A
        transaction is marked when all of its statements have run.) ``is_commit``: it ends the transaction that has made
        them, and changes nothing itself. ``announces``: see :meth:`mark`. ``cursor``: that ``call`` runs on; it may
        have results to come.

        Raises WriteRefused, and what ``call`` raises.
        """
        marked = self.mark(database, relations, rows, is_commit=is_commit, announces=announces)
        has_returned = False
        try:
            answer = call()
            has_returned = True
            self._settle_or_defer(database, marked, cursor, recheck_schema=is_statement)
        except BaseException as error:
            if has_returned:
                # What has interrupted the settling must not prevent it. Doing it once more is harmless.
                self._settle_or_defer(database, marked, cursor, recheck_schema=is_statement)
            else:
                self.settle_failed(database, marked, error)
            raise
        return answer

    def run_excluded(self, database: Database, call: Callable[[], T], relations: frozenset[str]) -> T:
        """Run ``call``, which makes changes visible to relations that the settings exclude from the cache.

        If the store is unavailable it runs all the same, whatever ``ON_OUTAGE`` says: these tables have been taken out
        of what depends on the store. Raises WriteRefused only where the schema has changed, so that more is written.
        """
        excluded, more = database.excluded, None
        try:
            was_asked, schema = excluded.mark(relations)
            if was_asked:
                more = self._further_relations(database, relations, schema)
            is_marked = True
        except StoreUnavailable:
            is_marked, schema = False, None
        try:
            return self.run_marked(database, call, more) if more else call()
        finally:
            # Whatever became of it: it may be visible, or become so within a lease.
            if is_marked:
                try:
                    excluded.record_write(relations, schema)
                except StoreUnavailable:
                    is_marked = False
            if not is_marked:
                database.postpone(relations, unanswered=database.config.lease)
            mark_before_long(self._connection.alias, database)

    def _settle_or_defer(self, database: Database, marked: MarkedWrite, cursor: Any, *, recheck_schema: bool) -> None:
        """Settle what the driver has returned from, unless the server may still be running it."""
        if self._may_be_running(cursor):
            self._defer(database, marked, cursor)
        else:
            self.settle(database, marked, recheck_schema=recheck_schema)

    # Statements that go on after the driver has returned ------------------------------------

    def _may_be_running(self, cursor: Any) -> bool:
        """Return whether the server may still be running what the driver has just returned from."""
        connection = self._connection
        if connection.vendor == "postgresql":
            return drivers.in_pipeline(connection.connection)
        return connection.vendor == "mysql" and cursor is not None and drivers.has_results_to_come(connection, cursor)

    def _defer(self, database: Database, marked: MarkedWrite, cursor: Any) -> None:
        """Leave a write marked until :meth:`settle_unfinished`."""
        causes = self._transaction.take_causes()
        earlier = self._unfinished_in_pipeline(database)
        if earlier is not None:
            marked, causes = earlier.marked.joined(marked), earlier.causes | causes
        self.unfinished = UnfinishedWrite(
            database, marked, causes, (lambda: None) if cursor is None else weakref.ref(cursor)
        )

    def _unfinished_in_pipeline(self, database: Database) -> UnfinishedWrite | None:
        """Return what the open pipeline has left unfinished.

        One writer marks for the whole pipeline, because a slot holds a mark of each writer.
        """
        earlier = self.unfinished
        if earlier is None or earlier.database is not database or not drivers.in_pipeline(self._connection.connection):
            return None
        return earlier

    def run_next(self, execute: Callable[[], T]) -> T:
        """Run a later statement: when it was answered, what came before it is over."""
        answer = execute()
        if not drivers.in_pipeline(self._connection.connection):
            self.settle_unfinished()
        return answer

    def settle_unfinished(self) -> None:
        """Settle what was unfinished, because the server has run it."""
        earlier, self.unfinished = self.unfinished, None
        if earlier is not None:
            self._transaction.update_from_driver(earlier.marked.relations)
            self.settle(earlier.database, earlier.marked, recheck_schema=True, causes=earlier.causes)

    def end_connection(self) -> None:
        """Settle or abandon what is unfinished: the connection is about to be closed, or is another one already."""
        earlier, self.unfinished = self.unfinished, None
        if earlier is not None:
            if drivers.is_idle(self._connection.connection):
                self.settle(earlier.database, earlier.marked, recheck_schema=True, causes=earlier.causes)
            else:
                self.abandon(earlier.database, earlier.marked)

    # Failures -----------------------------------------------------------------------------

    def settle_failed(self, database: Database, marked: MarkedWrite, error: BaseException) -> None:
        """Settle a write that has failed if it is over, and leave it marked if it may still become visible."""
        if drivers.has_answered(self._connection.connection, error):
            self.settle(database, marked)
        else:
            self.abandon(database, marked)

    def abandon(self, database: Database, marked: MarkedWrite) -> None:
        """Leave a write marked until its lease ends: it may become visible after anything that could be done now.

        If the store was unavailable or full, the write is marked as soon as the store answers and has room.
        """
        if not marked.is_protected:
            database.postpone(marked.relations | ALL_ROWS, unanswered=database.config.lease)
        else:
            database.purge(marked.slots)  # nothing that is computed meanwhile is stored

    # Marking and settling ------------------------------------------------------------------------

    def mark(
        self,
        database: Database,
        relations: frozenset[str],
        rows: WrittenRows = ANY_ROWS,
        *,
        is_commit: bool = False,
        announces: Announces | None = None,
    ) -> MarkedWrite:
        """Mark the slots of relations, and of rows, that are about to be written. Raises WriteRefused.

        ``is_commit``: see :meth:`run_marked`. ``announces``: whether, and how, the commit is accounted for; None: not.
        """
        earlier = None if self.unfinished is None else self._unfinished_in_pipeline(database)
        known_writer = None if earlier is None else earlier.marked.writer
        writer = known_writer or new_writer()
        commit = None
        try:
            if announces is not None:
                commit = self.accounts.announce(database, is_locked=announces is Announces.LOCKED)
            marked = self._mark(database, relations, rows, writer, commit)
            if not marked.is_protected:
                left = self.outbox.add(database, marked.relations, unfinished=not is_commit)
                marked = marked._replace(rows=left)
            return marked
        except WriteRefused:
            raise
        except BaseException:
            # Interrupted from outside, or the catalog could not be read: nothing is written.
            if known_writer is None:
                slots, last = database.slots.names_by_row(relations, rows), None
                if commit is not None:
                    slots, last = (*slots, commit.mark), commit.undone
                with suppress(StoreUnavailable):
                    database.stamps.settle(slots, writer, last=last)
            raise

    def _mark(
        self,
        database: Database,
        relations: frozenset[str],
        rows: WrittenRows,
        writer: bytes,
        commit: PendingCommit | None,
    ) -> MarkedWrite:
        began, emptied, is_marked = time.perf_counter(), False, True
        slots = database.slots.names_by_row(relations, rows) if rows else database.slots.names(relations)
        try:
            if SCHEMA in relations and _is_of_some_schemas(relations) and not self._knows_schema(database):
                relations |= ALL_ROWS
                slots = database.slots.names_by_row(relations, rows)
            if commit is not None:
                slots += (commit.mark,)
            try:
                _, version = database.stamps.mark(slots, database.slots.schema, writer=writer)
            except StoreFull as error:
                version, emptied = error.watched, True
            more = self._further_relations(database, relations, version)
            if more is not None:
                relations |= more
                known = frozenset(slots)
                # What is known of rows may be by another schema than the one of now.
                added = tuple(slot for slot in database.slots.names(relations) if slot not in known)
                if added:
                    try:
                        database.stamps.mark_more(added, writer)
                    except StoreFull:
                        emptied = True
                    slots = added + slots
        except StoreUnavailable as error:
            if database.config.on_outage == "refuse":
                suffix = database.rejected_write_log.due()
                if suffix is not None:
                    logger.warning("a write on %r was refused: %s%s", self._connection.alias, error, suffix)
                raise WriteRefused(f"the write was not committed, because {error} (ON_OUTAGE is 'refuse')") from error
            is_marked = False
        seconds = time.perf_counter() - began
        return MarkedWrite(relations, slots, writer if is_marked else None, seconds, emptied=emptied, commit=commit)

    def settle(
        self,
        database: Database,
        marked: MarkedWrite,
        *,
        recheck_schema: bool = False,
        causes: Mapping[frozenset[str], str] | None = None,
    ) -> None:
        """Settle the slots of a write that is visible. What the store does not take waits until it does.

        ``recheck_schema``: the schema may have changed since the write was planned. If so, more relations may depend
        on it. ``causes``: of the write, if they are not the transaction's.
        """
        # The store
        began = time.perf_counter()
        published = True
        try:
            if marked.writer is None:
                database.stamps.renew(database.slots.names(marked.relations | ALL_ROWS))
            else:
                watch = database.slots.schema if recheck_schema and SCHEMA not in marked.relations else None
                slots, last = marked.slots, None
                if marked.commit is not None:
                    slots, last = self.accounts.end(database, marked.commit, marked.writer, slots)
                version = database.stamps.settle(slots, marked.writer, watch, last)
                if watch is not None:
                    more = self._further_relations(database, marked.relations, version)
                    if more is not None:
                        database.renew(marked.relations | more)
                elif recheck_schema and _is_of_some_schemas(marked.relations):
                    # The names in it may mean something else than what was marked, if it has waited for a lock.
                    if not self._knows_schema(database, besides=frozenset(marked.slots)):
                        database.renew(ALL_ROWS)
        except StoreUnavailable:
            # Whether the schema has changed is not known either: then it is everything.
            is_complete = marked.writer is not None and not recheck_schema
            database.postpone(marked.relations if is_complete else marked.relations | ALL_ROWS)
            published = False
        if marked.rows.ids:
            self.outbox.end(database, marked.rows, published=published)
        seconds = marked.seconds + time.perf_counter() - began

        # The connection, and who listens
        if EPOCH not in marked.relations:  # a write to anything may have left results that are still to be fetched
            self._connection.ormcache.record_commit()
        if causes is None:
            causes = self._transaction.take_causes()
        has_marks = marked.writer is not None
        self._observer.invalidation(marked.relations, causes, seconds=seconds, marked=has_marks, published=published)

    def _further_relations(
        self, database: Database, relations: frozenset[str], version: bytes | None
    ) -> frozenset[str] | None:
        """Return what else these relations change by the catalog of now; the epoch where that cannot be known.

        ``version``: what the slot of the schema held. None: the catalog is the one that the write was planned by.
        """
        if SCHEMA in relations:  # of everything, or of some schemas
            return None
        cache, transaction = database.catalog_cache, self._transaction
        parts = transaction.parts
        for part in parts:
            if part is None or part.is_outdated or version is None or part.version != version:
                break
        else:
            if parts:
                return (
                    None  # as mostly: the schema is the one of all parts, see CatalogCache.is_current_at_schema_stamp
                )
        current = [part for part in parts if part is not None and _is_right(cache, part, version, relations)]
        if parts and len(current) == len(parts):
            return None
        # Another process has changed the schema, or statements were planned by an older catalog than the one of now.
        self._connection.ormcache.confirmation.doubt()
        if version is None or transaction.in_old_snapshot:
            return ALL_ROWS - relations
        for part in parts.difference(current):
            if part is not None and not part.is_outdated:
                cache.forget(part)
        for context in transaction.contexts:
            if not cache.ensure_loaded_for(self._connection, context, relations):
                return ALL_ROWS - relations
        return self._closure(database, relations) - relations

    def _knows_schema(self, database: Database, besides: frozenset[bytes] = frozenset()) -> bool:
        """Ask whether the schema is still the one that the statements were planned by. Raises StoreUnavailable.

        ``besides``: slots that it is not asked about.
        """
        parts, cache = self._transaction.parts, database.catalog_cache
        return bool(parts) and all(part is not None and bool(cache.check_part(part, besides=besides)) for part in parts)

    def recheck_unmarked(self, database: Database) -> None:
        """Invalidate everything after what has run unmarked, if the catalog by which it was planned was not right.

        By that catalog it changes nothing: a schema change of such a kind, or a write to temporary tables. These may be
        gone, and a table that another process has made may have their name.
        """
        if self.surely_knows_schema(database):
            return
        self._forget_parts(database)
        self._transaction.record_write(ALL_ROWS_AND_SCHEMA)
        if not self._transaction.is_open:
            self._transaction.clear_writes()
            database.renew(ALL_ROWS_AND_SCHEMA)

    def _forget_parts(self, database: Database) -> None:
        """Have the catalog read again for the next statement, which would invalidate everything once more."""
        for part in self._transaction.parts:
            if part is not None and not part.is_outdated:
                database.catalog_cache.forget(part)

    def surely_knows_schema(self, database: Database) -> bool:
        """Return whether the schema is known to be still the one that the statements were planned by."""
        try:
            return self._knows_schema(database)
        except StoreUnavailable:
            return False

    def _closure(self, database: Database, relations: frozenset[str]) -> frozenset[str]:
        """Return what a write to these relations may change, in every resolution context of the transaction."""
        plans, contexts = database.plans, self._transaction.contexts
        return frozenset().union(*(plans.closure(relations, context, renamed=True) for context in contexts))


def _is_of_some_schemas(relations: frozenset[str]) -> bool:
    """Return whether the schema was changed, and not for everybody."""
    return SCHEMA in relations and EPOCH not in relations


def _is_right(cache: CatalogCache, part: CatalogPart, version: bytes | None, relations: frozenset[str]) -> bool:
    """Return whether a part is still right when the schema's slot holds this. Raises StoreUnavailable."""
    if cache.is_current_at_schema_stamp(part, version):
        return True
    # While this writer marks the epoch, nothing can be learnt from it; but then everything is invalidated anyway.
    return part.extent.is_divided and EPOCH not in relations and bool(cache.check_part(part, version))
