"""What one session has set that decides results.

A session begins with what the server tells right after the connection was made, and is followed from there by
the statements that change it. Two sessions share results only if both are equal. What cannot be followed makes
the session one that shares nothing, until it is reset or closed.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any
from weakref import WeakKeyDictionary

from ormcache import reasons
from ormcache.catalog import ANYWHERE, Standpoint
from ormcache.keys import Unkeyable, digest
from ormcache.sql import Parameter, SessionChange, split_path
from ormcache.values import (
    NULL,
    SEVERAL,
    Settings,
    Value,
    classified,
    is_custom,
    name_of,
    place,
    resolved,
    text_of,
    without,
)

#: Isolation levels under which every statement sees what is committed by then
_PER_STATEMENT = frozenset({"read committed"})

#: DB-API connection → the session that it was left in when Django gave it back. A pool hands the same connection out
#: again, to any thread, with all that was set on it. An item dies with its connection.
_left: WeakKeyDictionary[Any, Session] = WeakKeyDictionary()

#: What PgBouncer restores when it gives a client another of the server's sessions
_RESTORED = frozenset({"application_name", "client_encoding", "datestyle", "standard_conforming_strings", "timezone"})

#: Settings whose new value depends on the one before, so that the server has to be asked
_RELATIVE = frozenset({"datestyle", "character set"})

_USERS = ("role", "session_authorization")


class Session:
    """The settings of one DB-API connection; the thread that uses the connection owns it."""

    def __init__(self) -> None:
        self.base: tuple[object, ...] | None = None  # None: the server must be asked (again)
        self.isolation = "unknown"
        self.temporary: frozenset[str] = frozenset()  # names of temporary tables, folded
        self.obstacle: str | None = None  # why it shares nothing
        self.serial = False  # this transaction asked for a snapshot
        self.hides = False  # a text does not tell all that it writes: temporary triggers, another lexicon
        self.pooled = False  # what is set outlives its transaction on a session of the server that others have next
        # In the order in which they were set: some settings change others. Replaced, never changed.
        self._settings: Settings = {}
        self._local: Settings = {}  # SET LOCAL: until the transaction ends
        #: custom settings that were ever set: from then on they are empty and not missing, whatever is taken back
        self._defined: frozenset[str] = frozenset()
        self._before: Settings | None = None  # as it was when the transaction first set something
        self._savepoints: list[tuple[str, Settings, Settings]] = []
        self._base_path: str | None = None  # as the server told them along with the base
        self._base_user: str | None = None
        self._unknown = False  # something that nobody could read may have set anything, custom settings among it
        self._asked_inside = False  # the base was asked for in a transaction that had set something
        self._authorized = False  # the user has changed: PostgreSQL's roles do not come back as they were
        self._standpoint: Standpoint | None = None
        self._fingerprint: bytes | None = None

    @property
    def fingerprint(self) -> bytes:
        """16 bytes for all that this session has set."""
        if self._fingerprint is None:
            self._fingerprint = self._told(self._base_path, "")
        return self._fingerprint

    def fingerprint_along(self, path: tuple[str, ...]) -> bytes:
        """The fingerprint that this session would have were its search path this one, names as they stand."""
        return self._told(None, repr(path))

    def _told(self, base_path: str | None, path: str) -> bytes:
        told_apart = "search_path" if path else None
        own, local = (
            sorted(((name, value) for name, value in settings.items() if name != told_apart), key=place)
            for settings in (self._settings, self._local)
        )
        told = repr((self.base, base_path, self._base_user, path, own, local, sorted(self._defined)))
        return digest(told.encode("utf-8", "surrogatepass"))

    def described(
        self,
        base: tuple[object, ...],
        isolation: str,
        *,
        path: str | None = None,
        user: str | None = None,
        pooled: bool = False,
    ) -> None:
        """What the server tells of it now."""
        if self._before is not None and self.isolation != isolation:
            isolation = "unknown"  # the level of later transactions may not be the one of this
        self._asked_inside = self._asked_inside or self._has_set
        self.base = base
        self.isolation = isolation
        self.pooled = pooled
        self._base_path, self._base_user = path, user
        if pooled and not _RESTORED.issuperset(self._settings):
            self.unfollowed()
        self._forget_told()

    def snapshots(self) -> bool:
        """Do transactions of this session keep to one snapshot?"""
        return self.serial or self.isolation not in _PER_STATEMENT

    # PostgreSQL's names -----------------------------------------------------------

    @property
    def path(self) -> tuple[str, ...] | None:
        """PostgreSQL: the schemas, folded, in which a name without one is looked up just now; None: not known.

        In the order of the search path. Some of them may not exist, or may not be open to the user: a name then
        means what is in the next one.
        """
        return self.standpoint.path

    @property
    def user(self) -> str | None:
        """PostgreSQL: the current user, folded; None: not known."""
        return self.standpoint.user

    @property
    def standpoint(self) -> Standpoint:
        """PostgreSQL: from where its statements see the catalog."""
        if self.obstacle is not None or self.hides:
            return ANYWHERE
        if self._standpoint is None:
            user, path = self._user(), self._names_in_path()
            if path is not None and "$user" in path:
                path = None if user is None else tuple(user if name == "$user" else name for name in path)
            if path is not None:
                # Temporary tables have a schema of another name.
                path = None if "pg_temp" in path else tuple(name.lower() for name in path if name)
            self._standpoint = Standpoint(path, None if user is None else user.lower())
        return self._standpoint

    def _names_in_path(self) -> tuple[str, ...] | None:
        value = self._local.get("search_path") or self._settings.get("search_path")
        if value is None or value.items is None:
            return split_path(self._base_path) if self.base is not None and self._base_path is not None else None
        if value.whole:
            text = text_of(value.items[0]) if len(value.items) == 1 else None
            return None if text is None else split_path(text)
        names = [name_of(item) for item in value.items[::2]]
        if any(item != "," for item in value.items[1::2]) or not len(value.items) % 2:
            return None
        return None if None in names else tuple(name for name in names if name is not None)

    @property
    def sets_path(self) -> bool:
        """Has a statement set the search path, as opposed to what the session began with?"""
        value = self._local.get("search_path") or self._settings.get("search_path")
        return value is not None and value.items is not None

    def _user(self) -> str | None:
        """The name of the current user."""
        for name in _USERS:
            value = self._local.get(name) or self._settings.get(name)
            if value is not None and value.items is not None:
                if len(value.items) != 1:
                    return None
                user = text_of(value.items[0]) if value.whole else name_of(value.items[0])
                return None if user == "none" else user
            if value is not None:
                break
        return self._base_user if self.base is not None else None

    @property
    def names_set(self) -> tuple[str, ...]:
        """The settings that statements have changed, by name."""
        return tuple(sorted(name for name, value in {**self._settings, **self._local}.items() if value.items))

    # Changes ----------------------------------------------------------------------

    def change(self, change: SessionChange, params: Any, *, in_transaction: bool) -> None:
        """Follow a statement that has run."""
        if params is SEVERAL:
            self.unfollowed()
            self.hides = self.hides or change.hides or isinstance(change.name, Parameter)
            return
        for part in (change, *change.also):
            told = classified(part, params)
            if told is not None:
                self._follow(told, params, in_transaction)
        self._forget_told()

    def failed(self, change: SessionChange, params: Any) -> None:
        """A statement that would have set this has failed, in no transaction that was broken already.

        Of what it has set nothing stays; but a custom setting may have been defined on the way.
        """
        if params is SEVERAL:
            self.unfollowed()
            return
        for part in (change, *change.also):
            told = classified(part, params)
            if told is not None and (not told.followed or (is_custom(told.name) and told.name not in self._defined)):
                self.unfollowed()

    def _follow(self, change: SessionChange, params: Any, in_transaction: bool) -> None:
        local = change.local is True
        name = change.name if isinstance(change.name, str) else None
        if is_custom(name):
            self._defined |= {name}
        if local and not change.isolation and not in_transaction:
            return  # it has ended with its statement
        if in_transaction and self._before is None:
            self._before = self._settings
        self.hides = self.hides or change.hides
        if not change.followed:
            self.unfollowed(change.reason)
        elif self.pooled and not (local and in_transaction) and name not in _RESTORED:
            self.unfollowed()
        elif change.isolation:
            # Of the open transaction, of the next one, or of all that follow, which the server can tell.
            self.serial = self.serial or local or name not in ("transaction", "default_transaction_isolation")
            if not local:
                self.isolation = "unknown"
                self._ask_again()
        elif name is None:
            self._settings = {}
            self.temporary = frozenset()
            # Custom settings of which nobody knows are empty now, and are still not missing.
            self.obstacle = reasons.SESSION if self._unknown else None
            self.hides = False
            self.base = None
        elif name == "all" and change.value is None:
            for one in {**self._settings, **self._local}:
                if one not in _USERS:
                    self._put(one, Value(False, None), local=False)
            self._ask_again()
        else:
            self._set(name, change, params, local=local)

    def _set(self, name: str, change: SessionChange, params: Any, *, local: bool) -> None:
        if name == "session_authorization":
            # It takes the role away, and no rollback brings that back.
            self._authorized = True
            if "role" in self._settings or "role" in self._local:
                self.unfollowed()
        value = Value(change.whole, None)
        if change.value is not None:
            try:
                value = Value(change.whole, tuple(resolved(item, params) for item in change.value))
            except Unkeyable:
                self.unfollowed()
        if value.items == NULL and value.whole:
            value = Value(True, None)
        if value.items is None or name in _RELATIVE:
            self._ask_again()
        self._put(name, value, local=local)

    def _put(self, name: str, value: Value, *, local: bool) -> None:
        self._local = without(name, self._local)
        if local:
            self._local[name] = value
        else:
            self._settings = {**without(name, self._settings), name: value}

    def _ask_again(self) -> None:
        """Only the server knows what it is now."""
        self.base = None
        self._settings = dict(self._settings)  # another one: the transaction has set something

    def unfollowed(self, reason: str | None = None) -> None:
        """Something ran that may have set anything, or what has this reason."""
        self._unknown = self._unknown or reason is None
        self.obstacle = self.obstacle or reason or reasons.SESSION

    def _forget_told(self) -> None:
        self._fingerprint = None
        self._standpoint = None

    @property
    def _has_set(self) -> bool:
        """Has the open transaction set anything?"""
        return bool(self._local) or (self._before is not None and self._before is not self._settings)

    # Transactions -------------------------------------------------------------------

    def savepoint(self, name: str) -> None:
        if self._before is None:
            self._before = self._settings
        self._savepoints.append((name, self._settings, self._local))

    def released(self, name: str) -> None:
        """A savepoint, and all that are inside of it, are part of what is around them now."""
        for at in range(len(self._savepoints) - 1, -1, -1):
            if self._savepoints[at][0] == name:
                del self._savepoints[at:]
                return

    def rolled_back_to(self, name: str) -> None:
        for at in range(len(self._savepoints) - 1, -1, -1):
            if self._savepoints[at][0] == name:
                _, settings, local = self._savepoints[at]
                del self._savepoints[at + 1 :]
                if settings is not self._settings or local is not self._local:
                    self._settings, self._local = settings, local
                    self._taken_back()
                return

    def ended(self, *, undone: bool) -> None:
        """The transaction is over. ``undone``: it was rolled back, and that takes back what it has set."""
        if self._before is not None:
            if self._has_set:
                if undone:
                    self._settings = self._before
                self._local = {}
                self._taken_back()
            self._before = None
            self._asked_inside = False
        self.serial = False
        self._savepoints.clear()

    def _taken_back(self) -> None:
        if self._asked_inside or self._authorized:
            self.base = None
        self._forget_told()

    # Connections --------------------------------------------------------------------

    def absorb(self, other: Session) -> None:
        """Take over what was set while the connection was being made."""
        for name, value in other._settings.items():
            self._put(name, value, local=False)
        self._defined |= other._defined
        self._authorized = self._authorized or other._authorized
        self._unknown = self._unknown or other._unknown
        self.obstacle = self.obstacle or other.obstacle
        self.hides = self.hides or other.hides
        self._forget_told()

    def copied(self) -> Session:
        """The session that another connection of the same settings will begin with."""
        copy = Session()
        copy.described(self.base or (), self.isolation, path=self._base_path, user=self._base_user, pooled=self.pooled)
        copy.obstacle = self.obstacle
        copy._unknown = self._unknown
        copy.hides = self.hides
        copy._settings = self._settings
        copy._defined = self._defined
        copy._fingerprint = self.fingerprint
        return copy

    def leave(self, connection: Any, *, undone: bool) -> None:
        """The DB-API connection is given back, perhaps to a pool, which rolls back what is open.

        ``undone``: that takes back what was set.
        """
        self.ended(undone=undone)
        with suppress(TypeError):  # a connection that cannot be referred to weakly comes from no pool of Django's
            _left[_below_pool(connection)] = self

    @classmethod
    def taken(cls, connection: Any) -> Session:
        """The session of a DB-API connection that was just handed out."""
        with suppress(TypeError):
            return _left.pop(_below_pool(connection), None) or cls()
        return cls()


def _below_pool(connection: Any) -> Any:
    """The driver's connection: SQLAlchemy's pools hand out a new object around it every time."""
    return getattr(connection, "dbapi_connection", None) or connection
