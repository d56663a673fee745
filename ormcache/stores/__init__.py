"""The only doors to a cache.

``base`` says what a store is; ``embedded`` (with ``files``), ``redis`` (with ``redis_address``, ``redis_link`` and
``redis_scripts``), ``memcached`` (with ``memcached_link``) and ``django`` are the four there are; ``idle`` keeps
connections between two calls. ``near`` (with ``push`` and ``resp``) and ``request`` stand in front of one of the four
and answer from memory what the settings allow. Importing this package imports no client library.
"""

from __future__ import annotations

import importlib
import os
import threading
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed

from ormcache.conf import Config
from ormcache.stores.base import Store

#: Kind of store → where its class is
_CLASSES = {
    "embedded": ("ormcache.stores.embedded", "EmbeddedStore"),
    "redis": ("ormcache.stores.redis", "RedisStore"),
    "memcached": ("ormcache.stores.memcached", "MemcachedStore"),
    "django": ("ormcache.stores.django", "DjangoStore"),
}

#: Level of consistency → the class of what stands in front of the store
_LEVELS = {
    "request": ("ormcache.stores.request", "RequestStore"),
    "near": ("ormcache.stores.near", "NearStore"),
}

#: (kind, what tells one store of that kind from another) → the store, for the life of the process; the same behind a
#: level → what stands in front of that store. There are no more of each than databases in the settings.
_stores: dict[tuple[object, ...], Store] = {}
_lock = threading.Lock()  # held while a store is added or all are forgotten


def open_store(config: Config, kind: str) -> Store:
    """The store of this kind and these settings: always the same one in one process. It connects when it is first used.

    Raises ImproperlyConfigured where the alias in ``CACHE`` cannot serve as such a store.
    """
    cls = _class_of(kind, *_CLASSES[kind])
    key = (kind, *cls.identity(config))
    with _lock:
        store = _stores.get(key)
        if store is None:
            store = _stores[key] = cls.from_config(config)
    if config.consistency == "strict":
        return store
    level = _class_of(kind, *_LEVELS[config.consistency])
    key = (config.consistency, *level.identity(config), *key)
    with _lock:
        answering = _stores.get(key)
        if answering is None:
            answering = _stores[key] = level.in_front_of(store, config)
    return answering


def _class_of(kind: str, module: str, name: str) -> Any:
    try:
        return getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        raise ImproperlyConfigured(f"The store {kind!r} needs {error.name}: pip install 'ormcache[{kind}]'.") from error


def close_all() -> None:
    """Close and forget every store."""
    with _lock:
        while _stores:
            _stores.popitem()[1].close()


def _begin_in_child() -> None:
    """A thread that a forked child does not have may have held the lock."""
    global _lock
    _lock = threading.Lock()


def _follow(*, setting: str, **kwargs: Any) -> None:
    if setting in ("ORMCACHE", "CACHES", "DATABASES"):
        close_all()


setting_changed.connect(_follow, dispatch_uid="ormcache.stores")
os.register_at_fork(after_in_child=_begin_in_child)
