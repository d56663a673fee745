"""What the store on a Redis Cluster sends to a node, where that differs from what a single Redis is sent.

Each of these compares the token of the period in the same command; see :mod:`ormcache.stores.redis.cluster`. They raise
what the client raises, PeriodEnded and StaleConnection.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

from ormcache.stores.base import ROW_SLOT_LENGTH, ROW_SLOT_LIFETIME, Last
from ormcache.stores.redis.connection import RedisConnection
from ormcache.stores.redis.operations import SlotsChanged, encode_last, slots_changed
from ormcache.stores.redis.scripts import (
    BEGIN_PERIOD,
    FILL_IN_PERIOD,
    MARK_IN_PERIOD,
    NO_ROOM,
    PERIOD_ENDED,
    SETTLE_IN_PERIOD,
)

NONCE = slice(16, 32)  # of a token: the random part, behind the incarnation of the node that began the period


class PeriodEnded(Exception):
    """Raised when the period of a partition has ended; try again in the one that begins now."""


class Period(NamedTuple):
    """A period of one partition: the keys that belong to it."""

    incarnation: bytes  # of the node that began it
    token_key: bytes
    token: bytes  # what that key holds for as long as the period lasts
    entry_prefix: bytes
    slot_prefix: bytes
    claim_prefix: bytes


def _tagged(partition: bytes) -> bytes:
    return b"ormcache:{" + partition.hex().encode() + b"}:"


def token_key(partition: bytes) -> bytes:
    """Return the key of a partition's token."""
    return _tagged(partition) + b"period"


def write_probe(partition: bytes) -> bytes:
    """Return a key in the hash slot of a partition that never has a value."""
    return _tagged(partition)


def begin_period(connection: RedisConnection, partition: bytes, lease: float) -> Period:
    """Return the period of a partition on the node of a connection; begin one if there is none.

    ``lease``: seconds for which nothing is stored in a new one.
    """
    key, nonce = token_key(partition), os.urandom(8).hex().encode()
    token = connection.run_script(BEGIN_PERIOD, [key], connection.incarnation, nonce, b"%d" % int(lease * 1e6))
    prefix = _tagged(partition) + token[NONCE]
    return Period(connection.incarnation, key, token, prefix + b":e:", prefix + b":s:", prefix + b":c:")


class PartitionConnection:
    """A connection to the node of one partition, and the prefixes of its keys in the current period."""

    __slots__ = ("address", "call", "call_many", "claim_prefix", "entry_prefix", "period", "run_script", "slot_prefix")

    def __init__(self, connection: RedisConnection, period: Period) -> None:
        self.period = period
        self.address = connection.address
        self.entry_prefix, self.slot_prefix, self.claim_prefix = period[3:]
        self.call, self.call_many, self.run_script = connection.call, connection.call_many, connection.run_script

    def run_in_period(self, script: str, slots: Sequence[bytes], *arguments: bytes) -> Any:
        """Return the result of a script on slots. Raise PeriodEnded."""
        prefix, period = self.slot_prefix, self.period
        keys = [prefix + slot for slot in slots]
        answer = self.run_script(script, [*keys, period.token_key], *arguments, period.token)
        if answer == PERIOD_ENDED:
            raise PeriodEnded
        return answer


def look_up(
    connection: PartitionConnection, entry: bytes | None, slots: Sequence[bytes]
) -> tuple[bytes | None, list[bytes | None]]:
    prefix, period = connection.slot_prefix, connection.period
    names = [prefix + slot for slot in slots]
    if entry is None:
        token, *values = connection.call(b"MGET", period.token_key, *names)
        value = None
    else:
        token, value, *values = connection.call(b"MGET", period.token_key, connection.entry_prefix + entry, *names)
    if token != period.token:
        raise PeriodEnded
    return value, values


def fill_slots(connection: PartitionConnection, slots: Sequence[bytes], stamp: bytes) -> list[bytes | None] | None:
    """Fill slots and return their values; None: the node has no room."""
    values: list[bytes | None] | int = connection.run_in_period(FILL_IN_PERIOD, slots, stamp, *_rows(connection))
    return None if values == NO_ROOM else values  # type: ignore[return-value]  # no other number


def mark(
    connection: PartitionConnection, slots: Sequence[bytes], writer: bytes, lease: float, watch: bytes | None
) -> SlotsChanged:
    names = slots if watch is None else [*slots, watch]
    arguments = (writer, b"%d" % int(lease * 1e6), b"%d" % len(slots))
    return slots_changed(connection.run_in_period(MARK_IN_PERIOD, names, *arguments))


def settle(
    connection: PartitionConnection,
    slots: Sequence[bytes],
    writer: bytes,
    stamp: bytes,
    last: Last | None,
    watch: bytes | None,
) -> SlotsChanged:
    names = slots if watch is None else [*slots, watch]
    arguments = (writer, stamp, b"%d" % len(slots), *_rows(connection), *encode_last(last))
    return slots_changed(connection.run_in_period(SETTLE_IN_PERIOD, names, *arguments))


def _rows(connection: PartitionConnection) -> tuple[bytes, bytes]:
    """Return the length of the key of a row slot in bytes, and for how many seconds its stamp is stored."""
    return b"%d" % (len(connection.slot_prefix) + ROW_SLOT_LENGTH), b"%d" % ROW_SLOT_LIFETIME
