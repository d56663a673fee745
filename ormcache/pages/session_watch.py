"""Notes whether a block reads the key of a session, of which Django's sessions leave no trace."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from django.contrib.sessions.backends.base import SessionBase

#: In the ``__dict__`` of a session while it is watched: its key was read
_READ: Final = "_ormcache_key_was_read"
#: Classes of sessions that one process remembers; a site has one
_MOST_CLASSES = 16


class WatchedSession:
    """The first base of the class that a session has while it is watched."""

    @property
    def session_key(self) -> Any:
        """Return the key, and note that it was read."""
        vars(self)[_READ] = True
        return super().session_key  # type: ignore[misc]

    @property
    def _session_key(self) -> Any:
        vars(self)[_READ] = True
        return super()._session_key  # type: ignore[misc]

    @_session_key.setter
    def _session_key(self, value: Any) -> None:
        super(WatchedSession, type(self))._session_key.fset(self, value)  # type: ignore[misc]

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Return what copies and pickles make a session of its own class of, and note that all of it was read."""
        cls: Any = type(self)
        attributes = vars(self)
        attributes[_READ] = attributes["accessed"] = True
        state = {name: value for name, value in attributes.items() if name != _READ}
        return _new, (cls.__mro__[cls.__mro__.index(WatchedSession) + 1],), state


def _new(cls: Any) -> Any:
    return cls.__new__(cls)


def can_be_watched(session: Any) -> bool:
    """Return whether it is a session of Django, or of a subclass of it, and no object that stands for one."""
    return issubclass(type(session), SessionBase)


@contextmanager
def watched(session: Any) -> Iterator[None]:
    """Note in the block whether the key is read; see :func:`is_key_read`. ``session``: None: there is none."""
    if session is None:
        yield
        return
    cls: Any = type(session)
    vars(session).pop(_READ, None)
    session.__class__ = _watched_class(cls)
    try:
        yield
    finally:
        session.__class__ = cls


def is_key_read(session: Any) -> bool:
    """Return whether the key was read while the session was watched."""
    return session is not None and _READ in vars(session)


def forget_key_read(session: Any) -> None:
    """Let the key count as not read."""
    vars(session).pop(_READ, None)


@functools.lru_cache(maxsize=_MOST_CLASSES)
def _watched_class(cls: Any) -> Any:
    if issubclass(cls, WatchedSession):
        return cls
    # Of the same name, of which Django makes the salt that signs the data.
    names = {"__module__": cls.__module__, "__qualname__": cls.__qualname__}
    return type(cls)(cls.__name__, (WatchedSession, cls), names)
