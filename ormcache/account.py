"""What is told of one read: to the figures, to the judge of its worth, and to whoever listens to the signals."""

from __future__ import annotations

import time
from typing import Any

from ormcache import signals
from ormcache.catalog import EPOCH
from ormcache.figures import Miss, Text, has_present_moment
from ormcache.planning import Plan
from ormcache.publishing import publisher
from ormcache.stamps import Found, changed
from ormcache.state import State


class Account:
    """Of one read; it is told what happens and passes it on. Times are in seconds."""

    connecting = 0.0  # that it took to make a connection, as the database would have without a cache
    retired = False  # was there a result that may not be served any more?
    filled = False  # were slots of its relations empty?
    waits = False  # has it waited for another reader's query?
    _cause = Miss.COLD
    _by: str | None = None  # the relation that has retired what was there
    _is_planned = False
    _plan: Plan  # once it is planned
    _text: Text

    def __init__(self, state: State) -> None:
        self.began = time.perf_counter()
        self._state = state

    def planned(self, plan: Plan, sql: str) -> Text:
        self._is_planned, self._plan = True, plan
        self._text = text = self._state.figures.text(plan, sql)
        return text

    def found_outdated(self, before: bytes | None, found: Found, *, expired: bool) -> None:
        """There was a result that was kept under the vector ``before`` (None: that is not known)."""
        self.retired = True
        place = None if before is None or found.vector is None else changed(before, found.vector)
        if self.filled:
            self._cause = Miss.LOST
        elif place is not None:
            self._cause = Miss.RETIRED
            self._by = EPOCH if place == 0 else sorted(self._plan.relations)[place - 1]
        elif expired:
            self._cause = Miss.EXPIRED
        else:
            self._cause = Miss.RETIRED  # by a change of the schema, or of the settings

    def missing(self, found: Found) -> None:
        """The store had nothing to serve."""
        if found.retired:
            self.found_outdated(found.before, found, expired=found.expires is not None)

    def begins_to_wait(self) -> None:
        self.waits = True
        self._state.figures.waits(self._text)

    # The end of it ----------------------------------------------------------------------

    def hit(self, sender: type, compiled: Any, *, read: int) -> None:
        """It was served; ``read`` bytes of it from the store."""
        took = time.perf_counter() - self.began
        plan, text = self._plan, self._text
        self._state.figures.hit(text, took, read=read, waited=self.waits)
        if plan.worth is not None and not self.waits:
            plan.worth.hit(took)
        if signals.hit.receivers:
            query = text.tally.mean_query_seconds
            signals.tell(
                signals.hit,
                sender,
                using=self._state.alias,
                relations=plan.relations,
                sql=compiled[0],
                params=compiled[1],
                took=took,
                saved=None if query is None else query - took,
            )

    def missed(
        self, sender: type, compiled: Any, *, vector: bytes | None, query: float, refused: str | None, written: int
    ) -> None:
        """The database was asked, for ``query`` seconds; ``refused``: why its answer was not kept."""
        if publisher.rests:
            publisher.resume()
        took = time.perf_counter() - self.began - query
        plan, text = self._plan, self._text
        cause, by = (Miss.MARKED, None) if vector is None else (self._cause, self._by)
        self._state.figures.missed(
            text,
            cause,
            by,
            took,
            query,
            refused=refused,
            written=written,
            waited=self.waits,
        )
        if text.is_suspicious and compiled[1]:
            text.moment = text.moment or has_present_moment(compiled[1])
        if plan.worth is not None and not self.waits:
            plan.worth.missed(took, query, retired=self.retired, vector=vector)
        if signals.missed.receivers:
            signals.tell(
                signals.missed,
                sender,
                using=self._state.alias,
                relations=plan.relations,
                sql=compiled[0],
                params=compiled[1],
                took=took,
                query=query,
                cause=cause,
                retired_by=by,
                refused=refused,
            )

    def bypassed(self, reason: str) -> None:
        """The database is about to be asked without the cache."""
        self._state.figures.bypassed(reason, self._text if self._is_planned else None)

    def uncached(self, sender: type, reason: str, compiled: Any, query: float) -> None:
        """It was."""
        if self._is_planned:
            self._state.figures.uncached(self._text, query)
        if signals.bypassed.receivers:
            signals.tell(
                signals.bypassed,
                sender,
                using=self._state.alias,
                reason=reason,
                relations=self._plan.relations if self._is_planned else frozenset(),
                sql=compiled[0],
                params=compiled[1],
                query=query,
            )
