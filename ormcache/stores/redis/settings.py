"""Connection settings of Redis, from a CACHES alias of django-redis or of Django itself."""

from __future__ import annotations

import re
from typing import Any

import redis
from django.conf import settings
from django.core.cache import caches
from django.core.exceptions import ImproperlyConfigured
from redis.backoff import NoBackoff
from redis.cluster import RedisCluster
from redis.connection import parse_url
from redis.exceptions import RedisClusterException
from redis.retry import Retry
from redis.sentinel import Sentinel, SentinelConnectionPool


def connection_settings(alias: str, timeout: float) -> tuple[Any, dict[str, Any]]:
    """Return the connection class and its arguments that the client of a CACHES alias uses, with other timeouts.

    ``timeout`` is in seconds. The alias's pool is not used: our connections would count against the user's limit for
    it. Raise ImproperlyConfigured for an alias that is not a single Redis behind redis-py.
    """
    client = _client(alias)
    if isinstance(client, RedisCluster):
        raise ImproperlyConfigured(
            f"The client of CACHES[{alias!r}] is one of a cluster: set STORE to 'redis-cluster'."
        )
    pool = _pool(alias, client)
    arguments = pool.connection_kwargs | _our_arguments(timeout)
    if isinstance(pool, SentinelConnectionPool):
        arguments["connection_pool"] = _sentinel_pool(pool, _our_timeouts(timeout))
    return pool.connection_class, arguments


def cluster_settings(alias: str, timeout: float) -> tuple[Any, dict[str, Any], list[tuple[str, int]]]:
    """Return the connection class, its arguments besides host and port, and the addresses of some nodes of a cluster.

    The client of the alias is redis-py's for clusters, or an ordinary one whose addresses are those of nodes.
    ``timeout`` is in seconds. Raise ImproperlyConfigured for any other alias, and where a client for clusters cannot be
    made because no node answers.
    """
    client = _client(alias)
    if isinstance(client, RedisCluster):
        nodes: list[Any] = client.get_nodes()  # type: ignore[no-untyped-call]
        pool = client.get_redis_connection(nodes[0]).connection_pool
        addresses = [(str(node.host), int(node.port)) for node in nodes]
    else:
        pool = _pool(alias, client)
        location = settings.CACHES[alias].get("LOCATION") or ()
        urls = re.split("[;,]", location) if isinstance(location, str) else location
        parsed = map(parse_url, urls)
        addresses = [(str(one.get("host", "localhost")), int(one.get("port", 6379))) for one in parsed]
    arguments = pool.connection_kwargs | _our_arguments(timeout)
    if isinstance(pool, SentinelConnectionPool) or "path" in arguments or arguments.get("db"):
        raise ImproperlyConfigured(
            f"CACHES[{alias!r}] must lead to the port of a node of the cluster: a cluster has no sentinels, no Unix"
            " sockets, and no database but the number 0."
        )
    for name in ("host", "port", "redis_connect_func"):  # the last one reads from replicas, and parses otherwise
        arguments.pop(name, None)
    return pool.connection_class, arguments, addresses


def _client(alias: str) -> Any:
    """Return the client of a CACHES alias that it writes with. Raise ImproperlyConfigured if it is no Redis."""
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
        return make_client(write=True)
    except (AttributeError, NotImplementedError, TypeError):
        raise ImproperlyConfigured(
            f"The client of CACHES[{alias!r}] spreads its keys over several servers; the store must be one server."
        ) from None
    except (RedisClusterException, redis.RedisError) as error:  # a client for clusters connects when it is made
        raise ImproperlyConfigured(f"The client of CACHES[{alias!r}] cannot be made: {error}") from error


def _pool(alias: str, client: Any) -> redis.ConnectionPool:
    pool = getattr(client, "connection_pool", None)
    if pool is None:
        raise ImproperlyConfigured(
            f"The client of CACHES[{alias!r}] spreads its keys over several servers; the store must be one server."
        )
    if not isinstance(pool, redis.ConnectionPool):
        raise ImproperlyConfigured(f"The client of CACHES[{alias!r}] must be redis-py, not {type(pool).__module__}.")
    return pool


def _our_timeouts(timeout: float) -> dict[str, Any]:
    return {"socket_timeout": timeout, "socket_connect_timeout": timeout, "retry": Retry(NoBackoff(), 0)}


def _our_arguments(timeout: float) -> dict[str, Any]:
    plain_bytes = {
        "retry_on_timeout": False,
        "retry_on_error": [],
        "decode_responses": False,
        "health_check_interval": 0,
    }
    return _our_timeouts(timeout) | plain_bytes


def _sentinel_pool(pool: Any, ours: dict[str, Any]) -> Any:
    """Return a pool that asks the same sentinels for the primary's address, with our timeouts."""
    manager: Any = Sentinel([], min_other_sentinels=pool.sentinel_manager.min_other_sentinels)  # type: ignore[no-untyped-call]
    for sentinel in pool.sentinel_manager.sentinels:
        theirs = sentinel.connection_pool
        own_pool = redis.ConnectionPool(connection_class=theirs.connection_class, **theirs.connection_kwargs | ours)
        manager.sentinels.append(redis.Redis(connection_pool=own_pool))
    return SentinelConnectionPool(pool.service_name, manager, is_master=True)  # type: ignore[no-untyped-call]
