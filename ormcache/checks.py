"""Registers system checks: everything about the settings that shows without asking a database or a store.

There is one function for each message. Errors are settings that cannot work or would serve wrong rows; warnings are
settings under which less is cached, or less is promised, than one might expect.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, parse_qs, urlsplit

from django.apps import apps
from django.conf import settings
from django.core import checks
from django.core.cache import InvalidCacheBackendError, caches
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, connections

from ormcache import conf
from ormcache.catalog import READERS
from ormcache.conf import Config
from ormcache.connection.mixins import ConnectionMixin
from ormcache.database.table_filter import table_of, tables_of, unmatched
from ormcache.purging.purgers import purger_class
from ormcache.session.connections import cached_connection
from ormcache.stores import extra_of, install_command, missing_for_embedded
from ormcache.stores.django import uses_pickle

if TYPE_CHECKING:
    from ormcache.connection.protocol import CachedConnection

#: Store → the client libraries that it needs; the extra of the same name installs them
LIBRARIES = {"redis": ("redis", "hiredis"), "redis-cluster": ("redis", "hiredis"), "memcached": ("pymemcache",)}

_REDIS = ("django_redis.cache.RedisCache", "django.core.cache.backends.redis.RedisCache")

#: Store → what the backend of its CACHES alias must be or inherit from
BACKENDS = {
    "redis": _REDIS,
    "redis-cluster": _REDIS,
    "memcached": ("django.core.cache.backends.memcached.PyMemcacheCache",),
}

WRAP = "ormcache.backends.wrap"


@checks.register(checks.Tags.caches)
def check_settings(databases: Sequence[str] | None = None, **kwargs: Any) -> list[checks.CheckMessage]:
    """Run all checks of ormcache. ``databases``: the aliases that may be asked for their tables."""
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
                hint="Change an ENGINE in DATABASES to 'ormcache.backends.postgresql' "
                "(or mysql, sqlite3, postgis, spatialite).",
                id="ormcache.W001",
            )
        )
    return found


@checks.register(checks.Tags.caches, deploy=True)
def check_deployment(**kwargs: Any) -> list[checks.CheckMessage]:
    """Run the checks of ``manage.py check --deploy``."""
    found: list[checks.CheckMessage] = []
    for alias in settings.DATABASES:
        connection = None if _unusable_engine(alias) else cached_connection(alias)
        if connection is not None and not conf.problems(alias, connection.settings_dict):
            config = conf.config_for(alias, connection.settings_dict)
            if config.enabled:
                found.extend(_no_outbox(alias, connection, config))
    return found


def _check_database(alias: str, *, asked: bool) -> Iterator[checks.CheckMessage]:
    connection = cached_connection(alias)
    if connection is None:
        return
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
        *_unknown_code(alias, connection),
        *_transparent_names(alias, config),
        *_no_store(alias, given, config),
        *_no_embedded_store(alias, given, config),
        *_wrong_client(alias, config),
        *_cluster_or_not(alias, config),
        *_limits_of_cache(alias, config),
        *_unpickling_cache(alias, config),
        *_missing_key(alias, config),
        *_foreign_location(alias, config),
        *_in_memory(alias, connection, config),
        *_no_positions(alias, connection, config),
        *_uncached_alias(alias, given),
        *_unknown_purger(alias, config),
    ]
    yield from found
    # Under some of these errors no connection can be made, and the message is better than its traceback.
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


def _not_outermost(alias: str, connection: CachedConnection) -> Iterator[checks.CheckMessage]:
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


def _unknown_vendor(alias: str, connection: CachedConnection) -> Iterator[checks.CheckMessage]:
    if connection.vendor not in READERS:
        yield checks.Warning(
            f"The catalog of the database {alias!r} cannot be read, because ormcache does not know its vendor "
            f"({connection.vendor}): what triggers, rules and functions do to other tables goes unnoticed.",
            hint="Name each table that the database itself changes in BLACKLIST, or those that it does not in ONLY, "
            "and silence this check. Views are not cached. Fully supported are " + ", ".join(READERS) + ".",
            id="ormcache.W002",
        )


def _unknown_code(alias: str, connection: CachedConnection) -> Iterator[checks.CheckMessage]:
    by = connection.ormcache.unknown_in_engine
    if by is not None and not list(_not_outermost(alias, connection)):
        yield checks.Warning(
            f"The engine of the database {alias!r} runs code that ormcache does not know ({by}) for every cursor: "
            "nothing is cached.",
            hint="Name it in TRANSPARENT if it changes neither the rows that a query returns nor the session.",
            id="ormcache.W012",
        )


def _transparent_names(alias: str, config: Config) -> Iterator[checks.CheckMessage]:
    for name in config.transparent:
        try:
            resolve_name(name)
        except (ImportError, AttributeError):
            yield checks.Warning(
                f"{name!r} in TRANSPARENT of database {alias!r} is neither a module nor an object in one.",
                hint="Give the dotted name of a package, a module, or a class or function at the top level of one.",
                id="ormcache.W013",
            )


# Stores --------------------------------------------------------------------------


def _no_store(alias: str, given: Any, config: Config) -> Iterator[checks.CheckMessage]:
    if config.store is None and not conf.is_local(given):
        yield checks.Warning(
            f"The database {alias!r} is not on this host and no STORE is named: nothing is cached.",
            hint="Several hosts may use it. Name a store that all of them share, "
            "ORMCACHE = {'STORE': 'redis', 'CACHE': 'default'}, or, if this host is the only one, 'embedded'.",
            id="ormcache.W003",
        )


def _wrong_client(alias: str, config: Config) -> Iterator[checks.CheckMessage]:
    kind = config.store or ""
    if kind not in LIBRARIES:
        return
    missing = next((library for library in LIBRARIES[kind] if find_spec(library) is None), None)
    if missing is not None:
        yield checks.Error(
            f"The store {kind!r} of database {alias!r} needs the library {missing!r}, which is not installed.",
            hint=install_command(extra_of(kind)),
            id="ormcache.E013",
        )
        return
    names = {f"{cls.__module__}.{cls.__qualname__}" for cls in _classes_of_cache(config.cache)}
    if names and names.isdisjoint(BACKENDS[kind]):
        yield checks.Error(
            f"The store {kind!r} of database {alias!r} cannot use the cache {config.cache!r}, "
            f"whose backend is {settings.CACHES[config.cache].get('BACKEND')!r}.",
            hint="Use " + " or ".join(BACKENDS[kind]) + "; for any other backend, there is STORE = 'django'.",
            id="ormcache.E014",
        )


def _cluster_or_not(alias: str, config: Config) -> Iterator[checks.CheckMessage]:
    """Check whether store and cache agree on a cluster, as far as the settings show it: no server is asked."""
    given = settings.CACHES.get(config.cache, {})
    options = given.get("OPTIONS") or {}
    problem = hint = ""
    if config.store == "redis" and str(options.get("REDIS_CLIENT_CLASS", "")).endswith("RedisCluster"):
        problem, hint = "has a client for clusters", "Set STORE to 'redis-cluster'."
    elif config.store == "redis-cluster":
        location = given.get("LOCATION") or ""
        addresses = map(urlsplit, re.split("[;,]", location) if isinstance(location, str) else location)
        if "SENTINELS" in options or any(one.scheme == "unix" or _database_number(one) != "0" for one in addresses):
            problem = "names sentinels, a Unix socket or the number of a database, and a cluster has none of them"
            hint = "Name the host and port of some nodes in LOCATION, or set STORE to 'redis'."
    if problem:
        yield checks.Error(
            f"The cache {config.cache!r} of database {alias!r} {problem}, and STORE is {config.store!r}.",
            hint=hint,
            id="ormcache.E022",
        )


def _database_number(address: SplitResult) -> str:
    in_query = parse_qs(address.query).get("db")
    return in_query[0] if in_query else address.path.strip("/") or "0"


def _no_embedded_store(alias: str, given: Any, config: Config) -> Iterator[checks.CheckMessage]:
    embedded = config.store == "embedded" or (config.store is None and conf.is_local(given))
    missing = missing_for_embedded() if embedded else None
    if missing is None:
        return
    yield checks.Warning(
        f"The embedded store of database {alias!r} needs {missing}: "
        + ("nothing is cached." if config.on_outage == "proceed" else "nothing is cached, and writes are refused."),
        hint="Name another STORE, 'redis', 'memcached' or 'django'. "
        + ("Or pip install lmdb, which has to be compiled where PyPI has no wheel. " if "lmdb" in missing else "")
        + "Processes that do have an embedded store for this database must not run beside this one: they would not "
        "see its writes.",
        id="ormcache.W014",
    )


def _limits_of_cache(alias: str, config: Config) -> Iterator[checks.CheckMessage]:
    """Check what a cache behind ``STORE = "django"`` cannot promise."""
    if config.store != "django":
        return
    names = {cls.__name__ for cls in _classes_of_cache(config.cache)}
    if "LocMemCache" in names:
        kind = checks.Warning if settings.DEBUG else checks.Error
        yield kind(
            f"The cache {config.cache!r} of database {alias!r} is in the memory of one process: others do not see its "
            "writes, and serve stale rows.",
            hint="Use it in tests or with a single process only. The store 'embedded' is shared by all processes of a "
            "host and needs no server.",
            id="ormcache.W004" if settings.DEBUG else "ormcache.E015",
        )
    elif "DatabaseCache" in names:
        yield checks.Error(
            f"The cache {config.cache!r} of database {alias!r} is a table in a database: a lookup costs what it "
            "saves, and in the cached database, invalidations are part of the transactions that they belong to.",
            hint="Use the store 'embedded', 'redis' or 'memcached'.",
            id="ormcache.E016",
        )
    elif "DummyCache" in names:
        yield checks.Warning(
            f"The cache {config.cache!r} of database {alias!r} stores nothing: nothing is cached.",
            hint="Name another alias in 'CACHE'.",
            id="ormcache.W005",
        )
    elif names:
        yield checks.Warning(
            f"The cache {config.cache!r} of database {alias!r} has no compare-and-set: of two writers that commit at "
            "the same moment, one mark can be lost, and a read between COMMIT and the end of the write can be "
            "one write behind.",
            hint="The stores 'embedded', 'redis' and 'memcached' have no such gap. Silence this check to accept it.",
            id="ormcache.W006",
        )


def _unpickling_cache(alias: str, config: Config) -> Iterator[checks.CheckMessage]:
    names = {cls.__name__ for cls in _classes_of_cache(config.cache)} if config.store == "django" else set()
    if not names or "DatabaseCache" in names or not uses_pickle(config.cache):
        return
    kind = checks.Error if config.sign else checks.Warning
    yield kind(
        f"The cache {config.cache!r} of database {alias!r} may unpickle what is in it: whoever can write to it can run "
        "code in the processes that read from it" + (", and SIGN cannot prevent that." if config.sign else "."),
        hint="Use the store 'embedded', 'redis' or 'memcached', which never do, or give the cache "
        "ormcache.stores.serializer.BytesSerializer as its serializer. To trust that server instead, "
        + ("leave SIGN out." if config.sign else "silence this check."),
        id="ormcache.E018" if config.sign else "ormcache.W010",
    )


def _missing_key(alias: str, config: Config) -> Iterator[checks.CheckMessage]:
    try:
        has_key = not config.sign or bool(settings.SECRET_KEY)
    except ImproperlyConfigured:
        has_key = False
    if not has_key:
        yield checks.Error(
            f"SIGN for database {alias!r} needs a SECRET_KEY to sign with: nothing is cached.",
            hint="Set SECRET_KEY, or leave SIGN out.",
            id="ormcache.E019",
        )


def _classes_of_cache(alias: str) -> tuple[type[Any], ...]:
    try:
        return type(caches[alias]).__mro__
    except (InvalidCacheBackendError, ImportError, ImproperlyConfigured):
        return ()  # Django itself reports it


def _foreign_location(alias: str, config: Config) -> Iterator[checks.CheckMessage]:
    if config.location is None or not hasattr(os, "getuid") or config.store not in (None, "embedded"):
        return
    try:
        owner = os.stat(config.location).st_uid
    except OSError:
        return  # it will be created
    if owner != os.getuid():
        yield checks.Error(
            f"The folder {config.location!r} in LOCATION, for database {alias!r}, belongs to another user.",
            hint="Its owner could change what is read from the database. Name a folder of the user that runs Django.",
            id="ormcache.E017",
        )


def _unknown_purger(alias: str, config: Config) -> Iterator[checks.CheckMessage]:
    for purger in config.purge:
        try:
            cls = purger_class(purger)
            missing = [name for name in ("header", "separator", "purge") if not hasattr(cls, name)]
            problem = f"has no {' and no '.join(missing)}" if missing else ""
        except ImportError as error:
            problem = f"cannot be imported: {error}"
        if problem:
            yield checks.Error(
                f"The purger {purger.backend!r} in PURGE of database {alias!r} {problem}. Pages are never purged.",
                hint="Name a class as 'package.module.Class', with the attributes header and separator and the method "
                "purge(tags).",
                id="ormcache.E020",
            )


def _no_outbox(alias: str, connection: CachedConnection, config: Config) -> Iterator[checks.CheckMessage]:
    is_shared = config.store not in (None, "embedded") and config.primary is None and connection.vendor in READERS
    if is_shared and config.on_outage == "proceed" and not apps.is_installed("ormcache"):
        yield checks.Warning(
            f"The database {alias!r} has no outbox: if a process dies that has written while its store was away, "
            "all others serve stale rows.",
            hint="Add 'ormcache' to INSTALLED_APPS and run migrate, or set ON_OUTAGE to 'refuse'.",
            id="ormcache.W017",
        )


# Databases -------------------------------------------------------------------------


def _no_positions(alias: str, connection: CachedConnection, config: Config) -> Iterator[checks.CheckMessage]:
    if config.replica_fills and connection.vendor != "postgresql":
        yield checks.Warning(
            f"REPLICA_FILLS of the database {alias!r} does nothing: only of PostgreSQL is it known up to where a "
            "replica has replayed. Reads through it are served from the cache, and not stored.",
            hint="Take the key out, and read through the primary as well, so that the cache is filled.",
            id="ormcache.W018",
        )


def _in_memory(alias: str, connection: CachedConnection, config: Config) -> Iterator[checks.CheckMessage]:
    name = str(connection.settings_dict["NAME"])
    if connection.vendor == "sqlite" and config.store in ("redis", "redis-cluster", "memcached"):
        if name == ":memory:" or "mode=memory" in name:
            yield checks.Warning(
                f"The database {alias!r} is in the memory of one process, and its store {config.store!r} is shared: "
                "what is cached there can serve no other process.",
                hint="Use the embedded store for it, or set ENABLED to False.",
                id="ormcache.W007",
            )


def _uncached_alias(alias: str, given: Any) -> Iterator[checks.CheckMessage]:
    place = _place(given)
    for other in settings.DATABASES:
        if other == alias or not place[0] or _place(settings.DATABASES[other]) != place or _unusable_engine(other):
            continue
        if not isinstance(connections[other], ConnectionMixin):
            yield checks.Warning(
                f"The database {other!r} is the same as {alias!r} and has no engine of ormcache: "
                f"a write through {other!r} does not invalidate what is cached of {alias!r}.",
                hint="Give both an engine of ormcache, or only read through the other one.",
                id="ormcache.W008",
            )


def _place(given: Any) -> tuple[str, ...]:
    return tuple(str(given.get(key) or "") for key in ("NAME", "HOST", "PORT"))


def _names_that_match_nothing(
    alias: str, connection: CachedConnection, config: Config, asked: bool
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
            asked = False  # checks also run where images are built, without any database
    labels = {model._meta.label for model in tables.values()} | {f"{app.label}.*" for app in apps.get_app_configs()}
    for key, names in missed.items():
        for name in unmatched(names, known):
            if tables_of(name) is not None:
                continue  # an app without models
            folded = {candidate.lower(): candidate for candidate in known | labels}
            # A database that was not asked may well have a table of this name without a model: 'audit_*' is not a
            # misspelt 'auth.*'.
            cutoff = 0.6 if asked else 0.85
            near = [folded[match] for match in difflib.get_close_matches(name.lower(), folded, n=3, cutoff=cutoff)]
            if asked or near or name.partition(".")[0] in apps.app_configs:
                yield checks.Warning(
                    f"{name!r} in {key} of database {alias!r} is not a model, not an app, and matches no table.",
                    hint="Did you mean " + " or ".join(map(repr, near)) + "?" if near else "Remove or correct it.",
                    id="ormcache.W009",
                )
