"""Whether the running code reads from the cache, and the mode that tests have put in place of the settings."""

from __future__ import annotations

from contextvars import ContextVar, Token
from enum import Enum

from ormcache.utils.decorators import AnyDecorator

#: True inside ``disabled()``; each thread and each asyncio task has a value of its own
_disabled: ContextVar[bool] = ContextVar("ormcache_disabled", default=False)


class Mode(Enum):
    """How reads are answered while a test overrides the settings."""

    ON = "on"
    OFF = "off"  # reads bypass the cache; writes are published
    SHADOW = "shadow"  # each hit is compared with the database


#: Applies to the whole process, because what is tested may have threads of its own, such as a live server. None: the
#: settings decide, as in every process that runs no tests. Set by :mod:`ormcache.testing`.
_mode: Mode | None = None


def mode() -> Mode | None:
    """Return the mode that overrides the settings; None: the settings decide."""
    return _mode


def set_mode(mode: Mode | None) -> Mode | None:
    """Override the settings with a mode; None: let them decide. Returns the mode before."""
    global _mode
    before, _mode = _mode, mode
    return before


def is_disabled() -> bool:
    """Return whether reads of the running code bypass the cache."""
    return _disabled.get() or _mode is Mode.OFF


def is_forced_on() -> bool:
    """Return whether a test has switched the cache on, whatever ``ENABLED`` says."""
    return _mode in (Mode.ON, Mode.SHADOW)


class disabled(AnyDecorator):  # noqa: N801  # used like a function, as contextlib's own are
    """Read from the database inside this block, or in the decorated function, and store none of the results.

    Writes are published as ever. Works with threads and asyncio tasks, and decorates coroutines as well.
    """

    def __init__(self) -> None:
        self._tokens: list[Token[bool]] = []

    def __enter__(self) -> None:
        self._tokens.append(_disabled.set(True))

    def __exit__(self, *exc_info: object) -> None:
        _disabled.reset(self._tokens.pop())
