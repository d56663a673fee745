"""What the facts of a store mean for a cache: findings, each a sentence and what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ormcache.conf import Config
from ormcache.stores.facts import ServerFacts, StoreFacts

#: Levels of findings, the gravest last
OK, NOTE, WARNING, ERROR = LEVELS = ("ok", "note", "warning", "error")

#: A store that has less of its room left is full, as far as this is concerned
NEARLY_FULL = 0.95

#: Evictions a second that are many
MANY_EVICTIONS = 10.0

#: Seconds between two clocks that people notice
CLOCKS_APART = 1.0


@dataclass(frozen=True, slots=True)
class Finding:
    level: str  # one of LEVELS
    about: str  # "database", "store", "proof", "rows", or the id of a system check
    text: str  # a sentence
    hint: str = ""  # what to do; empty: nothing


def of_store(facts: StoreFacts, config: Config, look_up: float) -> Iterator[Finding]:
    """What a store tells of itself, for one database. ``look_up``: seconds that it takes."""
    if look_up > config.store_timeout / 2 and facts.kind in ("redis", "memcached"):
        yield Finding(
            WARNING,
            "store",
            f"A look-up takes {look_up:.2f} s; after {config.store_timeout} s the store counts as away.",
            "Bring the store nearer, or raise STORE_TIMEOUT.",
        )
    for server in facts.servers:
        yield from _BY_KIND.get(facts.kind, _of_other)(server, config)
        yield from _of_any(server, facts, config)


def _of_any(server: ServerFacts, facts: StoreFacts, config: Config) -> Iterator[Finding]:
    if server.evicted and server.running:
        rate = server.evicted / server.running
        text = f"{server.address} has had to evict {server.evicted} keys since it was started, {rate:.2g} a second."
        if rate >= MANY_EVICTIONS:
            yield Finding(WARNING, "store", text, "Give it more memory, or cache less: BLACKLIST, MAX_BYTES, TIMEOUT.")
        else:
            yield Finding(NOTE, "store", text)
    if server.ahead is not None and abs(server.ahead) - server.ahead_by > CLOCKS_APART:
        side = "ahead of" if server.ahead > 0 else "behind"
        text = f"The clock of {server.address} is {abs(server.ahead):.1f} s {side} this host's."
        # Redis ends leases by its own clock; the others are told by ours when one ends.
        grave = facts.kind != "redis" and abs(server.ahead) > config.lease / 4
        hint = "Let both follow NTP: marks of writers that died end by the clocks of hosts." if grave else ""
        yield Finding(WARNING if grave else NOTE, "store", text, hint)


def _of_redis(server: ServerFacts, config: Config) -> Iterator[Finding]:
    policy = server.policy or ""
    full = bool(server.limit) and (server.used or 0) >= NEARLY_FULL * (server.limit or 0)
    if server.limit == 0:
        yield Finding(
            WARNING,
            "store",
            f"{server.address} has no bound: results that are out of date stay until the host is out of memory.",
            "Set maxmemory, and maxmemory-policy allkeys-lru.",
        )
    elif policy == "noeviction":
        yield Finding(
            ERROR if full else WARNING,
            "store",
            f"{server.address} is full and evicts nothing: no new result is kept."
            if full
            else f"{server.address} evicts nothing (noeviction): once it is full, no new result is kept.",
            "Set maxmemory-policy allkeys-lru.",
        )
    elif policy.startswith("volatile-") and config.timeout is None:
        yield Finding(
            WARNING,
            "store",
            f"{server.address} evicts only what has a TIMEOUT ({policy}), and results here have none.",
            "Set maxmemory-policy allkeys-lru, or a TIMEOUT.",
        )
    if server.more.get("connected_slaves", "0") != "0":
        yield Finding(NOTE, "store", f"{server.address} has replicas. After a failover the cache begins empty.")


def _of_memcached(server: ServerFacts, config: Config) -> Iterator[Finding]:
    if server.policy == "noeviction":
        yield Finding(
            WARNING,
            "store",
            f"{server.address} evicts nothing: once it is full, no new result is kept.",
            "Start it without -M.",
        )
    if server.largest is not None and server.largest < config.max_bytes:
        yield Finding(
            NOTE,
            "store",
            f"{server.address} takes items of {server.largest} bytes, MAX_BYTES is {config.max_bytes}: "
            "larger results are not kept.",
            "Start it with a larger -I, or leave it so.",
        )


def _of_embedded(server: ServerFacts, config: Config) -> Iterator[Finding]:
    limit, free, taken = server.limit or 0, server.more["disk_free"], server.more["disk_taken"]
    if isinstance(free, int) and isinstance(taken, int) and free < limit - taken:
        yield Finding(
            WARNING,
            "store",
            f"{server.address} may grow to {limit} bytes, and its file system has {free} left.",
            "Make room there, name another folder in LOCATION, or lower MAX_SIZE.",
        )
    if limit < config.max_size:
        yield Finding(
            NOTE,
            "store",
            f"{server.address} takes {limit} bytes at most, half of its file system. MAX_SIZE is {config.max_size}.",
            "A container's /dev/shm is as large as --shm-size says.",
        )


def _of_other(server: ServerFacts, config: Config) -> Iterator[Finding]:
    yield Finding(NOTE, "store", f"{server.address} tells nothing of its memory, nor of what it evicts.")


_BY_KIND: dict[str, Callable[[ServerFacts, Config], Iterator[Finding]]] = {
    "redis": _of_redis,
    "memcached": _of_memcached,
    "embedded": _of_embedded,
}
