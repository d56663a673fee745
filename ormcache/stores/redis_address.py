"""How a CACHES alias of django-redis, or of Django itself, leads to its Redis."""

from __future__ import annotations

from typing import Any

import redis
from django.core.cache import caches
from django.core.exceptions import ImproperlyConfigured
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel, SentinelConnectionPool


def way_to_connect(alias: str, timeout: float) -> tuple[Any, dict[str, Any]]:
    """The class of connection and its arguments that the client of a CACHES alias would use, with our own timeouts.

    Connections are not taken from its pool: that would count against the bound that the user gave it.
    """
    cache: Any = caches[alias]
    if hasattr(cache, "client"):  # django-redis
        make_client = cache.client.get_client
    elif hasattr(getattr(cache, "_cache", None), "get_client"):  # Django's own
        make_client = cache._cache.get_client
    else:
        raise ImproperlyConfigured(
            f"CACHES[{alias!r}] is not a Redis cache: its BACKEND must be django_redis.cache.RedisCache"
            " or django.core.cache.backends.redis.RedisCache."
        )
    try:
        pool = make_client(write=True).connection_pool
    except (AttributeError, NotImplementedError, TypeError):
        raise ImproperlyConfigured(
            f"The client of CACHES[{alias!r}] spreads its keys over several servers; the store must be one server."
        ) from None
    if not isinstance(pool, redis.ConnectionPool):
        raise ImproperlyConfigured(f"The client of CACHES[{alias!r}] must be redis-py, not {type(pool).__module__}.")
    ours = {"socket_timeout": timeout, "socket_connect_timeout": timeout, "retry": Retry(NoBackoff(), 0)}
    plain = {"retry_on_timeout": False, "retry_on_error": [], "decode_responses": False, "health_check_interval": 0}
    arguments = pool.connection_kwargs | ours | plain
    if isinstance(pool, SentinelConnectionPool):
        arguments["connection_pool"] = _sentinel_pool(pool, ours)
    return pool.connection_class, arguments


def _sentinel_pool(pool: Any, ours: dict[str, Any]) -> Any:
    """What a managed connection asks for its server's address: the same sentinels, but with our timeouts."""
    asked: Any = Sentinel([], min_other_sentinels=pool.sentinel_manager.min_other_sentinels)  # type: ignore[no-untyped-call]
    for sentinel in pool.sentinel_manager.sentinels:
        theirs = sentinel.connection_pool
        way = redis.ConnectionPool(connection_class=theirs.connection_class, **theirs.connection_kwargs | ours)
        asked.sentinels.append(redis.Redis(connection_pool=way))
    return SentinelConnectionPool(pool.service_name, asked, is_master=True)  # type: ignore[no-untyped-call]
