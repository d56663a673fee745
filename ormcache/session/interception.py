"""Finds the code that acts between Django's cursors and the driver, and could decide what a statement returns.

An execute wrapper can set a tenant or rewrite the text, and so can an engine below ormcache, a method that was put
over one of the connection's own, or a cursor class that the driver is given. A hit runs none of them. So while code
takes part of which it is not known that it leaves rows alone, reads bypass the cache and nothing is stored.

Code is known by where it was written: the dotted name of its module, class and function. Known are the packages below
and what the project names in ``TRANSPARENT``.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache, partial
from operator import itemgetter
from types import CodeType, FunctionType, MethodType
from typing import TYPE_CHECKING, Any

from django.db.backends import utils
from django.db.backends.signals import connection_created

from ormcache.session.tracker import unwrapped

if TYPE_CHECKING:
    from ormcache.connection.protocol import CachedConnection

#: Code that neither changes what rows a statement returns nor sets anything in a session that cannot be tracked: by
#: the dotted name of a package, a module, a class or a function
KNOWN = (
    "abc",
    "builtins",
    "collections",
    "contextlib",
    "functools",
    "typing",
    "django",
    "ormcache",
    # drivers, and what hands out their connections
    "MySQLdb",
    "_mysql",
    "_sqlite3",
    "dj_db_conn_pool",
    "django_db_geventpool",
    "psycopg",
    "psycopg2",
    "psycopg_binary",
    "psycopg_c",
    "psycopg_pool",
    "pymysql",
    "sqlalchemy",
    "sqlite3",
    # measuring and tracing
    "aws_xray_sdk",
    "beeline",
    "ddtrace",
    "debug_toolbar",
    "django_prometheus",
    "elasticapm",
    "google.cloud.sqlcommenter",
    "instana",
    "newrelic",
    "opentelemetry",
    "scout_apm",
    "sentry_sdk",
    "silk",
    "wrapt",
    "_wrappers.BoundFunctionWrapper",
    "_wrappers.CallableObjectProxy",
    "_wrappers.FunctionWrapper",
    "_wrappers.ObjectProxy",
    "_wrappers._FunctionWrapperBase",
    # comments, hints for the optimizer, and settings for triggers
    "django_mysql.apps",
    "django_mysql.rewrite_query",
    "pgactivity",
    "pghistory",
    "pgtrigger.runtime._inject_pgtrigger_ignore",
    # tests: what these forbid, a hit does not do either
    "pytest_django",
)

#: Methods that run, or choose what runs, whenever the ORM gets a cursor
ACTING = frozenset(
    {
        "cursor",
        "chunked_cursor",
        "_cursor",
        "create_cursor",
        "make_cursor",
        "make_debug_cursor",
        "_prepare_cursor",
        "ensure_connection",
        "close_if_health_check_failed",
        # It alone has the driver's connection before any statement can be tracked.
        "get_new_connection",
        # django-tenants and django-pgschemas, below _cursor()
        "_handle_search_path",
        "_get_cursor_search_paths",
    }
)

#: Methods that take part in the making of a connection
_SETTING_UP = ACTING | {
    "connect",
    "get_connection_params",
    "init_connection_state",
    "pool",
    "set_autocommit",
    "_configure_connection",
    "_configure_role",
    "_configure_timezone",
    "_set_autocommit",
}

#: Methods of Django's cursors and of a driver's that run statements
_RUNNING = ("execute", "executemany", "_execute", "_executemany", "_execute_with_wrappers")

#: These, and what hands out the rows
_OF_CURSORS = frozenset({*_RUNNING, "fetchone", "fetchmany", "fetchall", "__iter__", "__getattr__", "__enter__"})

#: What is called of an object that was put around a cursor
_CALLED = (*_RUNNING, "__call__")

#: Types of code of which each object is code of its own
_EXAMINED_WHOLE = frozenset({FunctionType, MethodType})

#: The method of Django's compilers that runs queries
_RUNNING_QUERIES = frozenset({"execute_sql"})

#: Attributes of drivers' connections that make cursors or rows
_FACTORIES = ("cursor_factory", "server_cursor_factory", "row_factory", "cursorclass")

#: How many functions inside of functions are looked at
_DEEPEST = 8


# Names -------------------------------------------------------------------------------


def code_names(code: Any) -> Iterator[str]:
    """Yield the dotted names of all code that calling this runs, as far as it can be seen.

    The names are those of the places where it was written: ``functools.wraps`` copies others onto a function.
    """
    return _code_names(code, 0, {})


def _code_names(code: Any, depth: int, seen: dict[int, Any]) -> Iterator[str]:
    """``seen``: what was looked at, by id, which keeps it alive."""
    if id(code) in seen:
        return
    seen[id(code)] = code
    if depth > _DEEPEST:
        yield "?"
        return
    kind: Any = type(code)  # A proxy's ``__class__``, which isinstance() believes, is that of what it stands for.
    inside: list[Any] = []
    if issubclass(kind, partial):
        inside = [kind, code.func, *_callables((*code.args, *code.keywords.values()))]
    elif kind is MethodType:
        owner = code.__self__
        inside = [code.__func__, type(owner), *_callables(_attributes(owner))]
    elif kind is FunctionType and isinstance(code.__code__, CodeType):
        yield f"{code.__globals__.get('__name__', '?')}.{code.__code__.co_qualname}"
        defaults = (*(code.__defaults__ or ()), *(code.__kwdefaults__ or {}).values())
        inside = [getattr(code, "__wrapped__", None), *_callables(_closed_over(code)), *_callables(defaults)]
    elif issubclass(kind, type):
        for cls in code.__mro__[:-1]:  # all but object
            yield f"{cls.__module__}.{cls.__qualname__}"
            inside += [vars(cls).get(name) for name in _CALLED if name in vars(cls)]
        inside.append(kind)
    # What is written in C; to PyPy that is a function without a code of Python's.
    elif kind is FunctionType or _is_built_in(kind):
        yield f"{_module_of(code)}.{getattr(code, '__qualname__', '?')}"
        inside = list(_callables((getattr(code, "__self__", None),)))
    else:
        # wrapt's and others' objects around a function, class methods, properties, objects that can be called
        inside = [kind, *(getattr(code, name, None) for name in _INSIDE), *_callables(_attributes(code))]
    for one in inside:
        if one is not None:
            yield from _code_names(one, depth + 1, seen)


@lru_cache(maxsize=256)
def _is_built_in(kind: Any) -> bool:
    """Return whether this is a type of functions or methods that are written in C."""
    return "__objclass__" in dir(kind) or kind.__name__ in _BUILT_IN


#: What CPython and PyPy call the type of a function that is built in
_BUILT_IN = frozenset({"builtin_function_or_method", "builtin_function"})

#: Attributes of what stands around a function that lead to it
_INSIDE = ("__wrapped__", "_self_wrapper", "fget")


def _callables(values: Iterable[Any]) -> Iterator[Any]:
    """Yield what can be called among these values, or in collections among them; not classes, which make objects."""
    for value in values:
        held = value.values() if type(value) is dict else value if type(value) in (list, tuple, set) else (value,)
        yield from (one for one in held if callable(one) and not issubclass(type(one), type))


def _attributes(owner: Any) -> Iterable[Any]:
    """Return the values of an object's attributes; of a class, which is examined by itself, none."""
    return () if issubclass(type(owner), type) else getattr(owner, "__dict__", {}).values()


