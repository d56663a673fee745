"""Backends that switch PostgreSQL's search path whenever a cursor is made: django-tenants and its kin.

They do so below anything that could be followed, and not before the cursor is made, which a hit does without. So the
path of a query is what such a backend would switch to.
"""

from __future__ import annotations

import weakref
from functools import cache
from typing import Any

from django.conf import settings

from ormcache.catalog import ANYWHERE, Path, Standpoint
from ormcache.session import Session

#: Where the making of cursors sets nothing in the session
_TRUSTED = ("django.", "ormcache.", "django_prometheus.")


@cache
def does_unknown(cls: Any) -> bool:
    """Does a backend take part in the making of cursors that does not tell for which schema it makes them?"""
    takes_part = any("_cursor" in vars(one) and not f"{one.__module__}.".startswith(_TRUSTED) for one in cls.__mro__)
    return takes_part and not tells_schema(cls)


@cache
def tells_schema(cls: Any) -> bool:
    """Does a backend keep the name of the schema that it makes cursors for?"""
    return any("schema_name" in names for names in _attributes(cls))


def _attributes(cls: Any) -> list[Any]:
    """The names that the classes define, and those that their methods use."""
    found: list[Any] = []
    for one in cls.__mro__:
        found.append(vars(one))
        found += [value.__code__.co_names for value in vars(one).values() if hasattr(value, "__code__")]
    return found


class Below:
    """What the backend below one connection does whenever a cursor is made. The connection's thread owns this."""

    def __init__(self, connection: Any) -> None:
        self._connection: Any = weakref.proxy(connection)
        backend: Any = type(connection)
        self._switches: bool = tells_schema(backend)
        #: does it do something that nobody knows?
        self.is_unknown: bool = does_unknown(backend)
        self._made_for: Path = None  # the path that the last cursor was made for

    @property
    def schema(self) -> Any:
        """The name of the schema that cursors are made for; None: nothing switches it."""
        return getattr(self._connection, "schema_name", None) if self._switches else None

    def told(self, session: Session) -> tuple[tuple[Any, ...], tuple[str, ...] | None]:
        """What tells results apart besides the session, and the path for which the next cursor is made, as it stands.

        The path is None where nothing switches it, or where it is not known.
        """
        if not self._switches:
            return (), None
        schema = self.schema
        path = None if schema is None else coming(self._connection, session)
        return (schema, getattr(self._connection, "include_public_schema", None), path), path

    def cursor_made(self, session: Session) -> None:
        """One was, and the search path may be about to be switched for it."""
        if self.schema is not None:
            self._made_for = folded(coming(self._connection, session))

    def standpoint(self, session: Session, *, on_cursor: bool) -> Standpoint:
        """From where the next query of the ORM sees the catalog, or a statement on a cursor that is there already."""
        if self.is_unknown:
            return ANYWHERE
        if self.schema is None:
            return session.standpoint
        if not on_cursor:
            return Standpoint(folded(coming(self._connection, session)), session.user)
        # Another cursor may have been made for another path meanwhile, also in a way that was not seen.
        in_force = session.sets_path and session.path == self._made_for
        return Standpoint(session.path if in_force else None, session.user)


def folded(path: tuple[str, ...] | None) -> Path:
    return None if path is None else tuple(name.lower() for name in path)


def coming(connection: Any, session: Session) -> tuple[str, ...] | None:
    """The search path, names as they stand, for which the next cursor of such a connection is made; None: not known."""
    if not _is_django_tenants(connection.__class__):  # the type of a weak reference to it would be another
        return None
    try:
        path = tuple(connection._get_cursor_search_paths())
    except Exception:
        return None  # it will tell whoever asks for a cursor
    if "$user" in path:
        return None
    if getattr(settings, "TENANT_LIMIT_SET_CALLS", False) and connection.search_path_set_schemas:
        # It does not switch again, and somebody else may have done so meanwhile.
        if not session.sets_path or session.path != folded(path):
            return None
    return path


@cache
def _is_django_tenants(cls: Any) -> bool:
    """Are cursors made by the code of django-tenants, in a version that tells its search path?"""
    methods = [getattr(cls, name, None) for name in ("_cursor", "_handle_search_path", "_get_cursor_search_paths")]
    return all(getattr(method, "__module__", "").startswith("django_tenants.") for method in methods)
