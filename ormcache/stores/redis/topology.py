"""Which node of a Redis Cluster owns which hash slot, as far as one process knows.

See `CLUSTER SLOTS <https://redis.io/docs/latest/commands/cluster-slots/>`_. What is known may be outdated: a node that
does not own a hash slot any more redirects whoever asks it for a key there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot

from ormcache.stores.base import PARTITION_LENGTH
from ormcache.stores.redis.cluster_node import Address

#: How a node says in its reply that its host is the one that was asked
_SAME_HOST = ("", "?")


class Topology:
    """The owners of all hash slots. Threads share it: what changes is replaced as a whole."""

    def __init__(self) -> None:
        self._owners: list[Address | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
        self._addresses: tuple[Address, ...] = ()

    def owner(self, hash_slot: int) -> Address | None:
        """Return the address of the node that owns a hash slot; None: no node does."""
        return self._owners[hash_slot]

    def addresses(self) -> tuple[Address, ...]:
        """Return the addresses of the nodes that own hash slots, according to the last reply."""
        return self._addresses

    def partition_on(self, address: Address) -> bytes:
        """Return a partition whose hash slot a node owns. Raise LookupError if it owns none."""
        for number in range(256**PARTITION_LENGTH):
            partition = number.to_bytes(PARTITION_LENGTH, "big")
            if self._owners[key_slot(partition.hex().encode())] == address:
                return partition
        raise LookupError(address)

    def assign(self, hash_slot: int, address: Address) -> None:
        """Record that a node has redirected here to another one."""
        self._owners[hash_slot] = address

    def replace(self, reply: Sequence[Sequence[Any]], asked: str) -> None:
        """Take the reply to CLUSTER SLOTS. ``asked``: the host that it is from."""
        owners: list[Address | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
        found: dict[Address, None] = {}
        for first, last, (host, port, *_), *_ in reply:
            named = (host or b"").decode()
            address = (asked if named in _SAME_HOST else named, int(port))
            owners[first : last + 1] = [address] * (last + 1 - first)
            found[address] = None
        self._owners, self._addresses = owners, tuple(found)
