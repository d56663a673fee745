"""A hit that is held against the database: with ``ENABLED = "observe"``, with ``VERIFY``, and in shadow mode.

The slots were read and the entry was valid under them; then the query runs; then the slots are read again, from the
store itself. If the database's answer differs and the slots are the same, no write through ormcache can be the reason:
each would have marked one of them before it became visible, and a slot never holds a stamp that it has held before.
"""

from __future__ import annotations

import datetime
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

from ormcache.cache.stamps import time_of
from ormcache.database.database import Database
from ormcache.database.plans import Plan
from ormcache.exceptions import StoreUnavailable
from ormcache.read_path import shadow
from ormcache.read_path.comparison import ORDER, difference, exact, is_determined
from ormcache.sql import mask_literals
from ormcache.stores.base import STAMP_LENGTH
from ormcache.utils.interruptions import UNEXPECTED, let_through

if TYPE_CHECKING:
    from ormcache.session.state import ConnectionState
    from ormcache.write_path.statements import Writes

logger = logging.getLogger("ormcache")

#: Rows in which the columns that differ are looked for
MOST_PAIRS = 10
#: Slots that are shown with the times of their stamps
MOST_SLOTS = 20


class StoredResult(NamedTuple):
    """A hit, and what it was found by."""

    plan: Plan
    compiled: tuple[str, Any]  # SQL and parameters
    prefix: bytes  # of the names of all entries of the session
    entry: bytes  # its name
    slots: tuple[bytes, ...]
    vector: bytes | None  # the stamps that it is stored under; None: they are not known
    rows: list[Any]  # those of a query for many rows; else the row or the scalar, in a list
    is_many: bool


class Answer(NamedTuple):
    """What the database has answered where the cache would have."""

    live: Any  # what ``SQLCompiler.execute_sql()`` returns
    rows: list[Any]  # its rows, as those of StoredResult
    seconds: float  # that the database took