def _closed_over(function: FunctionType) -> Iterator[Any]:
    """Yield what a closure holds."""
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # nothing was put there yet
            continue


def _module_of(code: Any) -> str:
    """Return the module of a function or method that is written in C."""
    owner = getattr(code, "__objclass__", None)
    return str(getattr(code, "__module__", None) or getattr(owner, "__module__", None) or "builtins")


@lru_cache(maxsize=4096)
def is_known(name: str, declared: tuple[str, ...] = ()) -> bool:
    """Return whether the code of this name is known, or declared, to leave rows as they are."""
    return any(name == known or name.startswith(f"{known}.") for known in (*KNOWN, *declared))


def first_unknown(code: Iterable[Any], declared: tuple[str, ...]) -> str | None:
    """Return the first name of code that is neither known nor declared, or None."""
    return next((name for one in code for name in code_names(one) if not is_known(name, declared)), None)


# Engines and connections -----------------------------------------------------------------


def _methods(cls: type[Any], names: frozenset[str]) -> tuple[Any, ...]:
    """Return all versions of these methods that a class has or inherits."""
    found: list[Any] = []
    for one in cls.__mro__:
        own = vars(one)
        found += map(own.__getitem__, names & own.keys())
    return tuple(found)


def _cursors() -> tuple[Any, ...]:
    """Return Django's own cursors and their methods as they are now: tools replace some of them."""
    classes = (utils.CursorWrapper, utils.CursorDebugWrapper)
    return (*classes, *(method for cls in classes for method in _methods(cls, _OF_CURSORS)))


@lru_cache(maxsize=256)
def _first_unknown(code: tuple[Any, ...], declared: tuple[str, ...]) -> str | None:
    """Return the same as first_unknown(), for code that is examined again and again."""
    return first_unknown(code, declared)


def unknown_in_engine(connection: CachedConnection, declared: tuple[str, ...]) -> str | None:
    """Return the name of unknown code of an engine that takes part in every read, or None."""
    code = _methods(connection.__class__, ACTING)
    for name in ("SQLCompiler", "SQLAggregateCompiler"):
        code += _methods(connection.ops.compiler(name), _RUNNING_QUERIES)
    return _first_unknown((*code, *_cursors()), declared)


