"""The way of one read: through the cache, or past it and why.

A hit needs neither cursor nor connection.
"""

from __future__ import annotations

import asyncio
import logging
import time
from itertools import chain
from typing import TYPE_CHECKING, Any, Protocol

from django.db.models.sql.constants import MULTI

from ormcache import keeping, keys, reasons, rows, shadow
from ormcache.account import Account
from ormcache.database import Database
from ormcache.figures import Text
from ormcache.flights import Flight
from ormcache.hindrances import hindrance, read_clock
from ormcache.keeping import Outcome
from ormcache.local import Kept
from ormcache.planning import Plan
from ormcache.rows import Unreadable
from ormcache.shadow import StaleRead
from ormcache.state import State
from ormcache.stores.base import StoreUnavailable
from ormcache.switch import Mode, mode

if TYPE_CHECKING:
    from ormcache.writes import Writes

logger = logging.getLogger("ormcache")

#: Flights that one read follows before it runs its query itself: where one write comes after the other, none helps it
MOST_FOLLOWED = 3


class Compiler(Protocol):
    """What a read needs of the compiler that it is for."""

    connection: Any
    query: Any

    def read_uncached(self, compiled: Any, result_type: Any, chunk_size: int) -> Any: ...

    def hit(self, result: Any, compiled: Any, result_type: Any, chunk_size: int) -> Any: ...

    def stale(self, error: StaleRead, live: Any) -> Any: ...


