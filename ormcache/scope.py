"""The request or task that the running code serves, for the level ``request``.

A request is told by Django's signals. Under ASGI, Django before 6.1 sends them in another context than the view's, so
there it takes :func:`ormcache.middleware.request_scope`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from django.core.signals import request_finished, request_started

from ormcache.decorating import AnyDecorator

#: Seconds after which a request that nobody has ended, or that takes so long, begins to remember anew
LONGEST = 60.0


class Scope:
    """What one request remembers, by whom. Code that outlives the request may still have it, and finds it ended."""

    __slots__ = ("_clock", "_ends", "_memories")

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.begin()

    def begin(self) -> None:
        """Forget everything."""
        self._memories: dict[object, dict[Any, Any]] = {}
        self._ends = self._clock() + LONGEST

    def end(self) -> None:
        self._ends = -math.inf
        self._memories = {}

    @property
    def ended(self) -> bool:
        return self._ends == -math.inf

    def memory_of(self, owner: object) -> dict[Any, Any] | None:
        """What ``owner`` remembers in this request; None once that is over."""
        if self._clock() >= self._ends:
            if self.ended:
                return None
            self.begin()
        memory = self._memories.get(owner)
        if memory is None:
            memory = self._memories[owner] = {}
        return memory


_current: ContextVar[Scope | None] = ContextVar("ormcache_scope", default=None)

current_scope = _current.get


class as_request(AnyDecorator):  # noqa: N801  # used like a function, as contextlib's own are
    """Let this block, or the decorated function, count as one request for the consistency level ``"request"``.

    For tasks and commands. Works for threads, for asyncio tasks and as a decorator of coroutines. Inside a request, it
    is a new beginning: what was remembered so far is forgotten.
    """

    def __init__(self) -> None:
        self._begun: list[Scope | None] = []

    def __enter__(self) -> None:
        scope = _current.get()
        if scope is None or scope.ended:
            self._begun.append(_begin())
        else:
            scope.begin()
            self._begun.append(None)

    def __exit__(self, *exc_info: object) -> None:
        scope = self._begun.pop()
        if scope is not None:
            scope.end()
            _current.set(None)


def _begin() -> Scope:
    scope = Scope()
    _current.set(scope)
    return scope


def _request_started(**kwargs: Any) -> None:
    _begin()  # whether or not the last one of this thread was ended


def _request_finished(**kwargs: Any) -> None:
    scope = _current.get()
    if scope is not None:
        scope.end()
        _current.set(None)


request_started.connect(_request_started, dispatch_uid="ormcache.scope")
request_finished.connect(_request_finished, dispatch_uid="ormcache.scope")
