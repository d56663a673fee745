"""Knows the backends that switch PostgreSQL's search path whenever a cursor is made: django-tenants, django-pgschemas.

They do so below anything that could be tracked, and not before the cursor is made, which a hit does without. So the
path of a query is the one that such a backend would switch to.
"""

from __future__ import annotations

import sys
import weakref
from functools import lru_cache
from types import CodeType
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import Error

from ormcache.catalog import Path, ResolutionContext
from ormcache.session.tracker import Session
from ormcache.utils.interruptions import UNEXPECTED, let_through

if TYPE_CHECKING:
    from ormcache.connection.protocol import CachedConnection

MOST_CLASSES = 256  # of which a process remembers what they do


@lru_cache(maxsize=MOST_CLASSES)
def has_schema_name(cls: Any) -> bool:
    """Return whether a backend class has the name of the schema that it makes cursors for."""
    return any("schema_name" in names for names in _attributes(cls))


def _attributes(cls: Any) -> list[Any]:
    """Return the names that a class and its bases define, and those that their methods use."""
    found: list[Any] = []
    for one in cls.__mro__:
        found.append(vars(one))
        codes = [getattr(value, "__code__", None) for value in vars(one).values()]
        found += [code.co_names for code in codes if isinstance(code, CodeType)]  # not of PyPy's built-ins
    return found


@lru_cache(maxsize=MOST_CLASSES)
def _pgschemas(cls: Any) -> Any:
    """Return the module of django-pgschemas that makes the cursors of a backend class, if it has the schema's name."""
    methods = [getattr(cls, name, None) for name in ("_cursor", "_handle_search_path")]
    if not all(getattr(method, "__module__", "").startswith("django_pgschemas.") for method in methods):
        return None
    module = sys.modules.get(getattr(methods[1], "__module__", ""))
    return module if hasattr(module, "get_search_path") and hasattr(module, "get_current_schema") else None


class TenantBackend:
    """What the backend below one connection does whenever a cursor is made. The connection's thread owns this."""

    def __init__(self, connection: CachedConnection) -> None:
        self._connection: CachedConnection = weakref.proxy(connection)
        backend: Any = type(connection)
        self._module: Any = _pgschemas(backend)
        self._switches: bool = self._module is not None or has_schema_name(backend)
        #: packages that are asked for the schema here, and do nothing else to results
        self.known: tuple[str, ...] = ()
        if self._switches:
            self.known = ("django_tenants", "tenant_schemas") if self._module is None else ("django_pgschemas",)
        self._cursor_path: Path = None  # that the last cursor was made for

    @property
    def schema(self) -> Any:
        """The name of the schema that cursors are made for; None: nothing switches it."""
        if self._module is not None:
            return self._module.get_current_schema().schema_name
        return getattr(self._connection, "schema_name", None) if self._switches else None

    def key_parts(self, session: Session) -> tuple[tuple[Any, ...], tuple[str, ...] | None]:
        """Return what entries' names depend on besides the session, and the path for which the next cursor is made.

        The path has its names as they stand. It is None where nothing switches it, or where it is not known.
        """
        if not self._switches:
            return (), None
        schema = self.schema
        path = None if schema is None else next_path(self._connection, session)
        return (schema, getattr(self._connection, "include_public_schema", None), path), path

    def record_cursor(self, session: Session) -> None:
        """Record that a cursor was made, for which the search path may be about to be switched."""
        if self.schema is not None:
            self._cursor_path = fold(next_path(self._connection, session))

    def resolution_context(self, session: Session, *, has_cursor: bool) -> ResolutionContext:
        """Return in which context the next query of the ORM looks names up, or a statement on an existing cursor."""
        if self.schema is None:
            return session.resolution_context
        if not has_cursor:
            path = next_path(self._connection, session)
            folded = fold(path)
            # As in Session.resolution_context: "Notes" may not exist where notes does.
            return ResolutionContext(folded, session.user if folded == path else None)
        # Another cursor may have been made for another path meanwhile, also in a way that was not tracked.
        is_in_force = session.sets_path and session.path == self._cursor_path
        return ResolutionContext(session.path if is_in_force else None, session.user)


def fold(path: tuple[str, ...] | None) -> Path:
    """Return the path with its names in lower case; None stays None."""
    return None if path is None else tuple(name.lower() for name in path)


def next_path(connection: CachedConnection, session: Session) -> tuple[str, ...] | None:
    """Return the search path for which such a backend makes the next cursor, names as they stand; None: not known."""
    tenants: Any = connection  # with what the backend adds to it
    backend = connection.__class__  # the type of a weak reference to it would be another
    module = _pgschemas(backend)
    if module is None and not _is_django_tenants(backend):
        return None
    try:
        if module is not None:
            # It sets them without quotes.
            path = tuple(
                name.strip().lower() for name in module.get_search_path(module.get_current_schema()).split(",")
            )
            is_set = getattr(settings, "PGSCHEMAS_LIMIT_SET_CALLS", False) and tenants._search_path
        else:
            path = tuple(tenants._get_cursor_search_paths())
            is_set = getattr(settings, "TENANT_LIMIT_SET_CALLS", False) and tenants.search_path_set_schemas
    except (Error, ValidationError, *UNEXPECTED) as error:
        let_through(error)
        return None  # it will raise the same when a cursor is made
    if any("$user" in name for name in path):
        return None
    if is_set:
        # It does not switch again, and something else may have done so meanwhile.
        if not session.sets_path or session.path != fold(path):
            return None
    return path


@lru_cache(maxsize=MOST_CLASSES)
def _is_django_tenants(cls: Any) -> bool:
    """Return whether the code of django-tenants makes the cursors, in a version with a method for its search path."""
    methods = [getattr(cls, name, None) for name in ("_cursor", "_handle_search_path", "_get_cursor_search_paths")]
    return all(getattr(method, "__module__", "").startswith("django_tenants.") for method in methods)