@lru_cache(maxsize=256)
def _places(
    engine: type[Any], compilers: tuple[type[Any], ...], cursors: tuple[type[Any], ...]
) -> tuple[tuple[Mapping[str, Any], ...], tuple[tuple[Mapping[str, Any], tuple[str, ...], itemgetter[Any]], ...]]:
    """Return the namespaces of these classes and their bases, and where in them the methods are that take part.

    The methods are given for each namespace: their names, and what gets them, as a tuple, in a third of the time.
    """
    parts = [
        (engine, ACTING),
        *((cls, _RUNNING_QUERIES) for cls in compilers),
        *((cls, _OF_CURSORS) for cls in cursors),
    ]
    owners = [(one, names) for cls, names in parts for one in cls.__mro__]
    methods = []
    for one, names in owners:
        own = sorted(names & vars(one).keys())
        if own:
            methods.append((vars(one), tuple(own), itemgetter(*own, own[0])))  # of one name alone it gets no tuple
    return tuple({one: vars(one) for one, _ in owners}.values()), tuple(methods)


def acting_now(connection: CachedConnection, made: Any) -> tuple[list[Any], list[int]]:
    """Return what takes part in the reads of a connection, to be compared by identity, and the sizes of its classes.

    Where both are what they were, there is no other code than there was: a method that is replaced is another object,
    and one that is added makes its class larger. ``made``: the DB-API connection.
    """
    compiler = connection.ops.compiler
    compilers = (compiler("SQLCompiler"), compiler("SQLAggregateCompiler"))
    cursors = (utils.CursorWrapper, utils.CursorDebugWrapper)
    namespaces, methods = _places(connection.__class__, compilers, cursors)
    acting = [made, *compilers, *cursors]
    for namespace, names, get in methods:
        try:
            acting += get(namespace)
        except KeyError:  # one was taken away
            acting += map(namespace.get, names)
    acting += [getattr(made, name, None) for name in _FACTORIES]
    return acting, list(map(len, namespaces))


def unknown_in_driver(made: Any, declared: tuple[str, ...]) -> str | None:
    """Return the name of unknown code in a driver's connection, or in what it makes its cursors and rows by, or None.

    ``made``: the DB-API connection.
    """
    factories = [getattr(made, name, None) for name in _FACTORIES]
    kinds = (type(made), type(unwrapped(made)))
    return _first_unknown((*kinds, *(one for one in factories if one is not None)), declared)


def unknown_on(connection: CachedConnection, declared: tuple[str, ...]) -> str | None:
    """Return the name of unknown code that was put around this connection's cursors meanwhile, or None."""
    attributes = connection.__dict__
    over = [attributes[name] for name in ACTING & attributes.keys()]
    found = (_unknown_in_wrapper(one, declared) for one in (*connection.execute_wrappers, *over))
    return next((name for name in found if name is not None), None)


def _unknown_in_wrapper(code: Any, declared: tuple[str, ...]) -> str | None:
    """Return the name of unknown code in what was put around a cursor, or None. It is asked at every read.

    Of an object that can be called, the class is examined once, as long as its methods are the same ones.
    """
    kind: Any = type(code)
    if kind in _EXAMINED_WHOLE or issubclass(kind, (type, partial)) or _is_built_in(kind):
        return first_unknown((code,), declared)
    methods = [method for cls in kind.__mro__[:-1] for name in _CALLED if (method := vars(cls).get(name)) is not None]
    found = _first_unknown((kind, *methods), declared)
    if found is not None:
        return found
    inside = (*(getattr(code, name, None) for name in _INSIDE), *_callables(_attributes(code)))
    return first_unknown([one for one in inside if one is not None], declared)


def has_something_on(connection: CachedConnection) -> bool:
    """Return whether anything was put around the cursors of this connection.

    Asked at every read: each of ACTING by itself, which takes half as long as comparing sets does.
    """
    own = connection.__dict__
    return bool(
        connection.execute_wrappers
        or "cursor" in own
        or "chunked_cursor" in own
        or "_cursor" in own
        or "create_cursor" in own
        or "make_cursor" in own
        or "make_debug_cursor" in own
        or "_prepare_cursor" in own
        or "ensure_connection" in own
        or "close_if_health_check_failed" in own
        or "get_new_connection" in own
        or "_handle_search_path" in own
        or "_get_cursor_search_paths" in own
    )


def begins_alike(connection: CachedConnection, declared: tuple[str, ...]) -> bool:
    """Return whether the next connection will begin with the session that the last one began with.

    Not if unknown code takes part in the making: a receiver of ``connection_created``, or a backend of the project's
    own, may set the tenant or the role of whoever is being served.
    """
    over = [connection.__dict__[name] for name in _SETTING_UP & connection.__dict__.keys()]
    if _first_unknown(_methods(connection.__class__, _SETTING_UP), declared) or first_unknown(over, declared):
        return False
    pool = (connection.settings_dict.get("OPTIONS") or {}).get("pool")
    if isinstance(pool, dict) and first_unknown(_callables(pool.values()), declared):
        return False  # it resets connections in a way of its own
    for _, reference, *_ in connection_created.receivers:
        receiver = reference() if isinstance(reference, weakref.ReferenceType) else reference
        if receiver is not None and first_unknown((receiver,), declared):
            return False
    return True
