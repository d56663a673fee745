"""What a connection reports about its reads and writes, and to whom.

The paths decide and act; whoever counts, publishes or draws conclusions for people listens. A connection is given its
observer when it is made.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol

from ormcache.cache.tracking import Rejection
from ormcache.database.database import Database
from ormcache.database.plans import Plan


class Observer(Protocol):
    """Receives the events of one connection.

    Every method is called in the thread that reads or writes, after the fact. Times are in seconds, sizes in bytes.
    ``sql`` and ``params`` are those of the query, as Django has compiled it.
    """

    def uncounted(self) -> AbstractContextManager[None]:
        """Leave the events of a block out of the statistics."""

    def connected(self, database: Database) -> None:
        """Note that the connection leads to this database."""

    def hit(
        self,
        plan: Plan,
        sql: str,
        params: Any,
        *,
        entry: bytes,
        shape: tuple[Any, ...],
        seconds: float,
        bytes_read: int,
        waited: bool,
        by_row: bool,
        served: bool,
    ) -> None:
        """Note that a result came from the cache.

        ``entry``: its name. ``shape``: how Django cuts the rows. ``seconds``: that the cache took. ``bytes_read``: from
        the store; 0 for a result from this process's memory. ``waited``: for another reader's query. ``by_row``: the
        result depends on single rows. ``served``: False if the query runs all the same, see :meth:`comparison`.
        """

    def comparison(
        self, plan: Plan, sql: str, *, query_seconds: float, observed: bool, verified: bool, violation: bool
    ) -> None:
        """Note that the query of a hit was run all the same, and returned what the database answered.

        ``query_seconds``: that the database took. ``observed``: because nothing is served. ``verified``: it is certain
        whether the stored result was right. ``violation``: it was not.
        """

    def miss(
        self,
        plan: Plan,
        sql: str,
        params: Any,
        *,
        cause: str,
        invalidated_by: str | None,
        seconds: float,
        query_seconds: float,
        rejected: str | None,
        bytes_written: int,
        waited: bool,
        by_row: bool,
    ) -> None:
        """Note that a result came from the database.

        ``cause``: one of :class:`ormcache.reasons.Miss`. ``invalidated_by``: the relation whose write has invalidated
        the stored result, ``"*"`` for everything; None if it was not a write or is not known. ``seconds``: that the
        cache took in vain. ``query_seconds``: that the database took. ``rejected``: why the result was not stored, None
        if it was. ``bytes_written``: to the store. ``by_row``: a stored result depended on single rows, and may not be
        served any more.
        """

    def bypass(self, reason: str, plan: Plan | None, sql: str | None, params: Any, *, query_seconds: float) -> None:
        """Note that a read went to the database without a lookup.

        ``plan``: None if the statement was not analysed. ``sql``: None for a query that Django knows to be empty and
        does not run. ``query_seconds``: until the database began to answer.
        """

    def wait(self, plan: Plan, sql: str) -> None:
        """Note that a read begins to wait for another reader's query."""

    def share(self, plan: Plan, sql: str, *, bytes_written: int, rejected: str | None) -> None:
        """Note that a result that only this process had was given to the store. ``rejected``: why it was not stored."""

    def current_time(self, plan: Plan, sql: str) -> None:
        """Note that a parameter of this statement is the current time, so that no two executions are alike."""

    def damaged_entry(self, plan: Plan, sql: str) -> None:
        """Note that the store had an entry that could not be read."""

    def derived_hit(self, kind: str, label: str, *, seconds: float, outdated: bool) -> None:
        """Note that a function, a fragment or a page was served from the cache.

        ``kind``, ``label``: see :class:`ormcache.pages.derivation.Use`. ``outdated``: one that is being computed anew.
        """

    def derived_miss(
        self,
        kind: str,
        label: str,
        *,
        seconds: float,
        cause: str | None,
        invalidated_by: str | None,
        rejection: Rejection | None,
    ) -> None:
        """Note that one was computed, in so many seconds.

        ``cause``: one of :class:`ormcache.reasons.Miss`; None: nothing was looked up. ``invalidated_by``: the relation
        whose write invalidated what was stored, if that is known. ``rejection``: why it was not stored; None: it was.
        """

    def invalidation(
        self,
        relations: frozenset[str],
        causes: Mapping[frozenset[str], str],
        *,
        seconds: float,
        marked: bool,
        published: bool,
    ) -> None:
        """Note that results that depend on these relations were invalidated.

        ``causes``: the first statement for each set of relations. ``seconds``: that marking and settling took.
        ``marked``: the slots were, before the write. ``published``: the store has it already; else it waits for the
        store to answer.
        """

    def excluded_write(self, relations: frozenset[str], sql: str) -> None:
        """Note a statement that has written relations which the settings keep out of the cache."""
