"""Backends that switch PostgreSQL's search path whenever a cursor is made: django-tenants and its kin.

They do so below anything that could be followed, and not before the cursor is made, which a hit does without. So the
path of a query is what such a backend would switch to.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from django.conf import settings

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
        if not session.sets_path or session.path != tuple(name.lower() for name in path):
            return None
    return path


@cache
def _is_django_tenants(cls: Any) -> bool:
    """Are cursors made by the code of django-tenants, in a version that tells its search path?"""
    methods = [getattr(cls, name, None) for name in ("_cursor", "_handle_search_path", "_get_cursor_search_paths")]
    return all(getattr(method, "__module__", "").startswith("django_tenants.") for method in methods)
