"""What one session has set that decides results.

A session begins with what the server tells right after the connection was made, and is followed from there by
the statements that change it. Two sessions share results only if both are equal. What cannot be followed makes
the session one that shares nothing, until it is reset or closed.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any
from weakref import WeakKeyDictionary

from ormcache import reasons
from ormcache.keys import Unkeyable, digest, exact
from ormcache.sql import SessionChange

#: Isolation levels under which every statement sees what is committed by then
_PER_STATEMENT = frozenset({"read committed"})

#: DB-API connection → the session that it was left in when Django gave it back. A pool hands the same connection out
#: again, to any thread, with all that was set on it. An item dies with its connection.
_left: WeakKeyDictionary[Any, Session] = WeakKeyDictionary()


#: setting → its value, in a form that differs for different values
Settings = dict[str, str]


class Session:
    """The settings of one DB-API connection; the thread that uses the connection owns it."""

    def __init__(self) -> None:
        self.base: tuple[object, ...] | None = None  # None: the server must be asked (again)
        self.isolation = "unknown"
        self.temporary: frozenset[str] = frozenset()  # names of temporary tables, folded
        self.obstacle: str | None = None  # why it shares nothing
        self.serial = False  # this transaction asked for a snapshot
        self.hides = False  # a text does not tell all that it writes: temporary triggers, another lexicon
        # In the order in which they were set: some settings change others.
        self._settings: Settings = {}
        self._local: Settings = {}  # SET LOCAL: until the transaction ends
        self._before: Settings | None = None  # as it was when the transaction first set something
        self._savepoints: list[tuple[str, Settings, Settings]] = []
        self._fingerprint: bytes | None = None

    @property
    def fingerprint(self) -> bytes:
        """16 bytes for all that this session has set."""
        if self._fingerprint is None:
            told = repr((self.base, list(self._settings.items()), list(self._local.items())))
            self._fingerprint = digest(told.encode("utf-8", "surrogatepass"))
        return self._fingerprint

    def described(self, base: tuple[object, ...], isolation: str) -> None:
        """What the server tells of it now."""
        self.base = base
        self.isolation = isolation
        self._fingerprint = None

    def snapshots(self) -> bool:
        """Do transactions of this session keep to one snapshot?"""
        return self.serial or self.isolation not in _PER_STATEMENT

    # Changes ----------------------------------------------------------------------

    def change(self, change: SessionChange, params: Any, *, in_transaction: bool) -> None:
        """Follow a statement that has run."""
        if change.local and not change.isolation and not in_transaction:
            return  # it has ended with its statement
        if in_transaction and self._before is None:
            self._before = dict(self._settings)
        self.hides = self.hides or change.hides
        if not change.followed:
            self.obstacle = self.obstacle or change.reason or reasons.SESSION
        elif change.isolation:
            if change.local and in_transaction:
                self.serial = True
            else:
                self.isolation = "unknown"
        elif change.name is None:
            self._settings = {}
            self.temporary = frozenset()
            self.obstacle = None
            self.hides = False
            self.base = None
        else:
            self._set(change, params)
        self._fingerprint = None

    def _set(self, change: SessionChange, params: Any) -> None:
        value = repr(change.value)
        if change.value is not None and any("%" in part for part in change.value):
            try:
                value += exact(params if isinstance(params, Sequence) else None)
            except Unkeyable:
                self.obstacle = reasons.SESSION
        name = change.name or ""
        self._local.pop(name, None)
        if change.local:
            self._local[name] = value
        else:
            self._settings.pop(name, None)
            self._settings[name] = value

    def unfollowed(self) -> None:
        """Something ran that may have set anything."""
        self.obstacle = self.obstacle or reasons.SESSION

    # Transactions -------------------------------------------------------------------

    def savepoint(self, name: str) -> None:
        if self._before is None:
            self._before = dict(self._settings)
        self._savepoints.append((name, dict(self._settings), dict(self._local)))

    def rolled_back_to(self, name: str) -> None:
        for at in range(len(self._savepoints) - 1, -1, -1):
            if self._savepoints[at][0] == name:
                self._settings, self._local = dict(self._savepoints[at][1]), dict(self._savepoints[at][2])
                self._fingerprint = None
                del self._savepoints[at + 1 :]
                return

    def ended(self, *, undone: bool) -> None:
        """The transaction is over. ``undone``: it was rolled back, and that takes back what it has set."""
        if self._before is not None:
            if undone:
                self._settings = self._before
            self._before = None
            self._local = {}
            self._fingerprint = None
        self.serial = False
        self._savepoints.clear()

    def absorb(self, other: Session) -> None:
        """Take over what was set while the connection was being made."""
        for name, value in other._settings.items():
            self._settings.pop(name, None)
            self._settings[name] = value
        self.obstacle = self.obstacle or other.obstacle
        self.hides = self.hides or other.hides
        self._fingerprint = None

    def copied(self) -> Session:
        """The session that another connection of the same settings will begin with."""
        copy = Session()
        copy.described(self.base or (), self.isolation)
        copy.obstacle = self.obstacle
        copy.hides = self.hides
        copy._settings = dict(self._settings)
        copy._fingerprint = self.fingerprint
        return copy

    def leave(self, connection: Any) -> None:
        """The DB-API connection is given back, perhaps to a pool."""
        with suppress(TypeError):  # a connection that cannot be referred to weakly comes from no pool of Django's
            _left[connection] = self

    @classmethod
    def taken(cls, connection: Any) -> Session:
        """The session of a DB-API connection that was just handed out."""
        with suppress(TypeError):
            return _left.pop(connection, None) or cls()
        return cls()
