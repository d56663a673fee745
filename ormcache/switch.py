"""Whether the running code wants to read from the cache."""

from __future__ import annotations

from contextvars import ContextVar, Token

from ormcache.decorating import AnyDecorator

#: True inside ``disabled()``; every thread and every asyncio task has its own value
_disabled: ContextVar[bool] = ContextVar("ormcache_disabled", default=False)

is_disabled = _disabled.get


class disabled(AnyDecorator):  # noqa: N801  # used like a function, as contextlib's own are
    """Read from the database inside this block, or in the decorated function, and keep none of the results.

    Writes are told to the store as ever. Works for threads, for asyncio tasks and as a decorator of coroutines.
    """

    def __init__(self) -> None:
        self._tokens: list[Token[bool]] = []

    def __enter__(self) -> None:
        self._tokens.append(_disabled.set(True))

    def __exit__(self, *exc_info: object) -> None:
        _disabled.reset(self._tokens.pop())
