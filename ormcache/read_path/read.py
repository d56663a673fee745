"""One read, from Django's call to its rows: hit, miss or bypass.

:mod:`ormcache.read_path.eligibility` decides whether the cache is asked at all. A hit needs neither a cursor nor a
connection.
"""

from __future__ import annotations

import logging
import time
from contextlib import nullcontext
from itertools import chain
from random import random
from typing import TYPE_CHECKING, Any, Protocol

from django.core.exceptions import EmptyResultSet
from django.db.models.sql.constants import MULTI

from ormcache import reasons
from ormcache.cache import serializer
from ormcache.cache.adaptive import Kind
from ormcache.cache.local_cache import LocalEntry
from ormcache.cache.serializer import Unreadable
from ormcache.cache.single_flight import Flight
from ormcache.cache.stamps import LookupResult
from ormcache.cache.tracking import current_tracker, untracked
from ormcache.context.switch import Mode, mode
from ormcache.database.database import Database
from ormcache.database.plans import Plan
from ormcache.database.seen_stamps import SeenStamps
from ormcache.exceptions import StaleRead, StoreUnavailable
from ormcache.read_path import admission, replica_fills
from ormcache.read_path.admission import Admission, Dependence
from ormcache.read_path.eligibility import Bypass, Compiled, decide
from ormcache.read_path.miss_cause import COLD, MARKED, MissCause, cause_of_outdated
from ormcache.read_path.row_results import RowResult, stamps_of
from ormcache.read_path.verification import StoredResult, Verification
from ormcache.session.state import ConnectionState
from ormcache.utils import drivers
from ormcache.utils.event_loops import is_in_event_loop

if TYPE_CHECKING:
    from ormcache.connection.protocol import CachedConnection
    from ormcache.write_path.statements import Writes

logger = logging.getLogger("ormcache")

#: Flights that one read follows before it runs its query itself: where writes come one after the other, none helps it
MOST_FOLLOWED = 3


class ReadCompiler(Protocol):
    """What a read needs of its compiler: an ``SQLCompiler`` of Django's with ormcache in front of it."""

    connection: CachedConnection
    query: Any
    col_count: int | None

    def as_sql(self) -> Compiled: ...

    def read_uncached(self, compiled: Any, result_type: str, chunk_size: int, chunked: bool) -> Any: ...

    def hit(self, result: Any, compiled: Compiled, result_type: str, chunk_size: int) -> Any: ...

    def stale(self, error: StaleRead, live: Any) -> Any: ...


