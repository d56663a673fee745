"""Stores: where entries and slots are. All other packages reach a cache through this one.

``base`` defines what a store is. There are five: ``embedded``, ``redis``, ``redis-cluster``, ``memcached`` and
``django``; ``unopened`` stands in for one that cannot be opened with the settings as they are. ``request`` and
``redis.near`` are stores in front of one of the five (``layered``) that answer from memory what the consistency level
allows. ``pool`` holds connections between two calls, ``info`` describes servers, and ``serializer`` is for caches
behind the ``django`` store. Importing this package imports no client library.
"""

from __future__ import annotations

import importlib
import threading
from functools import cache, partial
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed

from ormcache.conf import Config
from ormcache.stores.base import Store
from ormcache.stores.layered import LayeredStore
from ormcache.stores.unopened import UnopenedStore, retry_unopened_stores
from ormcache.utils.forks import at_fork

#: Kind of store → module and name of its class
_STORES = {
    "embedded": ("ormcache.stores.embedded.store", "EmbeddedStore"),
    "redis": ("ormcache.stores.redis.store", "RedisStore"),
    "redis-cluster": ("ormcache.stores.redis.cluster", "RedisClusterStore"),
    "memcached": ("ormcache.stores.memcached.store", "MemcachedStore"),
    "django": ("ormcache.stores.django", "DjangoStore"),
}

#: The modules without which the embedded store cannot be, and what they are: LMDB has no wheels for some platforms, and
#: the locks by which processes know of each other are those of POSIX.
_OF_EMBEDDED = {"lmdb": "the package lmdb", "fcntl": "the file locks of POSIX, which this system does not have"}

#: Consistency level → module and name of the class in front of the store
_LEVELS = {
    "request": ("ormcache.stores.request", "RequestStore"),
    "near": ("ormcache.stores.redis.near", "NearStore"),
}

#: (kind, *identity) → the store, for the life of the process; (level, *identity of the level, kind, *identity) → the
#: store in front of it. There are no more of each than databases in the settings.
_stores: dict[tuple[object, ...], Store] = {}
_lock = threading.RLock()  # held to add a store or to forget all; reentrant, for a signal handler that interrupts that


def open_store(config: Config, kind: str) -> Store:
    """Return the store of this kind for these settings, always the same one within a process.

    It connects when it is first used. Where it cannot be opened, because the alias in ``CACHE`` does not fit or the
    client library is missing, return a stand-in that counts as away.
    """
    try:
        return _open(config, kind)
    except ImproperlyConfigured:
        return UnopenedStore(kind, partial(_open, config, kind))


def _open(config: Config, kind: str) -> Store:
    """Return the store, made now or before. Raise ImproperlyConfigured if the settings do not fit."""
    cls: type[Store] = _load_class(kind, *_STORES[kind])
    key = (kind, *cls.identity(config))
    with _lock:
        store = _stores.get(key)
        if store is None:
            store = _stores.setdefault(key, cls.from_config(config))
    if config.consistency == "strict":
        return store
    level: type[LayeredStore] = _load_class(kind, *_LEVELS[config.consistency])
    key = (config.consistency, *level.identity(config), *key)
    with _lock:
        answering = _stores.get(key)
        if answering is None:
            answering = _stores.setdefault(key, level.wrap(store, config))
    return answering


@cache
def missing_for_embedded() -> str | None:
    """Say what the embedded store needs and cannot be had here; None: nothing is missing.

    LMDB may be installed without the part that is compiled: only importing it shows whether it works.
    """
    for module, what in _OF_EMBEDDED.items():
        try:
            importlib.import_module(module)
        except ImportError:
            return what
    return None


def extra_of(kind: str) -> str:
    """Return the extra of the distribution that installs what a kind of store needs."""
    return kind.partition("-")[0]


def install_command(extra: str) -> str:
    """Return the command that adds an extra to the distribution that is installed.

    Installing the other one over it would also bring LMDB, which ormcache-core is there to leave out.
    """
    metadata = importlib.import_module("importlib.metadata")  # takes long to load, and is for messages alone
    try:
        name = metadata.distribution("ormcache-core").name
    except metadata.PackageNotFoundError:
        name = "ormcache"
    return f"pip install '{name}[{extra}]'"


def _load_class(kind: str, module: str, name: str) -> Any:
    """Return a class. Raise ImproperlyConfigured where a module that it needs cannot be imported."""
    try:
        return getattr(importlib.import_module(module), name)
    except ImportError as error:
        if kind == "embedded":
            message = f"The embedded store needs {missing_for_embedded() or error.name}."
        else:
            message = f"The store {kind!r} needs {error.name}: {install_command(extra_of(kind))}."
        raise ImproperlyConfigured(message) from error


def close_all() -> None:
    """Close and forget every store."""
    with _lock:
        while _stores:
            _stores.popitem()[1].close()


def _reset_lock_in_child() -> None:
    """Make a new lock: a thread that the forked child does not have may hold the old one."""
    global _lock
    _lock = threading.RLock()


def _on_setting_changed(*, setting: str, **kwargs: Any) -> None:
    """Close all stores when a test overrides the settings that they were made from.

    New ``CACHES`` alone change nothing: a test that puts something else behind the alias, for its own use of Django's
    cache, must not lead this process away from the store that it shares with others.
    """
    if setting in ("ORMCACHE", "DATABASES"):
        close_all()
    elif setting == "CACHES":
        retry_unopened_stores()


setting_changed.connect(_on_setting_changed, dispatch_uid="ormcache.stores")
at_fork(after_in_child=_reset_lock_in_child)
