"""Whether the running code wants to read from the cache."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import ContextDecorator
from contextvars import ContextVar, Token
from typing import Any, TypeVar

from asgiref.sync import iscoroutinefunction

F = TypeVar("F", bound=Callable[..., Any])

#: True inside ``disabled()``; every thread and every asyncio task has its own value
_disabled: ContextVar[bool] = ContextVar("ormcache_disabled", default=False)

is_disabled = _disabled.get


class disabled(ContextDecorator):  # noqa: N801  # used like a function, as contextlib's own are
    """Read from the database inside this block, or in the decorated function, and keep none of the results.

    Writes are told to the store as ever. Works for threads, for asyncio tasks and as a decorator of coroutines.
    """

    def __init__(self) -> None:
        self._tokens: list[Token[bool]] = []

    def __enter__(self) -> None:
        self._tokens.append(_disabled.set(True))

    def __exit__(self, *exc_info: object) -> None:
        _disabled.reset(self._tokens.pop())

    def __call__(self, func: F) -> F:
        if iscoroutinefunction(func):

            @functools.wraps(func)
            async def within(*args: Any, **kwargs: Any) -> Any:
                with disabled():
                    return await func(*args, **kwargs)

            return within  # type: ignore[return-value]
        return super().__call__(func)

    def _recreate_cm(self) -> disabled:
        # One decorated function may run in many threads at once.
        return disabled()
