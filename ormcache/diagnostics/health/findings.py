"""Findings: what is right or wrong, how serious it is, and what to do. Here, those about stores."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ormcache.conf import Config
from ormcache.stores.info import ServerInfo, StoreInfo

#: Levels of findings, the most serious last
OK, NOTE, WARNING, ERROR = LEVELS = ("ok", "note", "warning", "error")

#: Share of its memory that a store uses when it counts as full
NEARLY_FULL = 0.95

#: Evictions per second from which on they are worth a warning
MANY_EVICTIONS = 10.0

#: Seconds between two clocks that are worth a note
CLOCKS_APART = 1.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding. All of it goes into JSON."""

    level: str  # one of LEVELS
    #: "database", "store", "outbox", "outside", "proof", "purges", "triggers", "rows", "verification", or the id of a
    #: system check
    about: str
    text: str  # a sentence
    hint: str = ""  # what to do; empty: nothing


def judge_store(info: StoreInfo, config: Config, look_up: float) -> Iterator[Finding]:
    """Judge what a store reports about itself, for one database. ``look_up``: seconds that a lookup takes."""
    if look_up > config.store_timeout / 2 and info.kind in ("redis", "redis-cluster", "memcached"):
        yield Finding(
            WARNING,
            "store",
            f"A lookup takes {look_up:.2f} s; after {config.store_timeout} s it counts as failed.",
            "Move the store closer to this host, or raise STORE_TIMEOUT.",
        )
    for server in info.servers:
        yield from _BY_KIND.get(info.kind, _of_other)(server, config)
        yield from _of_any(server, config)


def _of_any(server: ServerInfo, config: Config) -> Iterator[Finding]:
    if server.evicted_keys and server.uptime:
        rate = server.evicted_keys / server.uptime
        text = f"{server.address} has evicted {server.evicted_keys} keys since it was started, {rate:.2g} per second."
        if rate >= MANY_EVICTIONS:
            yield Finding(WARNING, "store", text, "Give it more memory, or cache less: BLACKLIST, MAX_BYTES, TIMEOUT.")
        else:
            yield Finding(NOTE, "store", text)
    if server.clock_offset is not None and abs(server.clock_offset) - server.clock_error > CLOCKS_APART:
        side = "ahead of" if server.clock_offset > 0 else "behind"
        text = f"The clock of {server.address} is {abs(server.clock_offset):.1f} s {side} this host's."
        is_serious = not server.ends_leases and abs(server.clock_offset) > config.lease / 4
        hint = (
            "Synchronize both by NTP: the marks of a writer that has died end by the clocks of other hosts."
            if is_serious
            else ""
        )
        yield Finding(WARNING if is_serious else NOTE, "store", text, hint)


def _of_redis(server: ServerInfo, config: Config) -> Iterator[Finding]:
    policy = server.eviction_policy or ""
    is_full = bool(server.max_bytes) and (server.used_bytes or 0) >= NEARLY_FULL * (server.max_bytes or 0)
    if server.max_bytes == 0:
        yield Finding(
            WARNING,
            "store",
            f"{server.address} has no memory limit: outdated results stay until the host is out of memory.",
            "Set maxmemory, and maxmemory-policy allkeys-lru.",
        )
    elif policy == "noeviction":
        yield Finding(
            ERROR if is_full else WARNING,
            "store",
            f"{server.address} is full and evicts nothing: no new result is stored."
            if is_full
            else f"{server.address} evicts nothing (noeviction): once it is full, no new result is stored.",
            "Set maxmemory-policy allkeys-lru.",
        )
    elif policy.startswith("volatile-") and config.timeout is None:
        yield Finding(
            WARNING,
            "store",
            f"{server.address} evicts only entries with a TIMEOUT ({policy}), and results here have none.",
            "Set maxmemory-policy allkeys-lru, or set TIMEOUT.",
        )
    if server.details.get("connected_slaves", "0") != "0":
        yield Finding(NOTE, "store", f"{server.address} has replicas. After a failover, the cache is empty.")


def _of_memcached(server: ServerInfo, config: Config) -> Iterator[Finding]:
    if server.eviction_policy == "noeviction":
        yield Finding(
            WARNING,
            "store",
            f"{server.address} evicts nothing: once it is full, no new result is stored.",
            "Start it without -M.",
        )
    if server.max_entry_bytes is not None and server.max_entry_bytes < config.max_bytes:
        yield Finding(
            NOTE,
            "store",
            f"{server.address} takes items of {server.max_entry_bytes} bytes, MAX_BYTES is {config.max_bytes}: "
            "larger results are not stored.",
            "Start it with a larger -I, or leave it as it is.",
        )


def _of_embedded(server: ServerInfo, config: Config) -> Iterator[Finding]:
    limit, free, taken = server.max_bytes or 0, server.details["disk_free"], server.details["disk_taken"]
    if isinstance(free, int) and isinstance(taken, int) and free < limit - taken:
        yield Finding(
            WARNING,
            "store",
            f"{server.address} may grow to {limit} bytes, and its file system has {free} bytes left.",
            "Free some space there, set LOCATION to another folder, or lower MAX_SIZE.",
        )
    if limit < config.max_size:
        yield Finding(
            NOTE,
            "store",
            f"{server.address} is limited to {limit} bytes, half of its file system. MAX_SIZE is {config.max_size}.",
            "In a container, --shm-size sets the size of /dev/shm.",
        )


def _of_other(server: ServerInfo, config: Config) -> Iterator[Finding]:
    yield Finding(NOTE, "store", f"{server.address} does not report its memory or its evictions.")


_BY_KIND: dict[str, Callable[[ServerInfo, Config], Iterator[Finding]]] = {
    "redis": _of_redis,
    "redis-cluster": _of_redis,
    "memcached": _of_memcached,
    "embedded": _of_embedded,
}
