"""The nodes of a Redis Cluster as one process knows them: which there are, and which hash slots are whose."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from typing import Any

from redis.exceptions import ResponseError

from ormcache.exceptions import StoreUnavailable
from ormcache.stores.base import describe_error
from ormcache.stores.redis.cluster_node import Address, ClusterNode, NodeUnavailable, format_address, redirection_of
from ormcache.stores.redis.connection import exchange
from ormcache.stores.redis.settings import cluster_settings
from ormcache.stores.redis.topology import Topology
from ormcache.utils.interruptions import let_through

REFRESH_INTERVAL = 0.5  # seconds between two questions which node owns which hash slots
MAX_ASKED = 3  # nodes that are asked that in a row, each of which may take the whole timeout


class ClusterNodes:
    """The nodes that own hash slots. Threads share it.

    It asks one of them which owns what, when it is first needed and after :meth:`ask_again`.
    """

    def __init__(self, alias: str, timeout: float, on_outage: Callable[[], None], clock: Callable[[], float]) -> None:
        """``timeout``: seconds. ``on_outage``: called when a node does not answer any more."""
        self._connection_class, self._arguments, self.seeds = cluster_settings(alias, timeout)
        self._on_outage = on_outage
        self._clock = clock
        self._topology = Topology()
        self._nodes: dict[Address, ClusterNode] = {}
        self._refreshing = threading.RLock()  # held to ask which node owns what
        self._is_outdated = True
        self._refreshed_at = float("-inf")

    def __iter__(self) -> Iterator[ClusterNode]:
        return iter(list(self._nodes.values()))

    def owner(self, hash_slot: int) -> ClusterNode:
        """Return the node that owns a hash slot.

        Raise NodeUnavailable if none does, and StoreUnavailable if none answers.
        """
        self._refresh_if_outdated()
        address = self._topology.owner(hash_slot)
        if address is None:
            self.ask_again()
            raise NodeUnavailable(f"no node of the cluster owns the hash slot {hash_slot}")
        return self._node(address)

    def with_partitions(self) -> list[tuple[ClusterNode, bytes]]:
        """Return all nodes, each with a partition that is there. Raise StoreUnavailable if none answers."""
        self._refresh_if_outdated()
        topology = self._topology
        return [(self._node(address), topology.partition_on(address)) for address in topology.addresses()]

    def redirect(self, hash_slot: int, address: Address) -> None:
        """Record that a node has redirected to another one, as the hash slot, and perhaps others, were moved."""
        self._topology.assign(hash_slot, address)
        self.ask_again()

    def ask_again(self) -> None:
        """Ask again which node owns what, unless that was done lately."""
        self._is_outdated = True

    def retry_now(self) -> None:
        """Let the next call try again, without waiting for the end of a node's back-off."""
        self._refreshed_at = float("-inf")
        for node in self:
            node.retry_now()

    def exchange(self, address: Address, *commands: tuple[bytes, ...]) -> list[Any]:
        """Return the replies of a node on a connection of its own, errors among them. Raise NodeUnavailable."""
        connection = self._connection_class(host=address[0], port=address[1], **self._arguments)
        try:
            connection.connect()
            replies = exchange(connection, commands)
        except ClusterNode.errors as error:
            let_through(error)
            raise NodeUnavailable(f"{format_address(address)} does not answer: {describe_error(error)}") from error
        finally:
            connection.disconnect()
        return [(isinstance(reply, ResponseError) and redirection_of(reply)) or reply for reply in replies]

    def forget_lock(self) -> None:
        """Make a new lock: a thread that a forked child does not have may hold the old one."""
        self._refreshing = threading.RLock()

    def _node(self, address: Address) -> ClusterNode:
        node = self._nodes.get(address)
        if node is None:
            made = ClusterNode(address, self._connection_class, self._arguments, self._on_outage, self._clock)
            node = self._nodes.setdefault(address, made)
        return node

    def _refresh_if_outdated(self) -> None:
        """Ask which node owns what, if that is not known, or may have changed and was not asked lately."""
        if not self._is_outdated:
            return
        with self._refreshing:
            now = self._clock()
            is_due = not self._refreshed_at <= now < self._refreshed_at + REFRESH_INTERVAL
            if self._is_outdated and (is_due or not self._topology.addresses()):
                self._refreshed_at = now
                self._refresh()

    def _refresh(self) -> None:
        """Ask some nodes which of them owns what. Raise StoreUnavailable if none answers and nothing is known."""
        error: Exception | None = None
        for address in self._candidates():
            try:
                reply = self.exchange(address, (b"CLUSTER", b"SLOTS"))[0]
            except NodeUnavailable as failure:
                error = failure
                continue
            if isinstance(reply, ResponseError):
                error = reply  # a server that is not in a cluster, or a user that may not ask
                continue
            self._topology.replace(reply, address[0])
            self._is_outdated = False
            for gone in set(self._nodes).difference(self._topology.addresses()):
                self._nodes.pop(gone).close()
            return
        if not self._topology.addresses():
            raise StoreUnavailable(f"no node of the cluster says which of them owns what: {error}") from error

    def _candidates(self) -> list[Address]:
        """Return some addresses to ask, first those of nodes that have answered."""
        known = sorted(self, key=lambda node: (not node.is_answering, random.random()))  # noqa: S311
        seeds = random.sample(self.seeds, len(self.seeds))
        return list(dict.fromkeys([*(node.address for node in known), *seeds]))[:MAX_ASKED]
