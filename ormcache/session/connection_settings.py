"""Knows what leads the connections of an alias to their database: the settings of the alias, and the environment.

Both can change while a process runs: a project with one database for each tenant puts another ``NAME`` into
``settings_dict`` and closes the connection. What a process remembers of an alias counts only while all of this is as
it was.
"""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from ormcache.utils.interruptions import let_through

if TYPE_CHECKING:
    from ormcache.connection.protocol import CachedConnection

#: Kind of database → environment variables that its drivers read, and the setting or the option in which the same can
#: stand. libpq, https://www.postgresql.org/docs/current/libpq-envars.html; MySQL's and MariaDB's client libraries.
_VARIABLES: dict[str, dict[str, tuple[str, str]]] = {
    "postgresql": {
        "PGSERVICE": ("", "service"),
        "PGHOST": ("HOST", "host"),
        "PGHOSTADDR": ("", "hostaddr"),
        "PGPORT": ("PORT", "port"),
        "PGDATABASE": ("NAME", "dbname"),
        "PGUSER": ("USER", "user"),
        "PGOPTIONS": ("", "options"),
        "PGTZ": ("", ""),
        "PGDATESTYLE": ("", ""),
    },
    "mysql": {
        "MYSQL_TCP_PORT": ("PORT", "port"),
        "MYSQL_UNIX_PORT": ("HOST", "unix_socket"),
    },
}
#: Variables of PostgreSQL that matter where a service is named
_OF_SERVICES = ("PGSERVICEFILE", "PGSYSCONFDIR")


class IdentityKey:
    """A key for one object, equal to other keys for the same object. Keeps it alive, so that no other gets its id."""

    __slots__ = ("_value",)

    def __init__(self, value: object) -> None:
        self._value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, IdentityKey) and other._value is self._value

    def __hash__(self) -> int:
        return id(self._value)


class ConnectionSettings:
    """The settings of one alias, and what counts of the environment, as they were at one moment. Never changed."""

    __slots__ = ("_alias", "_environment", "_names", "_pool", "_pools", "key", "settings")

    def __init__(self, connection: CachedConnection) -> None:
        #: the settings of the alias as they were, a copy
        self.settings: dict[str, Any] = _copy(connection.settings_dict)
        self._names = _variable_names(connection.vendor, self.settings)
        self._environment = _environment(self._names)
        self._alias: str = connection.alias
        # Django's pool, from which connections come wherever the settings lead by now.
        self._pools: dict[str, Any] | None = getattr(connection, "_connection_pools", None)
        self._pool = self._pools.get(self._alias) if self._pools is not None else None
        #: equal for settings that lead to a database in the same way
        self.key: Hashable = (self._alias, _hashable(self.settings), tuple(self._environment), IdentityKey(self._pool))

    def leads_to(self, file: str | None) -> bool:
        """SQLite: return whether the name leads to this file by now: a link or the working directory may be another."""
        if file is None:
            return True
        name = str(self.settings["NAME"])
        if name.startswith("file:"):
            name = unquote(urlsplit(name).path)
        try:
            return os.path.samefile(name, file)
        except OSError as error:
            let_through(error)
            return False

    def is_current(self, settings: Mapping[str, Any]) -> bool:
        """Return whether the next connection of the alias, with these settings, would be made in the same way."""
        if settings != self.settings or (self._names and _environment(self._names) != self._environment):
            return False
        return self._pools is None or self._pools.get(self._alias) is self._pool


def _variable_names(vendor: str, settings: Mapping[str, Any]) -> list[Any]:
    """Return the variables that count besides these settings, in the form in which ``_environment`` looks them up."""
    options = settings.get("OPTIONS") or {}
    names = [
        name
        for name, (key, option) in _VARIABLES.get(vendor, {}).items()
        if not (settings.get(key) or options.get(option))
    ]
    if vendor == "postgresql" and (options.get("service") or "PGSERVICE" in os.environ):
        names += _OF_SERVICES
    encode = getattr(os.environ, "encodekey", str)
    return [encode(name) for name in names]


def _environment(names: list[Any]) -> list[Any]:
    """Return the values of environment variables, ten times as fast as ``os.environ[name]``, which encodes the name."""
    return list(map(getattr(os.environ, "_data", os.environ).get, names))


def _copy(value: Any) -> Any:
    """Return a copy down to what cannot be changed in place, or can be compared by identity alone."""
    if isinstance(value, dict):
        return {key: _copy(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map(_copy, value)) if type(value) in (list, tuple) else value
    return set(value) if type(value) is set else value


def _hashable(value: Any) -> Hashable:
    """Return something that is equal for equal values, and can be hashed."""
    if isinstance(value, dict):
        return frozenset((key, _hashable(item)) for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return (type(value).__name__, *map(_hashable, value))
    if isinstance(value, set):
        return frozenset(value)
    try:
        hash(value)
    except TypeError:
        return IdentityKey(value)
    return (type(value).__name__, value)
