"""What the store on one Redis sends to it: each function is one operation on a connection.

They raise what the client raises, and StaleConnection.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import redis
from redis.exceptions import ResponseError

from ormcache.stores.base import ROW_SLOT_LENGTH, ROW_SLOT_LIFETIME, Last, is_row_slot
from ormcache.stores.info import ServerInfo
from ormcache.stores.redis.connection import RedisConnection
from ormcache.stores.redis.scripts import MARK, SETTLE

OUT_OF_MEMORY = "OOM"  # what the error of a server that is full begins with


class SlotsChanged(NamedTuple):
    """What became of slots that were to be marked or settled."""

    watched: bytes | None  # what the slot to watch held
    denied: bool  # whether the server had no room, and slots were emptied


#: If there was no slot to change, and none to watch: Redis has no command for no keys
NOTHING_CHANGED = SlotsChanged(None, denied=False)


def look_up(
    connection: RedisConnection, entry: bytes | None, slots: Sequence[bytes]
) -> tuple[bytes | None, list[bytes | None]]:
    prefix = connection.slot_prefix
    names = [prefix + slot for slot in slots]
    if entry is None:
        return None, connection.call(b"MGET", *names)
    value, *values = connection.call(b"MGET", connection.entry_prefix + entry, *names)
    return value, values


def look_up_with_prefix(
    connection: RedisConnection, entry: bytes | None, slots: Sequence[bytes]
) -> tuple[bytes, bytes | None, list[bytes | None]]:
    return connection.slot_prefix, *(look_up(connection, entry, slots) if entry is not None or slots else (None, []))


def fill_slots(connection: RedisConnection, slots: Sequence[bytes], stamp: bytes) -> list[bytes | None] | None:
    """Fill slots and return their values; None: the server has no room."""
    names = [connection.slot_prefix + slot for slot in slots]
    commands: list[tuple[bytes, ...]] = [
        (b"SET", name, stamp, b"NX", b"EX", b"%d" % ROW_SLOT_LIFETIME) if is_row_slot(slot) else (b"SETNX", name, stamp)
        for slot, name in zip(slots, names, strict=True)
    ]
    try:
        values: list[bytes | None] = connection.call_many([*commands, (b"MGET", *names)])[-1]
    except ResponseError as error:
        if not _is_out_of_memory(error):
            raise
        return None
    return values


def put_entry(connection: RedisConnection, entry: bytes, value: bytes, timeout: float | None) -> bool:
    """Store an entry. Return False if the server has no room."""
    expiry = () if timeout is None else (b"PX", _to_milliseconds(timeout))
    try:
        connection.call(b"SET", connection.entry_prefix + entry, value, *expiry)
    except ResponseError as error:
        if not _is_out_of_memory(error):
            raise
        return False
    return True


def mark(
    connection: RedisConnection, slots: Sequence[bytes], writer: bytes, lease: float, watch: bytes | None
) -> SlotsChanged:
    names = [connection.slot_prefix + slot for slot in (slots if watch is None else [*slots, watch])]
    if not names:
        return NOTHING_CHANGED
    return slots_changed(connection.run_script(MARK, names, writer, b"%d" % int(lease * 1e6), b"%d" % len(slots)))


def settle(
    connection: RedisConnection,
    slots: Sequence[bytes],
    writer: bytes,
    stamp: bytes,
    watch: bytes | None,
    last: Last | None,
) -> SlotsChanged:
    names = [connection.slot_prefix + slot for slot in (slots if watch is None else [*slots, watch])]
    if not names:
        return NOTHING_CHANGED
    rows = (b"%d" % (len(connection.slot_prefix) + ROW_SLOT_LENGTH), b"%d" % ROW_SLOT_LIFETIME)
    arguments = (writer, stamp, b"%d" % len(slots), *rows, *encode_last(last))
    return slots_changed(connection.run_script(SETTLE, names, *arguments))


def slots_changed(answer: Any) -> SlotsChanged:
    """Return what a script that marks or settles slots has answered."""
    return SlotsChanged(answer[0], denied=True) if isinstance(answer, list) else SlotsChanged(answer, denied=False)


def encode_last(last: Last | None) -> tuple[bytes, ...]:
    """Return the arguments of the scripts for slots that get another value than the stamp."""
    return () if last is None else (b"%d" % last[0], last[1])


def delete_entries(connection: RedisConnection, entries: Sequence[bytes]) -> None:
    connection.call(b"DEL", *[connection.entry_prefix + entry for entry in entries])


def clear_slots(connection: RedisConnection, slots: Sequence[bytes]) -> None:
    connection.call(b"DEL", *[connection.slot_prefix + slot for slot in slots])


#: Fields of INFO that matter besides what every store reports
INFO_FIELDS = (
    "redis_mode",
    "role",
    "connected_slaves",
    "rdb_last_save_time",
    "aof_enabled",
    "mem_fragmentation_ratio",
    "expired_keys",
    "keyspace_hits",
    "keyspace_misses",
)


def describe_server(connection: RedisConnection) -> ServerInfo:
    lines = connection.call(b"INFO").decode("utf-8", "replace").splitlines()
    info = dict(line.split(":", 1) for line in lines if ":" in line)
    before = time.time()
    seconds, microseconds = connection.call(b"TIME")
    after = time.time()
    return ServerInfo(
        connection.address,
        version=info.get("valkey_version") or info.get("redis_version"),
        used_bytes=_int_field(info, "used_memory"),
        max_bytes=_int_field(info, "maxmemory"),
        evicted_keys=_int_field(info, "evicted_keys"),
        uptime=_int_field(info, "uptime_in_seconds"),
        eviction_policy=info.get("maxmemory_policy"),
        clock_offset=int(seconds) + int(microseconds) / 1e6 - (before + after) / 2,
        clock_error=(after - before) / 2,
        ends_leases=True,
        details={name: info[name] for name in INFO_FIELDS if name in info},
    )


def _int_field(info: Mapping[str, str], name: str) -> int | None:
    return int(info[name]) if info.get(name, "").isdecimal() else None


def claim(connection: RedisConnection, name: bytes, owner: bytes, seconds: float) -> bytes:
    key = connection.claim_prefix + name
    try:
        # Not SET with NX and GET, which needs Redis 7, and not GET, which fails for a value of another type.
        is_claimed, (holder,) = connection.call_many(
            [(b"SET", key, owner, b"NX", b"PX", _to_milliseconds(seconds)), (b"MGET", key)]
        )
    except ResponseError as error:
        if not _is_out_of_memory(error):
            raise
        return owner
    return owner if is_claimed else holder or b""


def release(connection: RedisConnection, name: bytes, word: bytes, seconds: float) -> None:
    try:
        connection.call(b"SET", connection.claim_prefix + name, word, b"PX", _to_milliseconds(seconds))
    except ResponseError as error:
        if not _is_out_of_memory(error):
            raise


def _to_milliseconds(seconds: float) -> bytes:
    return b"%d" % max(1, int(seconds * 1000))


def _is_out_of_memory(error: ResponseError) -> bool:
    return isinstance(error, redis.exceptions.OutOfMemoryError) or str(error).startswith(OUT_OF_MEMORY)