class ReadExecution:
    """One execution of one SELECT."""

    # What the decision to look it up brought. If the read is planned anew, all of it is replaced.
    _database: Database
    _plan: Plan
    _shape: tuple[Any, ...]
    _prefix: bytes
    _entry: bytes
    _rows: RowResult | None
    _own_writes: frozenset[bytes] | None

    #: when the cache began to work on it, by time.perf_counter: Django compiles a query without a cache as well
    _began: float

    # What is known of a miss so far
    _cause: MissCause = COLD
    _is_outdated = False  # was there a result that may not be served any more?
    _was_by_row = False  # did that one depend on rows?
    _has_filled_slots = False  # were slots of its relations empty?
    _connecting_seconds = 0.0  # for a connection that the query would have needed without a cache as well

    # Waiting for the flights of other readers
    _followed = 0  # flights so far
    _has_waited = False
    #: until when it may wait for all of them, by time.monotonic; 0: it may not wait; None: that was not asked yet
    _deadline: float | None = None

    #: the driver's connection whose answer alone may be stored; None: any answer may
    _has_to_use: Any = None

    #: was it planned anew because the schema had changed?
    _is_replanned = False

    def __init__(
        self,
        compiler: ReadCompiler,
        state: ConnectionState,
        writes: Writes,
        result_type: str,
        chunk_size: int,
        chunked: bool = False,
    ) -> None:
        """``chunked``: rows are to be fetched as they are asked for."""
        self._compiler = compiler
        self._connection = compiler.connection
        self._state = state
        self._writes = writes
        self._result_type = result_type
        self._chunk_size = chunk_size
        self._chunked = chunked
        self._compiled: Any = None  # (SQL, parameters), once the query is compiled, which happens once

    def run(self) -> Any:
        """Return what ``SQLCompiler.execute_sql()`` returns, and raise what it raises."""
        try:
            decision = decide(
                self._connection,
                self._compiler,
                self._result_type,
                self._compiled,
                connect=self._connect,
                # What has been looked up is, if it is decided anew; and a block that is tracked has to know the stamps.
                for_probe=self._compiled is not None or current_tracker() is not None,
            )
        except EmptyResultSet:
            return self._compiler.read_uncached(EmptyResultSet, self._result_type, self._chunk_size, self._chunked)
        if isinstance(decision, Bypass):
            if decision.compiled is None:
                return self._bypass_uncompiled(decision.reason)
            self._compiled = decision.compiled
            if decision.reason == reasons.ADAPTIVE_BYPASS:
                return self._bypass_adaptively(decision.plan)
            return self._bypass(decision.reason, decision.plan)
        self._compiled, self._database, self._plan, self._shape, self._prefix, self._entry, compiled_at = decision[:7]
        self._rows, self._own_writes = decision[7:]
        if compiled_at is not None:
            self._began = compiled_at
        rejected = None if self._database.commits is None else self._rejection_by_commits()
        return self._look_up() if rejected is None else self._bypass(rejected, self._plan)

    def _rejection_by_commits(self) -> str | None:
        """SQLite: return why nothing that is stored may be served now, whatever the query; or None."""
        try:
            return None if self._database.commits.check() else reasons.MARKED  # type: ignore[union-attr]
        except StoreUnavailable:
            return reasons.STORE_UNAVAILABLE

    def _connect(self) -> None:
        """Make the connection that the query needs, which takes as long without a cache."""
        was_open = self._connection.connection is not None
        began = time.perf_counter()
        self._connection.ensure_connection()
        if not was_open:
            self._connecting_seconds += time.perf_counter() - began

    # Bypass -----------------------------------------------------------------------------

    def _bypass(self, reason: str, plan: Plan | None) -> Any:
        """Read from the database without a lookup."""
        self._reject_tracking(reason, plan, self._compiled[0])
        began = time.perf_counter()
        try:
            return self._run_query()
        finally:
            seconds = time.perf_counter() - began
            self._state.observer.bypass(reason, plan, *self._compiled, query_seconds=seconds)

    def _bypass_adaptively(self, plan: Plan | None) -> Any:
        """Read from the database because lookups do not pay, unless this one is to find out whether they do again."""
        adaptive = None if plan is None else plan.adaptive_bypass
        if adaptive is not None and adaptive.is_probe_due():
            self._began = time.perf_counter()
            return self.run()
        began = time.perf_counter()
        result = self._bypass(reasons.ADAPTIVE_BYPASS, plan)
        if adaptive is not None and not self._chunked:  # chunks are fetched later
            adaptive.record_query(time.perf_counter() - began)
        return result

    def _bypass_uncompiled(self, reason: str) -> Any:
        """Read without the cache, whatever the query is; compile it first, so that statistics can name it."""
        state, compiler = self._state, self._compiler
        compiled: Any = EmptyResultSet
        plan, sql, params = None, None, None
        try:
            compiled = sql, params = self._compiler.as_sql()
        except EmptyResultSet:
            pass
        else:
            database = state.known()
            planned = None if database is None else database.plans.find(sql, state.resolution_context())
            if planned is not None:  # else the statistics do without a plan
                plan, _ = planned
        if sql is not None:
            self._reject_tracking(reason, plan, sql)
        began = time.perf_counter()
        try:
            with untracked():
                return compiler.read_uncached(compiled, self._result_type, self._chunk_size, self._chunked)
        finally:
            state.observer.bypass(reason, plan, sql, params, query_seconds=time.perf_counter() - began)

    def _run_query(self) -> Any:
        asked = time.monotonic()
        with nullcontext() if current_tracker() is None else untracked():  # the read is reported as a whole
            result = self._compiler.read_uncached(self._compiled, self._result_type, self._chunk_size, self._chunked)
        self._state.record_answer(asked)
        return result

    def _reject_tracking(self, reason: str, plan: Plan | None, sql: str) -> None:
        """Record with the block around it that nothing computed of it can be cached."""
        tracker = current_tracker()
        if tracker is not None:
            tracker.reject(reason, sql, frozenset() if plan is None else plan.relations)

    def _track(self, slots: tuple[bytes, ...], vector: bytes | None, expires: float | None) -> None:
        """Record with the block around it what the result depends on; ``vector`` None: that is not known.

        ``expires``: until when it may be served, in seconds since the epoch; None: until a write.
        """
        tracker = current_tracker()
        if tracker is None:
            return
        if vector is None:
            tracker.reject(reasons.MARKED, self._compiled[0], self._plan.relations)
        else:
            tracker.record(self._state.alias, self._prefix, self._database.stamps.store, slots, vector, expires=expires)

    def _track_miss(self, slots: tuple[bytes, ...], vector: bytes | None) -> None:
        """Record the same of a result that was just read."""
        timeout = self._database.config.timeout
        self._track(slots, vector, None if timeout is None else time.time() + timeout)

    # Lookup -----------------------------------------------------------------------------

    def _look_up(self) -> Any:
        """Ask the cache, and answer from it if that is possible."""
        # Only here: a query that goes to the database is checked there, and one known to be empty is allowed.
        self._connection.check_read()
        database, plan, entry = self._database, self._plan, self._entry
        seen_stamps = database.seen_stamps
        local_entry = database.local.get(entry)  # the result in this process's memory
        try:
            # A transaction that keeps its snapshot has it taken before anything is answered from the cache.
            in_snapshot = seen_stamps is not None and self._is_in_transaction()
            if seen_stamps is not None and in_snapshot and not self._has_snapshot(seen_stamps):
                return self._bypass(reasons.SNAPSHOT, plan)

            # The slots of the relations or rows, with the entry where this process does not have the result
            if local_entry is None:
                found = self._ask(entry)
            else:
                rows = local_entry.rows
                found = database.stamps.look_up(None, plan.slots if rows is None else self._slots_of(rows))
                if found.filled:
                    self._has_filled_slots = True
                if self._may_not_be_served(local_entry, found.vector):
                    found = self._ask_again(local_entry, found)
                    local_entry = None

            # Of which slots, and of which stamps of theirs, an answer would be
            is_answered = local_entry is not None or found.data is not None
            rows = found.rows if local_entry is None else local_entry.rows
            slots = plan.slots if rows is None or not is_answered else self._slots_of(rows)
            vector = (found.vector or found.row_vector) if found.data is None else found.before

            # What the stamps stand for must be the state of the snapshot.
            if seen_stamps is not None and vector is not None:
                if not is_answered:
                    found = self._restrict_to_snapshot(seen_stamps, found, in_snapshot=in_snapshot)
                    vector = stamps_of(found)
                elif not self._is_of_snapshot(seen_stamps, slots, vector, in_snapshot=in_snapshot):
                    vector = None
                if vector is None:
                    return self._bypass(reasons.SNAPSHOT, plan)

            # The plan must be by the schema of now. (While the epoch is marked nothing is served or stored anyway.)
            is_current = True if vector is None else database.catalog_cache.check_plan(plan, vector)
            if is_current is None:
                return self._bypass(reasons.MARKED, plan)
            if not is_current:
                return self._replan()

            # Beside what its own transaction has written, a read may be served what depends on other rows.
            if self._own_writes is not None and (
                not is_answered or rows is None or not self._own_writes.isdisjoint(rows)
            ):
                return self._bypass(reasons.DIRTY, plan)

            if local_entry is not None:
                if not local_entry.shared:
                    self._share(local_entry)
                return self._hit(local_entry.result, slots, local_entry.vector, local_entry.expires)
        except StoreUnavailable:
            return self._bypass(reasons.STORE_UNAVAILABLE, plan)
        return self._answer(found)

    def _ask(self, entry: bytes | None) -> LookupResult:
        """Look up the entry in the store, with the slots that it may depend on. Raises StoreUnavailable."""
        plan, rows, stamps = self._plan, self._rows, self._database.stamps
        found = stamps.look_up(entry, plan.slots, () if rows is None else rows.slots, plan.shared_slots)
        if found.filled:
            self._has_filled_slots = True
        return found

    def _slots_of(self, rows: tuple[bytes, ...] | None) -> tuple[bytes, ...]:
        """Return all slots of an entry that depends on these row slots; None: on its relations."""
        plan = self._plan
        return plan.slots if rows is None else plan.slots[: plan.shared_slots] + rows

    def _may_not_be_served(self, local_entry: LocalEntry, vector: bytes | None) -> bool:
        """Return whether a result in this process's memory is outdated. ``vector``: what its slots hold now."""
        return (
            local_entry.vector != vector
            or local_entry.expired()
            # The slots may have been answered from memory, as they were before the plan's catalog was read.
            or not self._database.catalog_cache.is_current_at(self._plan, local_entry.vector)
        )

    def _ask_again(self, local_entry: LocalEntry, found: LookupResult) -> LookupResult:
        """Look up an entry whose result in this process's memory is outdated. Raises StoreUnavailable.

        ``found``: what its slots hold now.
        """
        self._database.local.drop(self._entry)
        # What this process has not shared, no other process is likely to have shared since the invalidation.
        if local_entry.rows is not None or self._rows is not None:
            before, found = found, self._ask(self._entry if local_entry.shared else None)
            seen = found if local_entry.rows is None else found._replace(now=before.vector)
        else:
            if found.vector is not None and local_entry.shared:
                found = self._ask(self._entry)
            seen = found
        self._note_outdated(local_entry.vector, seen, local_entry.rows, expired=local_entry.expired())
        return found

    def _answer(self, found: LookupResult) -> Any:
        """Answer with the entry that the lookup has found in the store, or as a miss."""
        if found.data is not None:
            try:
                result = serializer.decode(found.data)
                serializer.check_shape(result, self._compiler.col_count or 0, many=self._result_type == MULTI)
            except Unreadable:
                self._remove_damaged()
            else:
                admission.admit_locally(self._database, self._entry, found, result)
                slots, size = self._slots_of(found.rows), len(found.data)
                return self._hit(result, slots, found.before, found.expires, bytes_read=size)
        elif found.damaged:
            self._remove_damaged()
        if found.denied and stamps_of(found) is None:
            return self._bypass(reasons.STORE_FULL, self._plan)
        if self._connection.connection is None:
            # The query needs a connection now, which may begin with another session than the last one did.
            self._connect()
            return self.run()
        if found.invalidated:
            self._note_outdated(found.before, found, found.rows, expired=found.expires is not None)
        return self._miss(found)

    def _is_in_transaction(self) -> bool:
        connection = self._connection
        return connection.connection is not None and self._writes.transaction.is_open_on(connection)

    def _has_snapshot(self, seen_stamps: SeenStamps) -> bool:
        """Take the snapshot of the open transaction, after noting the stamps of before. Raises StoreUnavailable.

        Returns False if there is none to be had.
        """
        transaction = self._writes.transaction
        if transaction.has_snapshot:
            return True
        if not transaction.has_run:
            slots = seen_stamps.slots_before_snapshot(self._plan.slots)
            vector = self._database.stamps.look_up(None, slots).vector
            if vector is not None:
                seen_stamps.record(slots, vector)
        return transaction.take_snapshot()

    def _restrict_to_snapshot(self, seen_stamps: SeenStamps, found: LookupResult, *, in_snapshot: bool) -> LookupResult:
        """Return of the stamps that were found those that stand for the state that the transaction sees."""
        vector, row_vector = found.vector, found.row_vector
        if vector is not None and not self._is_of_snapshot(
            seen_stamps, self._plan.slots, vector, in_snapshot=in_snapshot
        ):
            vector = None
        if row_vector is not None and self._rows is not None:
            slots = self._slots_of(self._rows.slots)
            if not self._is_of_snapshot(seen_stamps, slots, row_vector, in_snapshot=in_snapshot):
                row_vector = None
        return found._replace(vector=vector, row_vector=row_vector)

    def _is_of_snapshot(
        self, seen_stamps: SeenStamps, slots: tuple[bytes, ...], vector: bytes, *, in_snapshot: bool
    ) -> bool:
        """Return whether these stamps stand for the state that the transaction sees. Raises StoreUnavailable."""
        if in_snapshot:
            database = self._database
            seen_stamps.record_use(slots)
            if not seen_stamps.held_before(slots, vector, self._writes.transaction.before_snapshot):
                return False
            # Slots that were answered from memory may be from before the snapshot.
            if not (database.is_strict or database.still_holds(slots, vector)):
                return False
        seen_stamps.record(slots, vector)
        return True

    def _replan(self) -> Any:
        """Begin again with the catalog of now: another connection has changed the schema."""
        if self._is_replanned:
            # Once more, or the schema's slot holds no stamp: the next read may have more luck.
            return self._bypass(reasons.MARKED, self._plan)
        self._is_replanned = True
        self._database.catalog_cache.forget(self._plan.part)
        return self.run()

    def _note_outdated(
        self, before: bytes | None, found: LookupResult, rows: tuple[bytes, ...] | None, *, expired: bool
    ) -> None:
        """Note that there was a result that may not be served.

        ``before``: the vector that it was stored under, None if that is not known. ``rows``: the row slots that it
        depended on; None: on its relations.
        """
        plan = self._plan
        was_noted, self._is_outdated = self._is_outdated, True
        self._was_by_row = rows is not None
        self._cause = cause_of_outdated(plan, before, found, rows, expired=expired, filled=self._has_filled_slots)
        by = self._cause.invalidated_by
        if not was_noted and rows is None and plan.row_readers is not None and by in plan.relations:
            self._database.slots.rows.record_invalidation(by)

    def _remove_damaged(self) -> None:
        """Remove the entry from the store: it cannot be read."""
        database, plan = self._database, self._plan
        self._state.observer.damaged_entry(plan, self._compiled[0])
        more = database.damaged_entry_log.due()
        if more is not None:
            relations = ", ".join(sorted(plan.relations))
            logger.warning("a damaged entry was removed: a query of %s%s", relations, more)
        try:
            database.stamps.remove_entry(self._entry)
        except StoreUnavailable:
            pass  # the next result of this query overwrites it

    # Hit --------------------------------------------------------------------------------

    def _hit(
        self,
        stored: Any,
        slots: tuple[bytes, ...],
        vector: bytes | None,
        expires: float | None,
        *,
        bytes_read: int = 0,
    ) -> Any:
        """Return a stored result: a flat list of rows, or one row; stored under these stamps of these slots.

        This process may have it in its memory, so it is copied. ``expires``: seconds since the epoch; None: it does
        not. ``bytes_read``: from the store.
        """
        many = self._result_type == MULTI
        result = list(stored) if many else stored
        state, plan = self._state, self._plan
        self._track(slots, vector, expires)
        seconds = time.perf_counter() - self._began
        sql, params = compiled = self._compiled
        share, overriding = self._database.compared_share, mode()
        is_compared = overriding is Mode.SHADOW or (share > 0 and overriding is None and random() < share)  # noqa: S311
        state.observer.hit(
            plan,
            sql,
            params,
            entry=self._entry,
            shape=self._shape,
            seconds=seconds,
            bytes_read=bytes_read,
            waited=self._has_waited,
            by_row=slots is not plan.slots,
            served=not is_compared,
        )
        if plan.adaptive_bypass is not None and not self._has_waited:
            plan.adaptive_bypass.record_hit(seconds)
        if not plan.current_time.has_hit:
            plan.current_time.hit()
        if is_compared:
            return self._compare_with_database(result, slots, vector)
        if state.last_hit is not None:
            state.last_hit.record(compiled)
        return self._compiler.hit([result] if many else result, compiled, self._result_type, self._chunk_size)

    def _compare_with_database(self, result: Any, slots: tuple[bytes, ...], vector: bytes | None) -> Any:
        """Return what the database answers, and compare the stored result with it. Raises StaleRead if it is to."""
        many, database = self._result_type == MULTI, self._database
        stored = StoredResult(
            self._plan,
            self._compiled,
            self._prefix,
            self._entry,
            slots,
            vector,
            result if many else [result],
            many,
        )
        verification = Verification(database, self._state, self._writes, self._compiler, stored)
        raises = database.config.raises or mode() is Mode.SHADOW
        return verification.run(self._run_query, chunked=self._chunked, raises=raises)

    # Miss -------------------------------------------------------------------------------

    def _miss(self, found: LookupResult) -> Any:
        """Run the query, or wait for another reader that runs it and look up again.

        ``found``: the stamps of now.
        """
        database, plan, flights = self._database, self._plan, self._database.flights
        vector = stamps_of(found)
        rejected = self._rejection_of_connection(vector)
        if rejected is None and database.server.replica:
            fill = replica_fills.examine(self._connection, database, plan, found)
            if fill.has_old_catalog and not self._is_replanned:
                return self._replan()
            found, rejected, self._has_to_use = fill.found, fill.rejected, fill.driver_connection
            vector = stamps_of(found)
        # A result that will not be stored is nothing to wait for.
        if (
            vector is None
            or rejected is not None
            or self._followed == MOST_FOLLOWED
            or database.config.observes  # it would run its own query after that all the same
            or not flights.pays(plan.statement.digest)
        ):
            return self._run_miss(found, rejected)
        flight = Flight(self._entry, vector, plan.statement.digest)
        rows = () if found.row_vector is None or self._rows is None else self._rows.slots
        try:
            leads = flights.join(
                flight,
                lambda: self._wait_until(flights.longest_wait),
                lambda: database.stamps.has_changed(self._entry, plan.slots, vector, rows, plan.shared_slots),
            )
            result = self._run_miss(found, None, flight) if leads else None
            flights.end(flight)
        except BaseException:
            flights.end(flight)  # also where the first call was interrupted from outside
            raise
        if leads:
            return result
        self._followed += 1
        return self.run()

    def _rejection_of_connection(self, vector: bytes | None) -> str | None:
        """Return why nothing that this connection reads now may be stored, or None."""
        if vector is None:
            return reasons.MARKED
        if self._state.check_code() is not None:
            return reasons.INTERCEPTED  # a class was changed while the connection was open
        if self._writes.transaction.has_open_cursors:
            return reasons.OPEN_CURSOR
        if drivers.in_pipeline(self._connection.connection):
            return reasons.PIPELINE
        return None

    def _wait_until(self, longest: float) -> float:
        """Return until when this read may wait for other readers, by ``time.monotonic``; 0: it must not.

        A connection that could hold locks which the other reader's query needs must not wait.
        """
        if self._deadline is None:
            if self._writes.transaction.is_open or self._connection.allow_thread_sharing or is_in_event_loop():
                self._deadline = 0.0
            else:
                self._deadline = time.monotonic() + longest
                self._has_waited = True
                self._state.observer.wait(self._plan, self._compiled[0])
        return self._deadline

    def _run_miss(self, found: LookupResult, rejected: str | None, flight: Flight | None = None) -> Any:
        """Run the query and store its result. ``rejected``: why the result is not stored, if that is known already."""
        # The query
        began = time.perf_counter()
        if self._chunked:
            result, is_whole = self._read_first_chunk()
            if rejected is None and not is_whole:
                rejected = reasons.CHUNKED
        else:
            result = self._writes.run_miss(self._run_query)
        query_seconds = time.perf_counter() - began + self._connecting_seconds

        # Its result. Who waits for it, and later readers that would, learn what became of it.
        bytes_written = 0
        vector = stamps_of(found)
        if rejected in (None, reasons.CHUNKED) and vector is not None:
            if self._has_session_changed():
                rejected = reasons.UNTRACKED_SESSION
            elif self._has_to_use is not None and self._has_to_use is not self._connection.connection:
                rejected = reasons.ON_REPLICA  # the query went over another connection, perhaps to another replica
            if rejected is None:
                at_once = self._connecting_seconds > 0 or (flight is not None and flight.claim is not None)
                rejected, bytes_written = self._admit(found, result, query_seconds, at_once=at_once)
            elif rejected == reasons.CHUNKED:
                self._track_miss(self._plan.slots, found.vector)  # the rows to come are those of when the query began
            if rejected in (reasons.UNTRACKED_SESSION, reasons.ON_REPLICA):
                self._reject_tracking(rejected, self._plan, self._compiled[0])
            if flight is not None:
                flight.record_rejection(rejected)
            else:
                self._database.flights.learn(self._plan.statement.digest, query_seconds, rejected)
        else:
            self._reject_tracking(rejected or reasons.MARKED, self._plan, self._compiled[0])

        self._report_miss(vector, query_seconds, rejected, bytes_written)
        return result

    def _report_miss(
        self, vector: bytes | None, query_seconds: float, rejected: str | None, bytes_written: int
    ) -> None:
        seconds = time.perf_counter() - self._began - query_seconds
        plan, observer = self._plan, self._state.observer
        sql, params = self._compiled
        cause, invalidated_by = MARKED if vector is None else self._cause
        observer.miss(
            plan,
            sql,
            params,
            cause=cause,
            invalidated_by=invalidated_by,
            seconds=seconds,
            query_seconds=query_seconds,
            rejected=rejected,
            bytes_written=bytes_written,
            waited=self._has_waited,
            by_row=self._was_by_row,
        )
        if plan.current_time.missed(params):
            observer.current_time(plan, sql)
        if plan.adaptive_bypass is not None and not self._has_waited:
            plan.adaptive_bypass.record_miss(
                seconds,
                query_seconds,
                invalidated=self._is_outdated,
                vector=vector,
                kind=Kind.TABLE if self._rows is None else Kind.ROWS,
            )

    def _has_session_changed(self) -> bool:
        """Return whether anything was set since the lookup: by an execute wrapper, a signal's handler, a thread."""
        state = self._state
        return state.session.base is None or state.prefix(self._database) != self._prefix

    def _read_first_chunk(self) -> tuple[Any, bool]:
        """Run the query and fetch one chunk of rows. Returns the chunks, and whether there are no others.

        A larger result is never held in memory: its other chunks come from the database as they are asked for.
        """
        chunks = iter(self._run_query())
        first = next(chunks, None)
        if first is None:
            return [], True
        if len(first) >= self._chunk_size:
            return chain([first], chunks), False
        second = next(chunks, None)  # there is none, and the cursor is closed: drivers return as many rows as they have
        return ([first], True) if second is None else (chain([first, second], chunks), False)

    def _admit(self, found: LookupResult, result: Any, query_seconds: float, *, at_once: bool) -> Admission:
        many = self._result_type == MULTI
        flat = list(chain.from_iterable(result)) if many else result
        number = len(flat) if many else 1
        if self._rows is None:
            dependence = None if found.vector is None else Dependence(found.vector)
        else:
            is_whole = many and not (self._state.vendor == "mysql" and self._state.session.may_limit_results())
            dependence = self._rows.dependence(flat if is_whole else None, found.vector, found.row_vector)
        if dependence is None:
            self._track_miss(self._plan.slots, None)
            return Admission(reasons.MARKED)
        self._track_miss(self._slots_of(dependence.rows), dependence.vector)
        return admission.admit(
            self._database, self._entry, dependence, flat, number, query_seconds=query_seconds, at_once=at_once
        )

    def _share(self, local_entry: LocalEntry) -> None:
        """Give a result that only this process has to the store."""
        rejected, bytes_written = admission.share(self._database, self._entry, local_entry)
        self._state.observer.share(self._plan, self._compiled[0], bytes_written=bytes_written, rejected=rejected)
