"""The request or task that the running code serves, for the consistency level ``"request"``.

Django's signals say when a request begins and ends. Under ASGI, Django before 6.1 sends them in another context than
the view's, so that :func:`ormcache.middleware.request_scope` is needed there.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from django.core.signals import request_finished, request_started

from ormcache.utils.decorators import AnyDecorator

#: Seconds after which a request forgets what it remembers: it takes that long, or was never ended
LONGEST = 60.0


class RequestScope:
    """The memories of one request, by owner. Code that outlives the request may still hold it, and finds it ended."""

    __slots__ = ("_clock", "_ends", "_memories")

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.begin()

    def begin(self) -> None:
        """Forget everything."""
        self._memories: dict[object, dict[Any, Any]] = {}
        self._ends = self._clock() + LONGEST

    def end(self) -> None:
        """Forget everything, for good."""
        self._ends = -math.inf
        self._memories = {}

    @property
    def has_ended(self) -> bool:
        """Whether the request is over."""
        return self._ends == -math.inf

    def memory_of(self, owner: object) -> dict[Any, Any] | None:
        """Return the dict that belongs to ``owner`` in this request; None once the request is over."""
        if self._clock() >= self._ends:
            if self.has_ended:
                return None
            self.begin()
        memory = self._memories.get(owner)
        if memory is None:
            memory = self._memories[owner] = {}
        return memory


_current: ContextVar[RequestScope | None] = ContextVar("ormcache_scope", default=None)

#: Returns the scope of the request that the running code serves; None: it serves none
current_scope = _current.get


class as_request(AnyDecorator):  # noqa: N801  # used like a function, as contextlib's own are
    """Let this block, or the decorated function, count as one request for the consistency level ``"request"``.

    For tasks and commands. Works with threads and asyncio tasks, and decorates coroutines as well. Inside a request it
    starts anew: what the request has remembered so far is forgotten.
    """

    def __init__(self) -> None:
        self._begun: list[RequestScope | None] = []

    def __enter__(self) -> None:
        scope = _current.get()
        if scope is None or scope.has_ended:
            self._begun.append(_begin())
        else:
            scope.begin()
            self._begun.append(None)

    def __exit__(self, *exc_info: object) -> None:
        scope = self._begun.pop()
        if scope is not None:
            scope.end()
            _current.set(None)


def _begin() -> RequestScope:
    """Begin a request in this context."""
    scope = RequestScope()
    _current.set(scope)
    return scope


def _request_started(**kwargs: Any) -> None:
    _begin()  # even if the last one of this thread was not ended


def _request_finished(**kwargs: Any) -> None:
    scope = _current.get()
    if scope is not None:
        scope.end()
        _current.set(None)


request_started.connect(_request_started, dispatch_uid="ormcache.context.request_scope")
request_finished.connect(_request_finished, dispatch_uid="ormcache.context.request_scope")