class Verification:
    """The comparison of one hit with what the database answers."""

    def __init__(self, database: Database, state: ConnectionState, writes: Writes, compiler: Any, stored: StoredResult):
        self._database = database
        self._state = state
        self._writes = writes
        self._compiler = compiler
        self._stored = stored
        # What has to be as it was when the query has run, beside the slots
        self._dirty = writes.transaction.dirty

    def run(self, query: Callable[[], Any], *, chunked: bool, raises: bool) -> Any:
        """Run the query, and return what the database has answered, whatever the comparison shows.

        ``query``: runs it. ``chunked``: its rows are fetched as they are asked for. ``raises``: return the compiler's
        ``stale()`` for a difference, which raises StaleRead; else it is logged and counted, and the relations are
        invalidated. Raises what the database raises.
        """
        began = time.perf_counter()
        answer = self._fetch_chunks(query, began) if chunked else self._fetch(query, began)
        try:
            kind, is_verified = self._judge(answer)
        except UNEXPECTED as error:  # a value that cannot be compared
            let_through(error)
            kind, is_verified = None, False
        plan, (sql, params) = self._stored.plan, self._stored.compiled
        is_observed = self._database.config.observes and not raises
        self._state.observer.comparison(
            plan,
            sql,
            query_seconds=answer.seconds,
            observed=is_observed,
            verified=is_verified,
            violation=kind is not None and not raises,
        )
        if kind is None:
            return answer.live
        if raises:
            stale = shadow.stale_read(kind, self._state.alias, sql, params, cached=self._stored.rows, live=answer.rows)
            return self._compiler.stale(stale, answer.live)
        self._report(kind, answer.rows)
        return answer.live

    # The answer of the database -----------------------------------------------------------

    def _fetch(self, query: Callable[[], Any], began: float) -> Answer:
        live = self._writes.run_miss(query)
        seconds = time.perf_counter() - began
        return Answer(live, list(chain.from_iterable(live)) if self._stored.is_many else [live], seconds)

    def _fetch_chunks(self, query: Callable[[], Any], began: float) -> Answer:
        """Fetch as many chunks as the cache has rows, and one more: a large result is never held in memory."""
        chunks, fetched, rows = iter(query()), [], list[Any]()
        for chunk in chunks:
            fetched.append(chunk)
            rows += chunk
            if len(rows) > len(self._stored.rows):
                return Answer(chain(fetched, chunks), rows, time.perf_counter() - began)
        return Answer(fetched, rows, time.perf_counter() - began)

    # The comparison -------------------------------------------------------------------------

    def _judge(self, answer: Answer) -> tuple[str | None, bool]:
        """Return the kind of a difference that no write through ormcache explains, and whether that is certain."""
        stored = self._stored
        kind = difference(stored.rows, answer.rows)
        if kind is None:
            return None, True
        sql, _ = stored.compiled
        if not is_determined(kind, self._compiler.query, sql, stored.rows, answer.rows):
            return None, False
        return (kind, True) if self._is_unchanged() else (None, False)

    def _is_unchanged(self) -> bool:
        """Return whether nothing was written meanwhile, and the connection still is what the entry was named by."""
        database, state, stored = self._database, self._state, self._stored
        if stored.vector is None or database.server.replica:  # which may be behind
            return False
        if state.known() is not database or self._writes.transaction.dirty != self._dirty:
            return False
        if state.session.base is None or state.prefix(database) != stored.prefix:
            return False
        try:
            return database.still_holds(stored.slots, stored.vector)
        except StoreUnavailable:
            return False

    # What follows -----------------------------------------------------------------------------

    def _report(self, kind: str, live: Sequence[Any]) -> None:
        """Invalidate what depends on these relations, and log the evidence."""
        database = self._database
        database.renew(self._stored.plan.relations)
        more = database.violation_log.due()
        if more is None:
            return
        try:
            evidence = " ".join("; ".join(self._evidence(kind, live)).split())
        except UNEXPECTED as error:
            let_through(error)
            evidence = "its values cannot be shown"
        logger.error("a stored result differs from the database, and no write was seen: %s%s", evidence, more)

    def _evidence(self, kind: str, live: Sequence[Any]) -> Iterator[str]:
        """Yield what is known of a difference, with values only if SHOW_PARAMETERS allows it."""
        stored, database = self._stored, self._database
        sql, params = stored.compiled
        shows_values = database.config.show_parameters
        yield f"database {self._state.alias!r}"
        yield f"SQL {shadow.shortened(sql if shows_values else mask_literals(sql, database.vendor))}"
        if kind == ORDER:
            yield "the cache has the rows in another order"
        if shows_values:
            yield f"parameters {params!r}"
            yield f"the cache has {shadow.listing(stored.rows, live)}"
            yield f"the database has {shadow.listing(live, stored.rows)}"
        else:
            yield from self._counts(live)
        yield f"relations {', '.join(sorted(stored.plan.relations)) or 'none'}, all of which were invalidated"
        yield f"{'by row; ' if stored.slots is not stored.plan.slots else ''}entry {stored.entry.hex()}"
        yield from self._stamps()

    def _counts(self, live: Sequence[Any]) -> Iterator[str]:
        """Describe a difference without values: how many rows there are, and in which columns they differ."""
        stored = self._stored.rows
        here, there = shadow.only_here(stored, live), shadow.only_here(live, stored)
        yield f"the cache has {shadow.count_rows(stored)}, {len(here)} of them unknown to the database"
        yield f"the database has {shadow.count_rows(live)}, {len(there)} of them unknown to the cache"
        names, differing = self._columns(), dict[str, None]()
        for one, other in zip(here[:MOST_PAIRS], there[:MOST_PAIRS], strict=False):
            if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
                for place, (value, live_value) in enumerate(zip(one, other, strict=False)):
                    if exact(value) != exact(live_value):
                        differing[names[place] if place < len(names) else str(place + 1)] = None
        if differing:
            yield f"columns that differ: {', '.join(differing)}"

    def _columns(self) -> list[str]:
        """Return the names of the columns of the result, as far as Django knows them."""
        names = []
        for place, (expression, _, alias) in enumerate(getattr(self._compiler, "select", None) or (), 1):
            names.append(str(alias or getattr(getattr(expression, "target", None), "column", None) or place))
        return names

    def _stamps(self) -> Iterator[str]:
        """Describe the vector: each slot with the time of its stamp, that of the last write that was seen."""
        slots, vector, relation_of = self._stored.slots, self._stored.vector or b"", self._database.slots.relation_of
        for place, slot in enumerate(slots[:MOST_SLOTS]):
            stamp = vector[place * STAMP_LENGTH : (place + 1) * STAMP_LENGTH]
            moment = datetime.datetime.fromtimestamp(time_of(stamp), datetime.UTC)
            yield f"last write seen of {relation_of(slot) or 'a row'}: {moment:%Y-%m-%d %H:%M:%S.%f} UTC"
        if len(slots) > MOST_SLOTS:
            yield f"and of {len(slots) - MOST_SLOTS} more slots"
