"""A Redis Cluster for the tests: nodes that know each other, and what a test does with their hash slots."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import redis
from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot

from tests.servers import Server
from tests.waiting import eventually

START_TIMEOUT = 30.0  # seconds until all nodes agree; usually two


class Node:
    """A node, with a client of its own."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.client: Any = redis.Redis(host=server.host, port=server.port)
        self.id = self.client.cluster("MYID").decode()

    @property
    def address(self) -> tuple[str, int]:
        return self.server.host, self.server.port

    def info(self, field: str) -> str:
        """Return a field of CLUSTER INFO."""
        lines = self.client.execute_command("CLUSTER", "INFO")
        found = (
            lines
            if isinstance(lines, dict)
            else dict(line.split(":", 1) for line in lines.decode().splitlines() if ":" in line)
        )
        return str(found[field])


class Cluster:
    """Primaries that share all hash slots in equal ranges."""

    def __init__(self, start: Callable[[str], Server], count: int = 3, kind: str = "redis-node") -> None:
        self._start, self._kind = start, kind
        self.nodes = [Node(start(kind)) for _ in range(count)]
        size = -(-REDIS_CLUSTER_HASH_SLOTS // count)
        for number, node in enumerate(self.nodes):
            first, last = number * size, min((number + 1) * size, REDIS_CLUSTER_HASH_SLOTS) - 1
            node.client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            node.client.execute_command("CLUSTER", "ADDSLOTSRANGE", first, last)
        self._meet(self.nodes)

    def close(self) -> None:
        for node in self.nodes:
            node.client.close()

    @property
    def seeds(self) -> list[str]:
        return [f"redis://{host}:{port}" for host, port in (node.address for node in self.nodes)]

    def _meet(self, nodes: list[Node]) -> None:
        for node in nodes:
            for other in self.nodes:
                if other is not node:
                    node.client.execute_command(
                        "CLUSTER", "MEET", other.server.host, other.server.port, other.server.bus
                    )
        eventually(lambda: all(self._knows_all(node) for node in self.nodes), within=START_TIMEOUT)

    def _knows_all(self, node: Node) -> bool:
        return (
            int(node.info("cluster_known_nodes")) == len(self.nodes)
            and node.info("cluster_state") == "ok"
            and int(node.info("cluster_slots_ok")) == REDIS_CLUSTER_HASH_SLOTS
        )

    def add_replica(self, of: Node) -> Node:
        """Start a replica of a node, and wait until it has its data."""
        replica = Node(self._start(self._kind))
        self.nodes.append(replica)
        self._meet([replica])
        replica.client.execute_command("CLUSTER", "REPLICATE", of.id)
        eventually(lambda: replica.client.info("replication").get("master_link_status") == "up", within=START_TIMEOUT)
        return replica

    def owner(self, partition: bytes) -> Node:
        """Return the node that owns the hash slot of a partition, by what the nodes say of themselves."""
        slot = slot_of(partition)
        return next(node for node in self.nodes if node.server.running and self._owns(node, slot))

    @staticmethod
    def _owns(node: Node, slot: int) -> bool:
        for first, last, (_, port, *_), *_ in node.client.execute_command("CLUSTER SLOTS"):
            if first <= slot <= last:
                return bool(int(port) == node.server.port and node.client.info("replication")["role"] == "master")
        return False

    def partition_on(self, node: Node) -> bytes:
        """Return a partition whose hash slot a node owns."""
        return next(
            partition
            for partition in (number.to_bytes(2, "big") for number in range(65536))
            if self._owns(node, slot_of(partition))
        )

    # Resharding -----------------------------------------------------------------------

    def begin_move(self, slot: int, source: Node, target: Node) -> None:
        target.client.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", source.id)
        source.client.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", target.id)

    def move_keys(self, slot: int, source: Node, target: Node, count: int = 1_000_000) -> int:
        """Move some keys of a hash slot that is being moved; how many."""
        keys = source.client.execute_command("CLUSTER", "GETKEYSINSLOT", slot, count)
        self.move_these(keys, source, target)
        return len(keys)

    @staticmethod
    def move_these(keys: list[bytes], source: Node, target: Node) -> None:
        if keys:
            source.client.execute_command(
                "MIGRATE", target.server.host, target.server.port, "", 0, 5000, "REPLACE", "KEYS", *keys
            )

    def end_move(self, slot: int, source: Node, target: Node) -> None:
        for node in (target, source):
            node.client.execute_command("CLUSTER", "SETSLOT", slot, "NODE", target.id)

    def move(self, slot: int, source: Node, target: Node) -> None:
        """Move a hash slot with all of its keys, as ``redis-cli --cluster reshard`` does."""
        self.begin_move(slot, source, target)
        while self.move_keys(slot, source, target, 10):
            pass
        self.end_move(slot, source, target)

    # Failover -------------------------------------------------------------------------

    def take_over(self, replica: Node) -> None:
        """Let a replica take over from its primary, whether that is there or not."""
        replica.client.execute_command("CLUSTER", "FAILOVER", "TAKEOVER")
        eventually(lambda: replica.client.info("replication")["role"] == "master")


def slot_of(partition: bytes) -> int:
    """Return the hash slot of a partition."""
    return key_slot(partition.hex().encode())
