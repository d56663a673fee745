"""Tracks what one session has set, as far as results depend on it.

A session begins with what the server says of it right after the connection was made, and is tracked from there by the
statements that change it. Two sessions share results only if both are equal. What cannot be tracked makes the session
one that shares nothing, until it is reset or closed.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from weakref import WeakKeyDictionary

from ormcache import reasons
from ormcache.cache.keys import Unkeyable, digest
from ormcache.catalog import ANYWHERE, ResolutionContext
from ormcache.catalog.settings_read import is_custom
from ormcache.session.converters import Converters
from ormcache.session.temporary_tables import TemporaryTables
from ormcache.session.values import (
    NULL,
    Settings,
    SettingValue,
    Several,
    name_of,
    resolve_change,
    resolve_token,
    sort_key,
    text_of,
    without,
)
from ormcache.sql import Parameter, SessionChange, split_path

#: Isolation levels under which every statement sees what is committed when it begins
_PER_STATEMENT = frozenset({"read committed"})

#: DB-API connection → the session in which it was left when Django gave it back. A pool hands the same connection out
#: again, to any thread, with all that was set on it. An item dies with its connection.
_left: WeakKeyDictionary[Any, Session] = WeakKeyDictionary()

#: What PgBouncer restores when it gives a client another of the server's sessions
_RESTORED = frozenset({"application_name", "client_encoding", "datestyle", "standard_conforming_strings", "timezone"})

#: Settings whose new value depends on the one before, so that the server has to be asked
_RELATIVE = frozenset({"datestyle", "character set"})

_USERS = ("role", "session_authorization")

#: Settings, and temporary tables, that are tracked of one session. One that has more of them shares nothing
MOST_NAMES = 4096

#: What MySQL's ``sql_select_limit`` is unless somebody sets it
_UNLIMITED = 2**64 - 1


class Session:
    """The settings of one DB-API connection; the thread that uses the connection owns it."""

    def __init__(self) -> None:
        #: what the server says of its settings; None: it must be asked, or asked again
        self.base: tuple[object, ...] | None = None
        self.isolation = "unknown"
        self._is_only_temporary = True  # it has had no other bypass reason than temporary tables
        self._temporary = TemporaryTables()
        self._temporary_before: TemporaryTables | None = None  # when the transaction first created or dropped one
        self.bypass_reason: str | None = None  # why it shares no results; None: it shares them
        self.wants_snapshot = False  # the open transaction has asked for a snapshot
        self.is_opaque = False  # a statement's text does not show all that it writes: temporary triggers, other quotes
        self.is_pooled = (
            False  # a pooler gives the server's session to other clients, with what was set outside of a transaction
        )
        # In the order in which they were set: some settings change others. Replaced, never changed in place.
        self._settings: Settings = {}
        self._local: Settings = {}  # by SET LOCAL, until the transaction ends
        #: custom settings that were ever set: from then on they are empty and not missing, whatever is taken back
        self._defined: frozenset[str] = frozenset()
        self._settings_before: Settings | None = None  # as it was when the transaction first set something
        self._savepoints: list[tuple[str, Settings, Settings, TemporaryTables]] = []
        self._base_path: str | None = None  # as the server said them along with the base
        self._base_user: str | None = None
        self._custom_settings: dict[str, str | None] = {}  # that no statement of the session has set
        self.converters: Converters | None = None  # what the driver makes of values; None: not known yet
        self._may_have_set_anything = False  # custom settings included
        self._is_base_from_transaction = False  # in which something had been set
        self._has_changed_user = False  # PostgreSQL's roles do not come back then as they were
        self._resolution_context: ResolutionContext | None = None
        self._fingerprint: bytes | None = None

    @property
    def temporary(self) -> frozenset[str]:
        """The names of its temporary tables, folded."""
        return self._temporary.present

    @property
    def fingerprint(self) -> bytes:
        """16 bytes that are equal for sessions with the same settings."""
        if self._fingerprint is None:
            self._fingerprint = self._digest(self._base_path, "")
        return self._fingerprint

    def fingerprint_along(self, path: tuple[str, ...]) -> bytes:
        """Return the fingerprint with another search path than the session's, names as they stand."""
        return self._digest(None, repr(path))

    def _digest(self, base_path: str | None, path: str) -> bytes:
        left_out = "search_path" if path else None
        own, local = (
            sorted(((name, value) for name, value in settings.items() if name != left_out), key=sort_key)
            for settings in (self._settings, self._local)
        )
        customs = sorted(self._custom_settings.items())
        described = repr((self.base, customs, base_path, self._base_user, path, own, local, sorted(self._defined)))
        return digest(described.encode("utf-8", "surrogatepass"))

    def describe(
        self,
        base: tuple[object, ...],
        isolation: str,
        *,
        path: str | None = None,
        user: str | None = None,
        pooled: bool = False,
    ) -> None:
        """Record what the server says of the session now.

        ``base``: its settings. ``path``, ``user``: PostgreSQL's search path as it is set, and its current user.
        """
        if self._settings_before is not None and self.isolation != isolation:
            isolation = "unknown"  # the level of later transactions may not be the one of this
        self._is_base_from_transaction = self._is_base_from_transaction or self.has_set
        self.base = base
        self.isolation = isolation
        self.is_pooled = pooled
        self._base_path, self._base_user = path, user
        if pooled and not _RESTORED.issuperset(self._settings):
            self.mark_untracked()
        self._forget_conclusions()

    def set_customs(self, customs: Mapping[str, str | None]) -> None:
        """Record the custom settings as the server says them now; what statements have set is tracked apart."""
        tracked = set(self.names_set)
        before = {name: value for name, value in self._custom_settings.items() if name in tracked}
        now = {name: value for name, value in customs.items() if name not in tracked}
        self._custom_settings = before | now
        if self.is_pooled and any(now.values()):
            self.mark_untracked()  # other sessions of the server may have begun before it was changed
        self._forget_conclusions()

    def keeps_snapshots(self) -> bool:
        """Return whether the transactions of this session see one snapshot each."""
        return self.wants_snapshot or self.isolation not in _PER_STATEMENT

    # PostgreSQL's names -----------------------------------------------------------

    @property
    def path(self) -> tuple[str, ...] | None:
        """PostgreSQL: the schemas, folded, in which a name without one is looked up just now; None: not known.

        In the order of the search path. Some of them may not exist, or may not be open to the user: a name then
        means what is in the next one.
        """
        return self.resolution_context.path

    @property
    def user(self) -> str | None:
        """PostgreSQL: the current user, folded; None: not known."""
        return self.resolution_context.user

    @property
    def resolution_context(self) -> ResolutionContext:
        """PostgreSQL: the context in which its statements look names up."""
        if self.bypass_reason is not None or self.is_opaque:
            return ANYWHERE
        if self._resolution_context is None:
            user, path = self._user(), self._names_in_path()
            if path is not None and "$user" in path:
                path = None if user is None else tuple(user if name == "$user" else name for name in path)
            if path is not None and "pg_temp" in path:
                path = None  # temporary tables have a schema of another name
            if path is not None and any(name != name.lower() for name in path):
                user = None  # "Notes" may not exist where notes does: no schema hides another one for certain
            path = None if path is None else tuple(name.lower() for name in path if name)
            self._resolution_context = ResolutionContext(path, None if user is None else user.lower())
        return self._resolution_context

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
    def creates_temporary(self) -> bool:
        """Whether what is created without a schema may be temporary, since the search path says so."""
        return any(name.startswith("pg_temp") for name in self._names_in_path() or ())

    @property
    def sets_path(self) -> bool:
        """Whether a statement has set the search path, as opposed to what the session began with."""
        value = self._local.get("search_path") or self._settings.get("search_path")
        return value is not None and value.items is not None

    def _user(self) -> str | None:
        """Return the name of the current user; None: not known."""
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

    def may_limit_results(self) -> bool:
        """MySQL: return whether a result may lack rows that its query finds, by ``sql_select_limit``."""
        return self.base is None or _UNLIMITED not in self.base or "sql_select_limit" in self.names_set

    # Changes ----------------------------------------------------------------------

    def record_change(self, change: SessionChange, params: Any, *, in_transaction: bool) -> None:
        """Record that a statement has run that changes the session. ``params``: the statement's, or a Several."""
        if isinstance(params, Several):
            self.mark_untracked()
            self.is_opaque = self.is_opaque or change.makes_opaque or isinstance(change.name, Parameter)
            return
        for part in (change, *change.also):
            resolved_part = resolve_change(part, params)
            if resolved_part is not None:
                self._record_part(resolved_part, params, in_transaction)
        self._forget_conclusions()

    def forget_temporary_tables(self, names: frozenset[str], *, in_transaction: bool) -> None:
        """Record that temporary tables of these names, folded, were dropped."""
        self._put_temporary(self._temporary.drop(names, in_transaction=in_transaction), in_transaction=in_transaction)

    def record_temporary_table(self, name: str, *, in_transaction: bool = False, drops_on_commit: bool = False) -> None:
        """Record that a temporary table of this name, folded, was created. ``drops_on_commit``: COMMIT drops it."""
        if len(self._temporary.names) >= MOST_NAMES:
            self._temporary, self._temporary_before, self.is_opaque = TemporaryTables(), None, True
            self.mark_untracked(reasons.TEMPORARY)
        tables = self._temporary.create(name, drops_on_commit=drops_on_commit and in_transaction)
        self._put_temporary(tables, in_transaction=in_transaction)

    def _put_temporary(self, tables: TemporaryTables, *, in_transaction: bool = False) -> None:
        """Put these in the place of the temporary tables.

        Without any, the session shares results again, unless it has another reason not to.
        """
        if in_transaction and self._temporary_before is None:
            self._temporary_before = self._temporary
        self._temporary = tables
        if tables.names:
            self.mark_untracked(reasons.TEMPORARY)
        elif tables.are_distinct and self._is_only_temporary and not self.is_opaque and not self.is_pooled:
            self.bypass_reason = None
            self._forget_conclusions()

    def record_failure(self, change: SessionChange, params: Any) -> None:
        """Record that a statement that would have set this has failed, in no transaction that was broken already.

        Of what it has set nothing stays; but a custom setting may have been defined on the way.
        """
        if isinstance(params, Several):
            self.mark_untracked()
            return
        for part in (change, *change.also):
            resolved_part = resolve_change(part, params)
            if resolved_part is None:
                continue
            name = resolved_part.name
            if not resolved_part.is_tracked or (is_custom(name) and name not in self._defined):
                self.mark_untracked()

    def _record_part(self, change: SessionChange, params: Any, in_transaction: bool) -> None:
        local = change.local is True
        name = change.name if isinstance(change.name, str) else None
        if is_custom(name):
            if len(self._defined) >= MOST_NAMES:
                self.mark_untracked()
                self._defined = frozenset()
            self._defined |= {name}
        if local and not change.isolation and not in_transaction:
            return  # it has ended with its statement
        if in_transaction and self._settings_before is None:
            self._settings_before = self._settings
        self.is_opaque = self.is_opaque or change.makes_opaque
        if not change.is_tracked:
            self.mark_untracked(change.reason)
        elif self.is_pooled and not (local and in_transaction) and name not in _RESTORED:
            self.mark_untracked()
        elif change.isolation:
            # Of the open transaction, of the next one, or of all that follow, which the server knows.
            self.wants_snapshot = (
                self.wants_snapshot or local or name not in ("transaction", "default_transaction_isolation")
            )
            if not local:
                self.isolation = "unknown"
                self._forget_described()
        elif name is None:
            self._settings = {}
            self._temporary, self._temporary_before = TemporaryTables(), None
            # Custom settings that are not known are empty now, and are still not missing.
            self.bypass_reason = reasons.UNTRACKED_SESSION if self._may_have_set_anything else None
            self._is_only_temporary = self.bypass_reason is None
            self.is_opaque = False
            self.base = None
        elif name == "all" and change.value is None:
            for one in {**self._settings, **self._local}:
                if one not in _USERS:
                    self._put(one, SettingValue(False, None), local=False)
            self._forget_described()
        else:
            self._set(name, change, params, local=local)

    def _set(self, name: str, change: SessionChange, params: Any, *, local: bool) -> None:
        if name == "session_authorization":
            # It takes the role away, and no rollback brings that back.
            self._has_changed_user = True
            if "role" in self._settings or "role" in self._local:
                self.mark_untracked()
        value = SettingValue(change.whole, None)
        if change.value is not None:
            try:
                value = SettingValue(change.whole, tuple(resolve_token(item, params) for item in change.value))
            except Unkeyable:
                self.mark_untracked()
        if value.items == NULL and value.whole:
            value = SettingValue(True, None)
        if value.items is None or name in _RELATIVE:
            self._forget_described()
        self._put(name, value, local=local)

    def _put(self, name: str, value: SettingValue, *, local: bool) -> None:
        self._local = without(name, self._local)
        if local:
            self._local[name] = value
        else:
            others = without(name, self._settings)
            if len(others) >= MOST_NAMES:
                self.mark_untracked()
                others = {}
            self._settings = {**others, name: value}

    def _forget_described(self) -> None:
        """Have the server asked again: only it knows what is set now."""
        self.base = None
        self._settings = dict(self._settings)  # another one: the transaction has set something

    def forget_base(self) -> None:
        """Have the server asked again, because a setting was changed by something that is not tracked."""
        self._forget_described()
        self._forget_conclusions()

    def mark_untracked(self, reason: str | None = None) -> None:
        """Record that something ran that may have set anything; or, with a reason, what that reason means."""
        self._may_have_set_anything = self._may_have_set_anything or reason is None
        self._is_only_temporary = self._is_only_temporary and reason == reasons.TEMPORARY
        self.bypass_reason = self.bypass_reason or reason or reasons.UNTRACKED_SESSION

    def make_opaque(self) -> None:
        """Record that from now on the text of a statement does not show all that it writes."""
        self.is_opaque = True

    def use_converters(self, converters: Converters) -> None:
        """Record what the driver makes of values now."""
        self.converters = converters

    def _forget_conclusions(self) -> None:
        self._fingerprint = None
        self._resolution_context = None

    @property
    def has_set(self) -> bool:
        """Whether the open transaction has set anything, or has created or dropped a temporary table."""
        return (
            bool(self._local)
            or (self._settings_before is not None and self._settings_before is not self._settings)
            or self._temporary_before is not None
        )

    # Transactions -------------------------------------------------------------------

    def begin_transaction(self, *, serial: bool) -> None:
        """Record that a transaction has begun. ``serial``: it asks for a snapshot."""
        self.wants_snapshot = self.wants_snapshot or serial

    def savepoint(self, name: str) -> None:
        """Record that a savepoint of this name was begun."""
        if self._settings_before is None:
            self._settings_before = self._settings
        self._savepoints.append((name, self._settings, self._local, self._temporary))

    def release(self, name: str) -> None:
        """Record that a savepoint was released: it and those inside of it are part of what is around them now."""
        for at in range(len(self._savepoints) - 1, -1, -1):
            if self._savepoints[at][0] == name:
                del self._savepoints[at:]
                return

    def roll_back_to(self, name: str) -> None:
        """Record that all since this savepoint was rolled back, what was set included."""
        for at in range(len(self._savepoints) - 1, -1, -1):
            if self._savepoints[at][0] == name:
                _, settings, local, temporary = self._savepoints[at]
                del self._savepoints[at + 1 :]
                if temporary is not self._temporary:
                    self._put_temporary(temporary)
                if settings is not self._settings or local is not self._local:
                    self._settings, self._local = settings, local
                    self._take_back()
                return

    def end_transaction(self, *, undone: bool) -> None:
        """Record that the transaction has ended. ``undone``: rolled back, which takes back what it has set."""
        if self._temporary_before is not None:
            tables, self._temporary_before = self._temporary_before if undone else self._temporary.commit(), None
            self._put_temporary(tables)
        if self._settings_before is not None:
            if self.has_set:
                if undone:
                    self._settings = self._settings_before
                self._local = {}
                self._take_back()
            self._settings_before = None
            self._is_base_from_transaction = False
        self.wants_snapshot = False
        self._savepoints.clear()

    def interrupt_transaction(self) -> None:
        """Record that the end of a transaction was interrupted: what it has set may be left, or not."""
        if self.has_set:
            self.mark_untracked()
        self._settings_before = self._temporary_before = None

    def _take_back(self) -> None:
        if self._is_base_from_transaction or self._has_changed_user:
            self.base = None
        self._forget_conclusions()

    # Connections --------------------------------------------------------------------

    def absorb(self, other: Session) -> None:
        """Add what another session has set, which has tracked the connection while it was being made."""
        for name, value in other._settings.items():
            self._put(name, value, local=False)
        self._defined |= other._defined
        self._has_changed_user = self._has_changed_user or other._has_changed_user
        self._may_have_set_anything = self._may_have_set_anything or other._may_have_set_anything
        self.bypass_reason = self.bypass_reason or other.bypass_reason
        # The names of temporary tables were not recorded then.
        self._is_only_temporary = self._is_only_temporary and other.bypass_reason is None
        self.is_opaque = self.is_opaque or other.is_opaque
        self._forget_conclusions()

    def copy(self) -> Session:
        """Return the session with which another connection of the same settings will begin."""
        copy = Session()
        copy.describe(
            self.base or (), self.isolation, path=self._base_path, user=self._base_user, pooled=self.is_pooled
        )
        copy.bypass_reason = self.bypass_reason
        copy._is_only_temporary = self._is_only_temporary
        copy._may_have_set_anything = self._may_have_set_anything
        copy.is_opaque = self.is_opaque
        copy._settings = self._settings
        copy._defined = self._defined
        copy._custom_settings = self._custom_settings
        copy.converters = self.converters
        copy._fingerprint = self.fingerprint
        return copy

    def leave(self, driver_connection: Any, *, undone: bool) -> None:
        """Record that the DB-API connection is given back, perhaps to a pool, which rolls back what is open.

        ``undone``: that takes back what the open transaction has set.
        """
        self.end_transaction(undone=undone)
        with suppress(TypeError):  # a connection that cannot be referred to weakly comes from no pool of Django's
            _left[unwrapped(driver_connection)] = self

    @classmethod
    def take(cls, driver_connection: Any) -> Session:
        """Return the session of a DB-API connection that was just handed out, by a pool or by the driver."""
        with suppress(TypeError):
            return _left.pop(unwrapped(driver_connection), None) or cls()
        return cls()


def unwrapped(driver_connection: Any) -> Any:
    """Return the driver's own connection, out of the objects that pools and agents put around it."""
    for _ in range(8):  # one around another
        inner = getattr(driver_connection, "dbapi_connection", None) or getattr(driver_connection, "__wrapped__", None)
        if inner is None:
            break
        driver_connection = inner
    return driver_connection
