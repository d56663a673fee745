"""A store on a Redis Cluster: all keys of one database are on one node, and databases are spread over the nodes.

The partition of a name (:data:`~ormcache.stores.base.PARTITION_LENGTH`) is the hash tag of its key, so that all names
of a database are in one hash slot: a lookup is one command and a write one script, as on a single Redis. Names of
several partitions in one call, as of two databases of one MySQL server that a statement joins, take a round trip for
each.

**Which node.** A process asks any node once (``CLUSTER SLOTS``), and again when a node redirects it or does not answer.
Each node has a circuit breaker of its own: while one is away, the databases on it are not cached, and no others.

**Periods.** Keys can change their node with all that they hold (resharding), and a replica that takes over may lack the
last marks and stamps. So the keys of a partition are named after its *period*, a random number in a key beside them,
the token, which also names the incarnation of the node that began it. Whoever finds no token, or one of another
incarnation, begins a new period, and with it an empty cache. Every lookup, fill and write compares the token in the
same command, so none goes on under the names of a period that has ended. Nor does a period come back: keys that are
moved away and back meet a token that was replaced elsewhere, unless nobody wrote there.

**Marks that were lost.** A mark of the last period is not seen in the next one, and its writer may still be about to
commit. So nothing is stored in a period before a lease has passed since it began: no slot is filled, and who settles
leaves the slot empty. By then every such mark has expired.

**A hash slot on the move** has some of its keys on either node. What needs keys on both is refused, and counts as a
node that is away, for this database alone. A writer, whom no reader may miss, ends the period instead: it deletes the
token, on whichever node it is. Nobody can begin another one before the move is over, and that one begins with a lease
in which nothing is stored. So to end the period does what a mark would have done, and what settling would have done.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar, TypeVar, TypeVarTuple

import redis
from redis.crc import key_slot
from redis.exceptions import AskError, MovedError, TryAgainError

from ormcache.conf import Config
from ormcache.exceptions import StoreFull, StoreUnavailable
from ormcache.stores.base import PARTITION_LENGTH, Last, Store, StoreOutage
from ormcache.stores.info import ServerInfo
from ormcache.stores.redis import cluster_operations, operations
from ormcache.stores.redis.cluster_node import (
    ClusterNode,
    NodeUnavailable,
    Redirection,
    format_address,
    redirected_to,
)
from ormcache.stores.redis.cluster_nodes import ClusterNodes
from ormcache.stores.redis.cluster_operations import PartitionConnection, Period, PeriodEnded, write_probe
from ormcache.stores.redis.connection import RedisConnection
from ormcache.stores.redis.store import FULL
from ormcache.utils.bounded import Bounded

MAX_REDIRECTIONS = 5  # of one call
MAX_PERIODS_ENDED = 3  # during one call
MAX_PARTITIONS = 4096  # whose periods are remembered

Args = TypeVarTuple("Args")
T = TypeVar("T")


class RedisClusterStore(Store):
    """A store on a Redis Cluster. Threads share it: each call has a connection for itself."""

    kind: ClassVar[str] = "redis-cluster"
    reads_at_once = False  # slots of several partitions are read one after the other
    errors = (*Store.errors, redis.RedisError)

    def __init__(self, alias: str, timeout: float, lease: float, clock: Callable[[], float] = time.monotonic) -> None:
        """``timeout``: seconds. ``lease``: seconds that the marks of any process last at most."""
        super().__init__(clock)
        self._lease = lease
        self._nodes = ClusterNodes(alias, timeout, self._count_outage, clock)
        self._periods: Bounded[bytes, Period] = Bounded(MAX_PARTITIONS)

    @staticmethod
    def identity(config: Config) -> tuple[object, ...]:
        return (config.cache, config.store_timeout, config.lease)

    @classmethod
    def from_config(cls, config: Config) -> RedisClusterStore:
        return cls(config.cache, config.store_timeout, config.lease)

    @property
    def location(self) -> str:
        return ", ".join(map(format_address, self._nodes.seeds))

    @property
    def is_answering(self) -> bool:
        return super().is_answering and all(node.is_answering for node in self._nodes)

    @property
    def outages(self) -> list[StoreOutage]:
        found = [*super().outages, *(outage for node in self._nodes for outage in node.outages)]
        return sorted(found, key=lambda outage: outage.began)

    def retry_now(self) -> None:
        super().retry_now()
        self._nodes.retry_now()

    def close(self) -> None:
        for node in self._nodes:
            node.close()
        self._periods.clear()

    # Hooks --------------------------------------------------------------------------------

    def _look_up(self, entry: bytes | None, slots: Sequence[bytes]) -> tuple[bytes | None, list[bytes | None]]:
        if entry is None and not slots:
            return None, []
        first = (slots[0] if entry is None else entry)[:PARTITION_LENGTH]
        if all(slot[:PARTITION_LENGTH] == first for slot in slots):
            return self._run(first, cluster_operations.look_up, entry, slots)
        found: dict[bytes, bytes | None] = {}
        for partition, part in _by_partition(slots):
            found |= zip(part, self._run(partition, cluster_operations.look_up, None, part)[1], strict=True)
        value = None if entry is None else self._run(first, cluster_operations.look_up, entry, ())[0]
        return value, [found[slot] for slot in slots]

    def _fill_slots(self, slots: Sequence[bytes], stamp: bytes) -> list[bytes | None]:
        found: dict[bytes, bytes | None] = {}
        for partition, part in _by_partition(slots):
            values = self._run(partition, cluster_operations.fill_slots, part, stamp)
            if values is None:
                raise StoreFull(FULL, part)
            found |= zip(part, values, strict=True)
        return [found[slot] for slot in slots]

    def _put_entry(self, entry: bytes, value: bytes, timeout: float | None) -> bool:
        if not self._run(entry[:PARTITION_LENGTH], operations.put_entry, entry, value, timeout):
            raise StoreFull(FULL, (entry,))
        return True

    def _mark(self, slots: Sequence[bytes], writer: bytes, lease: float, watch: bytes | None) -> bytes | None:
        watched, emptied = self._write(slots, watch, lambda part: (cluster_operations.mark, part, writer, lease))
        if emptied:
            raise StoreFull(FULL, emptied, watched)
        return watched

    def _settle(
        self, slots: Sequence[bytes], writer: bytes, stamp: bytes, watch: bytes | None, last: Last | None
    ) -> bytes | None:
        others = frozenset() if last is None else frozenset(slots[-last[0] :])

        def call(part: list[bytes]) -> tuple[Any, ...]:
            count = len(others.intersection(part))  # they stay at the end
            return cluster_operations.settle, part, writer, stamp, (count, last[1]) if last and count else None

        watched, emptied = self._write(slots, watch, call)
        if emptied:
            self._record_refusal(emptied, FULL)
        return watched

    def _delete_entries(self, entries: Sequence[bytes]) -> None:
        for partition, part in _by_partition(entries):
            self._run(partition, operations.delete_entries, part)

    def _claim(self, name: bytes, owner: bytes, seconds: float) -> bytes:
        return self._run(name[:PARTITION_LENGTH], operations.claim, name, owner, seconds)

    def _release(self, name: bytes, word: bytes, seconds: float) -> None:
        self._run(name[:PARTITION_LENGTH], operations.release, name, word, seconds)

    def _clear_slots(self, slots: Sequence[bytes]) -> None:
        for partition, part in _by_partition(slots):
            self._run(partition, operations.clear_slots, part)

    def _describe(self) -> tuple[ServerInfo, ...]:
        described = []
        for node, partition in self._nodes.with_partitions():
            answer = self._call_node(node, partition, operations.describe_server)
            if isinstance(answer, Redirection):
                raise NodeUnavailable("a hash slot is being moved to another node") from answer
            described.append(answer)
        return tuple(described)

    # Calls --------------------------------------------------------------------------------

    def _run(self, partition: bytes, operation: Callable[..., T], *args: Any) -> T:
        """Call ``operation`` with a connection to the node of a partition.

        Raise NodeUnavailable if that node does not answer, or while the partition is moved from one node to another.
        """
        answer = self._try_run(partition, operation, *args)
        if isinstance(answer, Redirection):
            raise NodeUnavailable("the keys of the database are being moved to another node") from answer
        return answer

    def _try_run(self, partition: bytes, operation: Callable[..., T], *args: Any) -> T | AskError | TryAgainError:
        """Do the same, but return the node's answer that it cannot do that while the partition is moved."""
        hash_slot = key_slot(partition.hex().encode())
        for _ in range(MAX_REDIRECTIONS):
            node = self._nodes.owner(hash_slot)
            answer = self._call_node(node, partition, self._in_period, partition, operation, args)
            if not isinstance(answer, MovedError):
                return answer
            self._nodes.redirect(hash_slot, redirected_to(answer, node.address))
        raise NodeUnavailable(f"redirected {MAX_REDIRECTIONS} times in a row")

    def _call_node(
        self, node: ClusterNode, partition: bytes, operation: Callable[[RedisConnection, *Args], T], *args: *Args
    ) -> T | AskError | TryAgainError:
        try:
            return node.run(write_probe(partition), operation, *args)
        except StoreUnavailable as error:
            self._nodes.ask_again()  # a replica may have taken over
            raise NodeUnavailable(str(error)) from error

    def _in_period(
        self, connection: RedisConnection, partition: bytes, operation: Callable[..., T], args: Sequence[Any]
    ) -> T:
        """Call ``operation`` with a connection in the period of a partition, or in the next one if that has ended."""
        for _ in range(MAX_PERIODS_ENDED):
            period = self._periods.get(partition)
            if period is None or period.incarnation != connection.incarnation:
                period = cluster_operations.begin_period(connection, partition, self._lease)
                self._periods.put(partition, period)
            try:
                return operation(PartitionConnection(connection, period), *args)
            except PeriodEnded:
                self._periods.pop(partition, None)
                connection.verify_again()
        raise StoreUnavailable(f"the period of the database ended {MAX_PERIODS_ENDED} times during one call")

    def _write(
        self, slots: Sequence[bytes], watch: bytes | None, call: Callable[[list[bytes]], tuple[Any, ...]]
    ) -> tuple[bytes | None, list[bytes]]:
        """Change slots by what ``call`` returns for those of one partition.

        Return the value of the slot ``watch``, and slots of which some were emptied because there was no room.
        """
        emptied: list[bytes] = []
        parts = dict(_by_partition(slots))
        watched, watched_in = None, None if watch is None else watch[:PARTITION_LENGTH]
        if watch is not None and watched_in not in parts:
            watched = self._look_up(None, [watch])[1][0]
        for partition, part in parts.items():
            answer = self._try_run(partition, *call(part), watch if partition == watched_in else None)
            if isinstance(answer, Redirection):
                self._end_period(partition)
                continue
            if answer.denied:
                emptied += part
            if partition == watched_in:
                watched = answer.watched
        return watched, emptied

    def _end_period(self, partition: bytes) -> None:
        """Delete the token of a partition that is being moved: first where it is moved from, then where it is moved to.

        Keys are not moved the other way, so one of the two has it, or it is gone.
        """
        self._periods.pop(partition, None)
        hash_slot = key_slot(partition.hex().encode())
        command = (b"DEL", cluster_operations.token_key(partition))
        address = self._nodes.owner(hash_slot).address
        for _ in range(MAX_REDIRECTIONS):
            answer = self._nodes.exchange(address, command)[-1]
            if type(answer) is AskError:
                address = redirected_to(answer, address)
                answer = self._nodes.exchange(address, (b"ASKING",), command)[-1]
            if isinstance(answer, MovedError):
                address = redirected_to(answer, address)
            elif isinstance(answer, Exception):
                raise NodeUnavailable(f"{format_address(address)} refused to delete a key: {answer}") from answer
            else:
                return
        raise NodeUnavailable(f"redirected {MAX_REDIRECTIONS} times in a row")

    def _count_outage(self) -> None:
        with self._lock:
            self.outage_count += 1

    def _place_of(self, name: bytes) -> bytes:
        return name[:PARTITION_LENGTH]  # which is on one node

    def _fail(self, error: Exception, seen: int) -> Any:
        if isinstance(error, NodeUnavailable):
            raise error  # the node has a breaker of its own
        super()._fail(error, seen)

    def _after_fork(self, in_child: bool) -> None:
        super()._after_fork(in_child)
        if in_child:
            self._nodes.forget_lock()


def _by_partition(names: Sequence[bytes]) -> Iterable[tuple[bytes, list[bytes]]]:
    """Group names by their partition: nearly always one group."""
    parts: dict[bytes, list[bytes]] = {}
    for name in names:
        parts.setdefault(name[:PARTITION_LENGTH], []).append(name)
    return parts.items()
