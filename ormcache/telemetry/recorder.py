"""Records what becomes of the reads and writes of one piece of code, for tests and for a look at one request.

A recorder belongs to the context that enters it: the thread or asyncio task, the tasks that it starts inside, and the
threads that asgiref's ``sync_to_async`` runs for it. Two requests that are served at once do not see each other's.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from contextvars import ContextVar
from dataclasses import dataclass, fields
from typing import Any, Self

from ormcache.telemetry.listener import BYPASS, HIT, MISS, SignalListener
from ormcache.utils.call_site import caller

#: Stands for the recorders that the running code is under. Not themselves: a context may live for long
_entered: ContextVar[frozenset[object]] = ContextVar("ormcache_recorders", default=frozenset())


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedRead:
    """What became of one read. Times are in seconds."""

    outcome: str  # "hit", "miss" or "bypass"
    using: str  # the database's alias
    sql: str
    params: Any
    relations: frozenset[str]  # empty if the read was bypassed before they were looked at
    at: float  # since the recorder was entered
    took: float | None = None  # that the cache took; None for a bypass
    query: float | None = None  # that the database took; None for a hit
    saved: float | None = None  # by a hit, an estimate; None if the query was not timed yet
    cause: str | None = None  # of a miss, see ormcache.reasons.Miss
    invalidated_by: str | None = None  # of a miss: the relation whose write invalidated the result; "*" for everything
    rejected: str | None = None  # of a miss: why its result was not stored
    reason: str | None = None  # of a bypass
    by_row: bool = False  # did the result that was served, or could not be served any more, depend on single rows?
    caller: str | None = None  # "path:line" of the project, if there is one in this thread


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedInvalidation:
    """An invalidation of results: by a statement in autocommit, a COMMIT or ``ormcache.invalidate()``."""

    using: str
    relations: frozenset[str]  # that were written, "*" for everything
    causes: tuple[str, ...]  # the statements, the first one for each set of relations
    at: float  # seconds since the recorder was entered
    took: float  # seconds that marking and settling took
    caller: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedUse:
    """What became of one use of a function, a fragment or a page. Times are in seconds."""

    outcome: str  # "hit" or "miss"
    using: str  # the alias of the database whose store has it
    kind: str  # "function", "fragment" or "page"
    label: str
    at: float  # since the recorder was entered
    took: float  # that the cache took for a hit, or that computing it took
    saved: float | None = None  # by a hit, an estimate; None if it was not computed in this process yet
    outdated: bool = False  # of a hit: was it served under its grace, while another caller computed?
    cause: str | None = None  # of a miss, see ormcache.reasons.Miss; None: nothing was looked up
    invalidated_by: str | None = None  # of a miss: the relation whose write invalidated it, if that is known
    rejected: str | None = None  # of a miss: why it was not stored
    sql: str | None = None  # of the statement that is the reason for that, if it is one
    relations: frozenset[str] = frozenset()  # of that statement
    caller: str | None = None  # "path:line" of the project that ran that statement
    subject: str | None = None  # what the reason is about, in words, if it is no statement


class Recorder(SignalListener, AbstractContextManager["Recorder"]):
    """Records while it is entered; what it has recorded stays. It cannot be entered twice."""

    def __init__(self, using: str | None = None, *, everywhere: bool = False) -> None:
        """``using``: record this database only. ``everywhere``: in all threads and tasks, not only in this context."""
        self.using = using
        #: in the order in which they ended
        self.events: list[RecordedRead | RecordedInvalidation] = []
        #: functions, fragments and pages, in the order in which they ended
        self.uses: list[RecordedUse] = []
        self._everywhere = everywhere
        self._key = object()
        self._began = 0.0

    @property
    def reads(self) -> list[RecordedRead]:
        """All reads."""
        return [event for event in self.events if isinstance(event, RecordedRead)]

    @property
    def hits(self) -> list[RecordedRead]:
        """The reads that the cache answered."""
        return [read for read in self.reads if read.outcome == HIT]

    @property
    def misses(self) -> list[RecordedRead]:
        """The reads that were looked up in vain."""
        return [read for read in self.reads if read.outcome == MISS]

    @property
    def bypassed(self) -> list[RecordedRead]:
        """The reads that were not looked up."""
        return [read for read in self.reads if read.outcome == BYPASS]

    @property
    def invalidations(self) -> list[RecordedInvalidation]:
        """What writes invalidated."""
        return [event for event in self.events if isinstance(event, RecordedInvalidation)]

    def __enter__(self) -> Self:
        self._began = time.perf_counter()
        _entered.set(_entered.get() | {self._key})
        self.connect()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.disconnect()
        # Not by a token: asgiref may leave it in another context than it has entered it in.
        _entered.set(_entered.get() - {self._key})

    def read(self, outcome: str, arguments: Mapping[str, Any]) -> None:
        """Record a read."""
        if self._concerns(arguments["using"]):
            given = {name: arguments[name] for name in _READ_ARGUMENTS if name in arguments}
            self.events.append(RecordedRead(outcome=outcome, at=self._now(), caller=caller(), **given))

    def use(self, outcome: str, arguments: Mapping[str, Any]) -> None:
        """Record a use of a function, a fragment or a page."""
        if self._concerns(arguments["using"]):
            given = {name: arguments[name] for name in _USE_ARGUMENTS if name in arguments}
            self.uses.append(RecordedUse(outcome=outcome, at=self._now(), **given))

    def invalidation(self, arguments: Mapping[str, Any]) -> None:
        """Record an invalidation."""
        if self._concerns(arguments["using"]):
            given = {name: arguments[name] for name in ("using", "relations", "causes", "took")}
            self.events.append(RecordedInvalidation(at=self._now(), caller=caller(), **given))

    def _concerns(self, using: str) -> bool:
        return (self._everywhere or self._key in _entered.get()) and self.using in (None, using)

    def _now(self) -> float:
        return time.perf_counter() - self._began


#: The fields of a read that its signal has as an argument
_READ_ARGUMENTS = tuple(field.name for field in fields(RecordedRead) if field.name not in ("outcome", "at", "caller"))
#: The same of a use
_USE_ARGUMENTS = tuple(field.name for field in fields(RecordedUse) if field.name not in ("outcome", "at"))
