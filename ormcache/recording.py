"""Collecting what became of the reads and writes of one piece of code, for tests and for people who look at a request.

A recorder belongs to the context that enters it: the thread or asyncio task, the tasks that it starts inside, and the
threads that asgiref's ``sync_to_async`` runs for it. Two requests that are served at once do not see each other's.
"""

from __future__ import annotations

import time
from contextlib import AbstractContextManager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Self

from ormcache import signals
from ormcache.figures.caller import caller

#: What becomes of a read
HIT, MISS, BYPASS = "hit", "miss", "bypass"

#: Stands for the recorders that the running code is under. Not themselves: a context may live on for long
_entered: ContextVar[frozenset[object]] = ContextVar("ormcache_recorders", default=frozenset())


@dataclass(frozen=True, slots=True)
class Read:
    """What became of one read. Times are in seconds."""

    outcome: str  # HIT, MISS or BYPASS
    using: str  # the database's alias
    sql: str
    params: Any
    relations: frozenset[str]  # empty if that was not asked
    at: float  # since the recorder was entered
    took: float | None = None  # that the cache took; None for a bypass
    query: float | None = None  # that the database took; None for a hit
    saved: float | None = None  # by a hit, an estimate; None where nothing is known of the query
    cause: str | None = None  # of a miss, see ormcache.figures.Miss
    retired_by: str | None = None  # of a miss: the relation that has retired what was there; "*" for everything
    refused: str | None = None  # of a miss: why its result was not kept
    reason: str | None = None  # of a bypass
    caller: str | None = None  # "path:line" of the project, if there is one in this thread


@dataclass(frozen=True, slots=True)
class Retired:
    """Results that were retired at one moment: by a statement in autocommit, a COMMIT or ``ormcache.invalidate()``."""

    using: str
    relations: frozenset[str]  # what was written, "*" for everything
    causes: tuple[str, ...]  # the statements, the first one for each set of relations
    at: float  # seconds since the recorder was entered
    took: float  # seconds that marking and settling took
    caller: str | None = None


class Recorder(AbstractContextManager["Recorder"]):
    """Collects while it is entered; what it has collected stays. Not to be entered twice."""

    def __init__(self, using: str | None = None, *, everywhere: bool = False) -> None:
        """``using``: of this database alone. ``everywhere``: in all threads and tasks, not only in its own context."""
        self.using = using
        #: in the order in which they came to their end
        self.events: list[Read | Retired] = []
        self._everywhere = everywhere
        self._key = object()
        self._began = 0.0

    @property
    def reads(self) -> list[Read]:
        return [event for event in self.events if isinstance(event, Read)]

    @property
    def hits(self) -> list[Read]:
        return [read for read in self.reads if read.outcome == HIT]

    @property
    def misses(self) -> list[Read]:
        return [read for read in self.reads if read.outcome == MISS]

    @property
    def bypassed(self) -> list[Read]:
        return [read for read in self.reads if read.outcome == BYPASS]

    @property
    def retired(self) -> list[Retired]:
        return [event for event in self.events if isinstance(event, Retired)]

    def __enter__(self) -> Self:
        self._began = time.perf_counter()
        _entered.set(_entered.get() | {self._key})
        # Django refers to them weakly: a recorder that nobody leaves ends with whoever has it.
        signals.hit.connect(self._hit)
        signals.missed.connect(self._missed)
        signals.bypassed.connect(self._bypassed)
        signals.invalidated.connect(self._invalidated)
        return self

    def __exit__(self, *exc_info: object) -> None:
        signals.hit.disconnect(self._hit)
        signals.missed.disconnect(self._missed)
        signals.bypassed.disconnect(self._bypassed)
        signals.invalidated.disconnect(self._invalidated)
        # Not by a token: asgiref may leave it in another context than it has entered it in.
        _entered.set(_entered.get() - {self._key})

    def _concerns(self, using: str) -> bool:
        return (self._everywhere or self._key in _entered.get()) and self.using in (None, using)

    def _at(self) -> float:
        return time.perf_counter() - self._began

    # The signals ------------------------------------------------------------------------

    def _hit(
        self,
        *,
        using: str,
        relations: frozenset[str],
        sql: str,
        params: Any,
        took: float,
        saved: float | None,
        **ignored: Any,
    ) -> None:
        if self._concerns(using):
            self.events.append(
                Read(HIT, using, sql, params, relations, self._at(), took=took, saved=saved, caller=caller())
            )

    def _missed(
        self,
        *,
        using: str,
        relations: frozenset[str],
        sql: str,
        params: Any,
        took: float,
        query: float,
        cause: str,
        retired_by: str | None,
        refused: str | None,
        **ignored: Any,
    ) -> None:
        if self._concerns(using):
            self.events.append(
                Read(
                    MISS,
                    using,
                    sql,
                    params,
                    relations,
                    self._at(),
                    took=took,
                    query=query,
                    cause=cause,
                    retired_by=retired_by,
                    refused=refused,
                    caller=caller(),
                )
            )

    def _bypassed(
        self,
        *,
        using: str,
        reason: str,
        relations: frozenset[str],
        sql: str | None,
        params: Any,
        query: float,
        **ignored: Any,
    ) -> None:
        # Without a text there was no query: Django knew that it has no rows.
        if sql is not None and self._concerns(using):
            self.events.append(
                Read(BYPASS, using, sql, params, relations, self._at(), query=query, reason=reason, caller=caller())
            )

    def _invalidated(
        self, *, using: str, relations: frozenset[str], causes: tuple[str, ...], took: float, **ignored: Any
    ) -> None:
        if self._concerns(using):
            self.events.append(Retired(using, relations, causes, self._at(), took, caller()))
