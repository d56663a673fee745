"""System checks: everything about the settings that can be told without asking a database or a store.

One function a message. Errors are settings that cannot work or would serve wrong rows; warnings are settings under
which less is cached, or less is promised, than one might think.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core import checks
from django.core.cache import InvalidCacheBackendError, caches
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, connections

from ormcache import conf
from ormcache.catalog import READERS
from ormcache.conf import Config
from ormcache.connection import ConnectionMixin
from ormcache.selection import table_of, tables_of, unmatched

#: Store → the client library that it needs, and the extra that installs it
LIBRARIES = {"redis": ("redis", "ormcache[redis]"), "memcached": ("pymemcache", "ormcache[memcached]")}

#: Store → what the backend of its CACHES alias must be or inherit from
BACKENDS = {
    "redis": ("django_redis.cache.RedisCache", "django.core.cache.backends.redis.RedisCache"),
    "memcached": ("django.core.cache.backends.memcached.PyMemcacheCache",),
}

WRAP = "ormcache.backends.wrap"


@checks.register(checks.Tags.caches)
def check_settings(databases: Sequence[str] | None = None, **kwargs: Any) -> list[checks.CheckMessage]:
    """All checks of ormcache. ``databases``: aliases that may be asked what tables they have."""
    found: list[checks.CheckMessage] = []
    used = False
    for alias in settings.DATABASES:
        problem = _unusable_engine(alias)
        if problem:
            found.append(problem)
            used = True
            continue
        if not isinstance(connections[alias], ConnectionMixin):
            continue
        used = True
        found.extend(_check_database(alias, asked=alias in (databases or ())))
    if not used and getattr(settings, "ORMCACHE", None) is not None:
        found.append(
            checks.Warning(
                "ORMCACHE is set, but no database has an engine of ormcache: nothing is cached.",
                hint="Change an ENGINE in DATABASES to 'ormcache.backends.postgresql' (mysql, sqlite3).",
                id="ormcache.W001",
            )
        )
    return found


def _check_database(alias: str, *, asked: bool) -> Iterator[checks.CheckMessage]:
    connection: Any = connections[alias]
    given = connection.settings_dict
    problems = conf.problems(alias, given)
    for problem in problems:
        yield checks.Error(problem.message, hint=problem.hint, id=f"ormcache.E{problem.number:03}")
    if problems:
        return
    config = conf.config_for(alias, given)
    if not config.enabled:
        return
    found = [
        *_not_outermost(alias, connection),
        *_needless_engine(alias, given, config),
        *_unknown_vendor(alias, connection),
        *_no_store(alias, given, config),
        *_wrong_client(alias, config),
        *_limits_of_cache(alias, config),
        *_foreign_location(alias, config),
        *_in_memory(alias, connection, config),
        *_unseen_writers(alias, given),
    ]
    yield from found
    # Under some of these errors there is no connecting, and what is wrong is to be read here, not in a traceback.
    asked = asked and not any(message.is_serious() for message in found)
    yield from _names_that_match_nothing(alias, connection, config, asked)


# Engines -------------------------------------------------------------------------


def _unusable_engine(alias: str) -> checks.CheckMessage | None:
    given = settings.DATABASES[alias]
    own = given.get("ORMCACHE")
    engine = own.get("ENGINE") if isinstance(own, dict) else None
    if given.get("ENGINE") != WRAP:
        return None
    try:
        connections[alias]
    except ImproperlyConfigured as error:
        return checks.Error(
            f"The database {alias!r} cannot wrap the engine {engine!r}: {error}",
            hint=f"Name the backend to wrap in DATABASES[{alias!r}]['ORMCACHE']['ENGINE'].",
            id="ormcache.E010",
        )
    return None


def _not_outermost(alias: str, connection: Any) -> Iterator[checks.CheckMessage]:
    for cls in type(connection).__mro__:
        if cls is ConnectionMixin:
            return
        if any(
            callable(value)
            for name, value in vars(cls).items()
            if not name.startswith("__") and name not in ("ops_class", "creation_class")
        ):
            yield checks.Error(
                f"The engine of database {alias!r} puts {cls.__module__}.{cls.__qualname__} in front of ormcache.",
                hint=f"ormcache must be the outermost: set ENGINE to {WRAP!r} and name the other engine in "
                f"DATABASES[{alias!r}]['ORMCACHE']['ENGINE'].",
                id="ormcache.E011",
            )
            return


def _needless_engine(alias: str, given: Any, config: Config) -> Iterator[checks.CheckMessage]:
    if config.engine is not None and given["ENGINE"] != WRAP:
        yield checks.Error(
            f"DATABASES[{alias!r}]['ORMCACHE']['ENGINE'] has no meaning with the engine {given['ENGINE']!r}.",
            hint=f"Set ENGINE to {WRAP!r}, or take the key out.",
            id="ormcache.E012",
        )


def _unknown_vendor(alias: str, connection: Any) -> Iterator[checks.CheckMessage]:
    if connection.vendor not in READERS:
        yield checks.Warning(
            f"The catalog of the database {alias!r} cannot be read, because ormcache does not know its kind "
            f"({connection.vendor}): what triggers, rules and functions do to other tables is not seen.",
            hint="Name in BLACKLIST each table that something in the database itself changes, or in ONLY those that "
            "nothing does, and silence this check. Views are not cached. Wholly known are " + ", ".join(READERS) + ".",
            id="ormcache.W002",
        )


# Stores --------------------------------------------------------------------------


def _no_store(alias: str, given: Any, config: Config) -> Iterator[checks.CheckMessage]:
    if config.store is None and not conf.is_local(given):
        yield checks.Warning(
            f"The database {alias!r} is not on this host and no STORE is named: nothing is cached.",
            hint="Several hosts could be using it. Name a store that all of them share, "
            "ORMCACHE = {'STORE': 'redis', 'CACHE': 'default'}, or, if this host is the only one, 'embedded'.",
            id="ormcache.W003",
        )


def _wrong_client(alias: str, config: Config) -> Iterator[checks.CheckMessage]:
    kind = config.store or ""
    if kind not in LIBRARIES:
        return
    library, extra = LIBRARIES[kind]
    if find_spec(library) is None:
        yield checks.Error(
            f"The store {kind!r} of database {alias!r} needs the library {library!r}, which is not installed.",
            hint=f"pip install '{extra}'",
            id="ormcache.E013",
        )
        return
    names = {f"{cls.__module__}.{cls.__qualname__}" for cls in _classes_of_cache(config.cache)}
    if names and names.isdisjoint(BACKENDS[kind]):
        yield checks.Error(
            f"The store {kind!r} of database {alias!r} cannot use the cache {config.cache!r}, "
            f"whose backend is {settings.CACHES[config.cache].get('BACKEND')!r}.",
            hint="It must be " + " or ".join(BACKENDS[kind]) + "; for any other backend there is STORE = 'django'.",
            id="ormcache.E014",
        )


def _limits_of_cache(alias: str, config: Config) -> Iterator[checks.CheckMessage]:
    """What a cache behind ``STORE = "django"`` cannot promise."""
    if config.store != "django":
        return
    names = {cls.__name__ for cls in _classes_of_cache(config.cache)}
    if "LocMemCache" in names:
        kind = checks.Warning if settings.DEBUG else checks.Error
        yield kind(
            f"The cache {config.cache!r} of database {alias!r} lives in one process: other processes do not see "
            "what this one has written, and serve stale rows.",
            hint="Use it in tests or under a single process only. The store 'embedded' is shared by all processes "
            "of a host and needs nothing installed.",
            id="ormcache.W004" if settings.DEBUG else "ormcache.E015",
        )
    elif "DatabaseCache" in names:
        yield checks.Error(
            f"The cache {config.cache!r} of database {alias!r} is a table in a database: asking it costs what it "
            "saves, and in the cached database its writes are part of the transactions that they tell of.",
            hint="Use the store 'embedded', 'redis' or 'memcached'.",
            id="ormcache.E016",
        )
    elif "DummyCache" in names:
        yield checks.Warning(
            f"The cache {config.cache!r} of database {alias!r} keeps nothing: nothing is cached.",
            hint="Name another alias in 'CACHE'.",
            id="ormcache.W005",
        )
    elif names:
        yield checks.Warning(
            f"The cache {config.cache!r} of database {alias!r} cannot be told to change a value only if nobody else "
            "has: of two writers that commit at the same moment, one mark can be lost, and a read between COMMIT and "
            "the end of the write can be one write behind.",
            hint="The stores 'embedded', 'redis' and 'memcached' have no such gap. Silence this check to accept it.",
            id="ormcache.W006",
        )


def _classes_of_cache(alias: str) -> tuple[type[Any], ...]:
    try:
        return type(caches[alias]).__mro__
    except (InvalidCacheBackendError, ImportError, ImproperlyConfigured):
        return ()  # Django itself says what is wrong with it


def _foreign_location(alias: str, config: Config) -> Iterator[checks.CheckMessage]:
    if config.location is None or not hasattr(os, "getuid") or config.store not in (None, "embedded"):
        return
    try:
        owner = os.stat(config.location).st_uid
    except OSError:
        return  # it will be made
    if owner != os.getuid():
        yield checks.Error(
            f"The folder {config.location!r} in LOCATION, for database {alias!r}, belongs to another user.",
            hint="Whoever owns it could change what is read from the database. Name a folder of the user that runs "
            "Django.",
            id="ormcache.E017",
        )


# Databases -------------------------------------------------------------------------


def _in_memory(alias: str, connection: Any, config: Config) -> Iterator[checks.CheckMessage]:
    name = str(connection.settings_dict["NAME"])
    if connection.vendor == "sqlite" and config.store in ("redis", "memcached"):
        if name == ":memory:" or "mode=memory" in name:
            yield checks.Warning(
                f"The database {alias!r} lives in the memory of one process, its store {config.store!r} is shared by "
                "many: what is cached there can serve no other process.",
                hint="Use the embedded store for it, or set ENABLED to False.",
                id="ormcache.W007",
            )


def _unseen_writers(alias: str, given: Any) -> Iterator[checks.CheckMessage]:
    place = _place(given)
    for other in settings.DATABASES:
        if other == alias or not place[0] or _place(settings.DATABASES[other]) != place or _unusable_engine(other):
            continue
        if not isinstance(connections[other], ConnectionMixin):
            yield checks.Warning(
                f"The database {other!r} is the same as {alias!r} and has no engine of ormcache: "
                f"what is written through {other!r} does not retire what is cached of {alias!r}.",
                hint="Give both an engine of ormcache, or only read through the other one.",
                id="ormcache.W008",
            )


def _place(given: Any) -> tuple[str, ...]:
    return tuple(str(given.get(key) or "") for key in ("NAME", "HOST", "PORT"))


def _names_that_match_nothing(
    alias: str, connection: Any, config: Config, asked: bool
) -> Iterator[checks.CheckMessage]:
    tables = {table_of(model): model for model in apps.get_models(include_auto_created=True)}
    known = set(tables)
    named = {
        "BLACKLIST": config.blacklist,
        "ONLY": config.only,
        "FOREIGN_TABLES": config.foreign_tables,
        "PINNED": config.pinned,
    }
    missed = {key: unmatched(names, known) for key, names in named.items()}
    if asked and any(missed.values()):
        try:
            with connection.cursor() as cursor:
                known |= {name.lower() for name in connection.introspection.table_names(cursor, include_views=True)}
        except DatabaseError:
            asked = False  # checks also run where images are built, far from any database
    labels = {model._meta.label for model in tables.values()} | {f"{app.label}.*" for app in apps.get_app_configs()}
    for key, names in missed.items():
        for name in unmatched(names, known):
            if tables_of(name) is not None:
                continue  # an app without models
            folded = {candidate.lower(): candidate for candidate in known | labels}
            # Where the database was not asked, it may well have a table of this name and no model: 'audit_*' is no
            # misspelt 'auth.*'.
            cutoff = 0.6 if asked else 0.85
            near = [folded[match] for match in difflib.get_close_matches(name.lower(), folded, n=3, cutoff=cutoff)]
            if asked or near or name.partition(".")[0] in apps.app_configs:
                yield checks.Warning(
                    f"{name!r} in {key} of database {alias!r} is no model, no app and matches no table.",
                    hint="Did you mean " + " or ".join(map(repr, near)) + "?"
                    if near
                    else "Take it out, or correct it.",
                    id="ormcache.W009",
                )