class Read:
    """One execution of one SELECT."""

    # Known from when it is planned; planned anew, they are others.
    _database: Database
    _plan: Plan
    _text: Text  # its figures
    _name: bytes  # of its entry

    #: flights of others
    _followed = 0
    #: of all waiting for them, by time.monotonic; 0: it may not wait; None: it has not asked yet
    _deadline: float | None = None
    #: has it been planned anew because the schema had changed?
    _replans = False

    def __init__(
        self, compiler: Compiler, state: State, writes: Writes, result_type: Any, chunk_size: int, compiled: Any
    ) -> None:
        """``compiled``: the text and its parameters."""
        self._compiler = compiler
        self._connection = compiler.connection
        self._state = state
        self._writes = writes
        self._result_type = result_type
        self._chunk_size = chunk_size
        self._compiled = compiled
        self._account = Account(state)

    def run(self) -> Any:
        state = self._state
        sql, params = self._compiled
        database = state.known()
        if database is None:
            # Nobody has told this process yet which database this is.
            self._connection.ensure_connection()
            database = state.known()
        if database is None:
            return self._bypass(state.obstacle or reasons.NO_STORE)
        if not database.has_catalog and not self._load_catalog(database):
            return self._bypass(reasons.SNAPSHOT)
        plan, lengths = database.plan(sql, state.standpoint())
        self._database, self._plan, self._text = database, plan, self._account.planned(plan, sql)
        reason = plan.obstacle or hindrance(self._connection, state, self._writes.transaction, database, plan)
        if reason is None and plan.worth is not None and plan.worth.rests and mode() is None:
            reason = reasons.NOT_WORTH
        if reason is not None:
            return self._bypass(reason)
        try:
            shape = shape_of(self._compiler, self._result_type)
            self._name = keys.entry_name(state.prefix(database), plan.statement.digest + lengths, params, shape)
        except keys.Unkeyable:
            return self._bypass(reasons.PARAMETER)
        if state.vendor == "postgresql" and params and read_clock(params):
            return self._bypass(reasons.CLOCK)
        return self._ask()

    def _bypass(self, reason: str) -> Any:
        self._account.bypassed(reason)
        began = time.perf_counter()
        try:
            return self._uncached()
        finally:
            query = time.perf_counter() - began
            self._account.uncached(self._connection.__class__, reason, self._compiled, query)

    def _uncached(self) -> Any:
        return self._compiler.read_uncached(self._compiled, self._result_type, self._chunk_size)

    def _load_catalog(self, database: Database) -> bool:
        """After a schema change. False if it cannot be read, or only in a snapshot that is older than the stamps."""
        connection = self._connection
        connection.ensure_connection()
        if self._writes.transaction.in_old_snapshot:
            return False
        return database.has_loaded(connection)

    # With the cache ---------------------------------------------------------------------

    def _ask(self) -> Any:
        # Not before: a query that goes to the database is checked there, and one that is known to be empty is allowed.
        self._connection.check_read()
        database, plan, name = self._database, self._plan, self._name
        stamps, local = database.stamps, database.local
        kept = local.get(name)
        try:
            found = stamps.look_up(None if kept is not None else name, plan.slots)
            if found.filled:
                self._account.filled = True
            if kept is not None and (
                kept.vector != found.vector
                or kept.expired()
                # This look-up may have been answered from memory, while the plan is by a catalog of after that.
                or not database.is_settled(found.epoch)
            ):
                local.drop(name)
                # What this process has not shared, nobody else is likely to have shared since it was retired.
                if found.vector is not None and kept.shared:
                    found = stamps.look_up(name, plan.slots)
                self._account.found_outdated(kept.vector, found, expired=kept.expired())
                kept = None
            # While the epoch is marked nothing is a hit and nothing is kept, whatever the catalog says.
            current = True if found.vector is None else database.is_current(plan, found.epoch)
            if current is None:
                return self._bypass(reasons.MARKED)
            if not current:
                return self._replanned()
            if kept is not None:
                if not kept.shared:
                    self._share(kept)
                return self._hit(kept.rows, kept.vector)
        except StoreUnavailable:
            return self._bypass(reasons.STORE_AWAY)
        if found.data is not None:
            try:
                result = rows.decode(found.data)
            except Unreadable:
                self._damaged()
            else:
                keeping.copy(database, name, found, result)
                return self._hit(result, found.vector, read=len(found.data))
        elif found.damaged:
            self._damaged()
        if self._connection.connection is None:
            # The query needs a connection now, and that may begin with another session than the last one did.
            began = time.perf_counter()
            self._connection.ensure_connection()
            self._account.connecting = time.perf_counter() - began
            return self.run()
        self._account.missing(found)
        return self._miss(found.vector)

    def _replanned(self) -> Any:
        """Somebody has changed the schema."""
        if self._replans:
            # Again, or the schema's slot holds no stamp: the next reader may have more luck.
            return self._bypass(reasons.MARKED)
        self._replans = True
        self._database.forget_catalog(self._plan.catalog)
        return self.run()

    def _damaged(self) -> None:
        database = self._database
        self._state.figures.damaged(self._text)
        more = database.damaged_told.due()
        if more is not None:
            relations = ", ".join(sorted(self._text.relations))
            logger.warning("a damaged entry was removed: a query of %s%s", relations, more)
        try:
            database.stamps.forget(self._name)
        except StoreUnavailable:
            pass  # it is overwritten by the next result of this query

    def _hit(self, kept: Any, vector: bytes | None, *, read: int = 0) -> Any:
        """``kept``: flat rows, or one; this process may keep them too. ``read``: bytes that came from the store."""
        many = self._result_type == MULTI
        result = list(kept) if many else kept
        self._account.hit(self._connection.__class__, self._compiled, read=read)
        if self._text.is_sampled:
            shape = shape_of(self._compiler, self._result_type)
            sql, params = self._compiled
            self._state.figures.sample(self._text, self._name, sql, params, shape)
        if mode() is Mode.SHADOW or (self._database.config.shadow and mode() is None):
            return self._hold(result, vector)
        return self._compiler.hit([result] if many else result, self._compiled, self._result_type, self._chunk_size)

    def _hold(self, cached: Any, vector: bytes | None) -> Any:
        """Hold what would be served against what the database answers, which is returned. Raises StaleRead."""
        live = self._writes.reading(self._uncached)
        many = self._result_type == MULTI
        expected, answered = (cached, list(chain.from_iterable(live))) if many else ([cached], [live])
        kind = shadow.difference(expected, answered)
        if kind is None or (kind == shadow.ORDER and not self._compiler.query.order_by):
            return live
        try:
            if vector is None or not self._database.still_holds(self._plan.slots, vector):
                return live  # somebody has written meanwhile, or the level is one that allows for it
        except StoreUnavailable:
            return live
        sql, params = self._compiled
        return self._compiler.stale(
            shadow.found(kind, self._state.alias, sql, params, cached=expected, live=answered), live
        )

    # Without it ---------------------------------------------------------------------------

    def _miss(self, vector: bytes | None) -> Any:
        if vector is None:
            return self._query(None, reasons.MARKED)
        database, plan = self._database, self._plan
        refused = None
        if self._writes.transaction.has_open_cursors:
            refused = reasons.OPEN_CURSOR
        elif database.server.replica:
            refused = reasons.ON_REPLICA
        flights = database.flights
        # A result that will not be kept is nothing to wait for.
        if refused is not None or self._followed == MOST_FOLLOWED or not flights.pays(plan.statement.digest):
            return self._query(vector, refused)
        flight = flights.join(
            self._name,
            vector,
            plan.statement.digest,
            lambda: self._wait_until(flights.longest_wait),
            lambda: database.stamps.has_news(self._name, plan.slots, vector),
        )
        if flight is None:
            self._followed += 1
            return self.run()
        try:
            return self._query(vector, None, flight)
        finally:
            flights.end(flight)

    def _wait_until(self, longest: float) -> float:
        """How long it may wait for other readers. Who may hold what their query needs must not."""
        if self._deadline is None:
            if self._writes.transaction.is_open or self._connection.allow_thread_sharing or _in_event_loop():
                self._deadline = 0.0
            else:
                self._deadline = time.monotonic() + longest
                self._account.begins_to_wait()
        return self._deadline

    def _query(self, vector: bytes | None, refused: str | None, flight: Flight | None = None) -> Any:
        """Run the query of a miss. ``refused``: why its result is not kept, if that is known."""
        account = self._account
        written = 0
        began = time.perf_counter()
        result = self._writes.reading(self._uncached)
        took = time.perf_counter() - began + account.connecting
        if refused is None and vector is not None:
            at_once = account.connecting > 0 or (flight is not None and flight.claim is not None)
            refused, written = self._keep(vector, result, took, at_once=at_once)
            if flight is not None:
                flight.refused = refused
            else:
                self._database.flights.learn(self._plan.statement.digest, took, refused)
        sender = self._connection.__class__
        account.missed(sender, self._compiled, vector=vector, query=took, refused=refused, written=written)
        return result

    def _keep(self, vector: bytes, result: Any, took: float, *, at_once: bool) -> Outcome:
        many = self._result_type == MULTI
        flat = list(chain.from_iterable(result)) if many else result
        number = len(flat) if many else 1
        return keeping.keep(self._database, self._name, vector, flat, number, took=took, at_once=at_once)

    def _share(self, kept: Kept) -> None:
        outcome = keeping.share(self._database, self._name, kept)
        self._state.figures.shared(self._text, outcome.written, outcome.refused)


def shape_of(compiler: Any, result_type: Any) -> tuple[Any, ...]:
    """How Django cuts the rows that a compiled statement returns."""
    # The compiler of an aggregation over a subquery never asks for extra columns, and lacks the attribute.
    return (result_type, compiler.col_count, bool(getattr(compiler, "has_extra_select", False)))


def _in_event_loop() -> bool:
    """Does this thread run an event loop, in which the other reader may be a task that waits for this one?"""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
