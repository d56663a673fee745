"""Whether the running code wants to read from the cache, and what tests have put in place of the settings."""

from __future__ import annotations

from contextvars import ContextVar, Token
from enum import Enum

from ormcache.decorating import AnyDecorator

#: True inside ``disabled()``; every thread and every asyncio task has its own value
_disabled: ContextVar[bool] = ContextVar("ormcache_disabled", default=False)


class Mode(Enum):
    """What becomes of reads while a test says so, whatever the settings are."""

    ON = "on"
    OFF = "off"  # no read asks the cache; writes are told to it
    SHADOW = "shadow"  # each hit is held against the database


#: Of the whole process, because what is tested may have threads of its own, a live server for instance. None: the
#: settings decide, as they do in all processes but those that run tests. :mod:`ormcache.testing` sets it.
_mode: Mode | None = None


def mode() -> Mode | None:
    return _mode


def put(mode: Mode | None) -> Mode | None:
    """Put this in place of the settings; None: nothing. Returns what was there."""
    global _mode
    before, _mode = _mode, mode
    return before


def is_disabled() -> bool:
    return _disabled.get() or _mode is Mode.OFF


def forces_on() -> bool:
    """Does a test want the cache although the settings may say that there is none?"""
    return _mode in (Mode.ON, Mode.SHADOW)


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
