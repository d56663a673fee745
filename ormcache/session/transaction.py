"""Tracks the open transaction of one connection, as far as it can be known from outside the server."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ormcache.catalog import ANYWHERE, SCHEMA, Path, ResolutionContext
from ormcache.database.catalog_parts import CatalogPart
from ormcache.database.seen_stamps import tick
from ormcache.session.state import ConnectionState
from ormcache.utils import drivers

if TYPE_CHECKING:
    from ormcache.connection.protocol import CachedConnection

MOST_PARTS = 4  # of the catalog that one transaction remembers; after more, it is not known which ones there were
MOST_CREATED = 1024  # tables made in one transaction that are remembered
MOST_CONTEXTS = 64  # that one transaction remembers; of more, any context is assumed
#: Relation → the row slots that writes to it mark; any rows of the relations that are not in it
WrittenRows = Mapping[str, frozenset[bytes]]
ANY_ROWS: WrittenRows = MappingProxyType({})
MOST_ROW_SLOTS = 256  # of one relation that one transaction remembers; after more, any of its rows are written
MOST_CAUSES = 64  # statements of one transaction that are remembered for reports


class Transaction:
    """What the open transaction of a connection has written, and which state of the database it sees.

    Exists for as long as its connection: while no transaction is open, it describes none. The thread that owns the
    connection owns this.
    """

    def __init__(self, connection: CachedConnection, state: ConnectionState) -> None:
        self._connection: CachedConnection = weakref.proxy(connection)
        self._state = state
        #: relations that it has written
        self.dirty: frozenset[str] = frozenset()
        #: to which of their rows
        self.rows: WrittenRows = ANY_ROWS
        #: relations that it has written and that the settings exclude from the cache
        self.excluded: frozenset[str] = frozenset()
        #: the resolution contexts in which the writes that are not settled yet were planned
        self.contexts: frozenset[ResolutionContext] = frozenset({ANYWHERE})
        #: the parts of the catalog by which they were planned; None stands for planning without one, and for others
        self.parts: frozenset[CatalogPart | None] = frozenset()
        #: whether it has changed the schema
        self.has_changed_schema = False
        #: SQLite: whether it may have written anything at all, also to tables that are on the blacklist
        self.may_have_written = False
        # (search path, user, name in the statement) → the pseudo relations of the schemas where the table can be
        self._created: dict[tuple[Path, str, str], frozenset[str]] = {}
        #: relations written → the SQL of the first statement that wrote them, for reports
        self.causes: dict[frozenset[str], str] = {}
        self._last_plan: tuple[CatalogPart | None, ResolutionContext] | None = None
        #: whether a statement has run since it began, or tried to. (SQLite: then it may have its snapshot.)
        self.has_run = False
        #: SQLite: a moment before its snapshot was taken, as :func:`ormcache.database.seen_stamps.tick` counts
        self.before_snapshot = 0
        #: SQLite: whether the snapshot has been taken for certain
        self.has_snapshot = False
        #: whether it was begun by a statement that Django has not sent: BEGIN, a savepoint, code that cannot be read
        self.is_begun = False
        #: MySQL: whether a statement that commits may have ended what ``is_begun`` stands for
        self.may_have_ended = False
        #: whether it was begun by something that cannot be read
        self._is_assumed = False
        #: MySQL: whether autocommit is off, by SET autocommit = 0: one transaction follows the other
        self.is_autocommit_off = False
        self._is_autocommit_unknown = False
        #: SQLite: cursors with a SELECT that may be unfinished, each of which keeps the snapshot it began with
        self.open_cursors: weakref.WeakSet[Any] = weakref.WeakSet()

    # Its state ----------------------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        """Whether a transaction is open."""
        return self.is_open_on(self._connection)

    def is_open_on(self, connection: CachedConnection) -> bool:
        """Return the same as :attr:`is_open`, for callers that have the connection itself at hand.

        Through a weak reference each attribute costs five times as much.
        """
        return connection.in_atomic_block or not connection.autocommit or self.is_begun

    def may_commit_at_once(self, sql: str = "") -> bool:
        """Return whether what this statement writes could be committed at once although a transaction counts as open.

        SQLite's driver knows. SQLite ends a transaction by ON CONFLICT ROLLBACK and by scripts, and where the driver is
        to begin one, it does so before some kinds of statements only:
        https://docs.python.org/3/library/sqlite3.html#sqlite3-transaction-control-isolation-level
        """
        if self._state.vendor != "sqlite":
            return self.may_have_ended
        driver_connection = self._connection.connection
        if drivers.has_open_transaction(driver_connection):
            return False
        driver_begins = getattr(driver_connection, "isolation_level", None) is not None
        return not (driver_begins and sql.lstrip()[:7].lower().startswith(_DRIVER_BEGINS_BEFORE))

    @property
    def in_old_snapshot(self) -> bool:
        """Whether what it sees may be older than what others have committed."""
        return self.is_open and (self._state.vendor == "sqlite" or self.keeps_snapshot)

    @property
    def keeps_snapshot(self) -> bool:
        """PostgreSQL and MySQL: whether all its statements see the state that it began with."""
        session = self._state.session
        # In autocommit BEGIN is the program's; else psycopg sends its own, with its own level if it has one.
        level = getattr(self._connection.connection, "isolation_level", None)
        if level is None or self._state.vendor != "postgresql" or self._connection.autocommit:
            return session.keeps_snapshots()
        # psycopg 3 has an enum; psycopg 2 has numbers, 1 and 4 for READ COMMITTED and READ UNCOMMITTED
        per_statement = level.name.endswith("COMMITTED") if hasattr(level, "name") else level in (1, 4)
        return session.wants_snapshot or not per_statement

    @property
    def is_broken(self) -> bool:
        """PostgreSQL: whether a statement has failed in it, so that nothing but its end is possible."""
        return drivers.is_in_failed_transaction(self._connection.connection)

    @property
    def has_open_cursors(self) -> bool:
        """SQLite: whether a SELECT may be unfinished."""
        return bool(self.open_cursors)

    @property
    def has_written(self) -> bool:
        """Whether it has written anything, or may have."""
        return bool(self.dirty or self.excluded)

    # Statements ---------------------------------------------------------------------------

    def record_statement(self) -> None:
        """Record that a statement is about to run."""
        if not self.has_run:
            # A cursor of before the transaction holds a snapshot of before any moment that is known.
            self.has_run, self.before_snapshot = True, 0 if self.open_cursors else tick()

    def record_plan(self, part: CatalogPart | None, context: ResolutionContext) -> None:
        """Record that a statement was planned by this part of the catalog and in this resolution context."""
        if (part, context) == self._last_plan:
            return
        self._last_plan = (part, context)
        if part not in self.parts or context not in self.contexts:
            if not self.dirty and not self.excluded:
                self.parts, self.contexts = frozenset({part}), frozenset({context})
                return
            # A migration must not keep all of its catalogs alive.
            self.parts |= {part if len(self.parts) < MOST_PARTS else None}
            self.contexts |= {context}
            if len(self.contexts) > MOST_CONTEXTS:
                self.contexts = frozenset({ANYWHERE})  # which stands for all of them

    def record_write(self, relations: frozenset[str], rows: WrittenRows = ANY_ROWS) -> None:
        """Record that these relations were written, or may have been. ``rows``: to which of their rows."""
        if self.rows or rows:
            self._record_rows(relations, rows)
        self.dirty |= relations
        if SCHEMA in relations:
            self.has_changed_schema = True

    def record_excluded(self, relations: frozenset[str]) -> None:
        """Record that relations were written, or may have been, that the settings exclude from the cache."""
        self.excluded |= relations

    def forget_excluded(self) -> None:
        """Forget them: they were written in autocommit."""
        self.excluded = frozenset()

    def _record_rows(self, relations: frozenset[str], rows: WrittenRows) -> None:
        # Replaced, never changed: who marks it compares it with what it is afterwards.
        known = dict(self.rows)
        for relation in relations:
            slots = rows.get(relation)
            before = known.pop(relation, None) if relation in self.dirty else frozenset()
            if slots is not None and before is not None and len(before) + len(slots) <= MOST_ROW_SLOTS:
                known[relation] = before | slots
        self.rows = known

    def record_possible_write(self) -> None:
        """SQLite: record that a statement may have written something, if a transaction is open."""
        self.may_have_written = self.is_open

    def take_back(self, recorded: frozenset[str], before: frozenset[str], *, had_changed_schema: bool) -> bool:
        """Record that a statement has written nothing after all. Return False where others have written meanwhile.

        ``recorded``: what ``dirty`` was after its write was recorded. ``before`` and ``had_changed_schema``: what it
        and ``has_changed_schema`` were before.
        """
        if self.dirty is not recorded:
            return False
        self.dirty, self.has_changed_schema = before, had_changed_schema
        return True

    def record_table(self, name: str, schemas: frozenset[str]) -> None:
        """Record that it has made a table, by its name in the statement, in one of these (pseudo relations)."""
        if self._last_plan is not None and len(self._created) < MOST_CREATED:
            context = self._last_plan[1]
            if context.user is not None:
                self._created[context.path, context.user, name] = schemas

    def forget_tables(self, names: frozenset[str] | None = None) -> None:
        """Record that tables of these names may be gone, or others than it has made; None: of any name."""
        if self._created:
            remaining = {} if names is None else {key: of for key, of in self._created.items() if key[2] not in names}
            self._created = remaining

    def schemas_of_tables(self, names: frozenset[str]) -> frozenset[str] | None:
        """Return where the tables are that it has made by all these names in the last statement's resolution context.

        As pseudo relations; None if one of them is not such a table.
        """
        if not self._created or self._last_plan is None:
            return None
        context = self._last_plan[1]
        if context.user is None:
            return None  # it may not be who has made them
        found = [self._created.get((context.path, context.user, name)) for name in names]
        return None if None in found else frozenset().union(*(of for of in found if of is not None))

    def clear_writes(self) -> None:
        """Forget what was written, because it is settled."""
        self.dirty, self.rows = frozenset(), ANY_ROWS

    def record_cause(self, relations: frozenset[str], sql: str) -> None:
        """Remember, for reports, the first statement that writes exactly these relations."""
        if len(self.causes) < MOST_CAUSES:
            self.causes.setdefault(relations, sql)

    def take_causes(self) -> dict[frozenset[str], str]:
        """Return the causes of what was written, and forget them."""
        causes, self.causes = self.causes, {}
        return causes

    def record_failure(self) -> None:
        """Record that a statement has failed: the database may have ended the transaction for it.

        SQLite does so for ON CONFLICT ROLLBACK and RAISE(ROLLBACK), and a savepoint begins the next one; MySQL does so
        in a deadlock, and commits each of the statements that follow.
        """
        self.has_snapshot = False
        if self._state.vendor == "mysql":
            self.record_possible_end()

    def take_snapshot(self) -> bool:
        """SQLite: have the snapshot taken that the first SELECT would take. Return False if that is not possible.

        A result from the cache takes none, and the transaction would go on to see what was committed meanwhile.
        """
        driver_connection, database = self._connection.connection, self._state.database
        if not getattr(driver_connection, "in_transaction", False) or database is None or not database.server.snapshots:
            return False
        self.record_statement()
        try:
            driver_connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchall()
        except self._connection.Database.Error:
            return False  # it is locked, which the query itself will report
        self.has_snapshot = True
        return True

    # Beginnings and ends ------------------------------------------------------------------

    def begin(self, *, with_snapshot: bool) -> None:
        """Record that a statement of the program's own, such as BEGIN, has begun it.

        ``with_snapshot``: the statement has taken the snapshot as well, or tried to.
        """
        self.is_begun = True
        self.may_have_ended, self._is_assumed = self._is_autocommit_unknown, False
        self.has_run = self.has_snapshot = False
        if with_snapshot:
            self.record_statement()

    def continue_open(self) -> None:
        """Record that one is open now, and leave the rest as it is.

        A savepoint has begun it (SQLite), or COMMIT AND CHAIN or ROLLBACK AND CHAIN the next one.
        """
        self.is_begun = True

    def assume_open(self) -> None:
        """Record that one may be open that was begun by something that cannot be read, or was not followed."""
        self.is_begun = self.may_have_ended = self._is_assumed = True

    def record_possible_end(self) -> None:
        """Record that a statement may have ended what another one had begun."""
        self.may_have_ended = self.may_have_ended or self.is_begun

    def set_autocommit(self, is_on: bool | None) -> None:
        """MySQL: follow ``SET autocommit``. ``is_on``: whether each statement commits from here on; None: unknown."""
        if is_on and self.is_begun:
            self.end(committed=True)
        self.is_autocommit_off = self.is_begun = not is_on
        self.may_have_ended = self._is_autocommit_unknown = is_on is None

    def end(self, *, committed: bool) -> None:
        """Record that it has ended."""
        if not committed:
            self._record_undone()
        self._clear()
        self.is_begun = self.is_autocommit_off
        undone = not committed and self._state.vendor == "postgresql"
        self._state.session.end_transaction(undone=undone)

    def discard(self) -> None:
        """Record that the connection is closed, or about to be: nothing of it was committed, and none is open."""
        self.is_autocommit_off = self._is_autocommit_unknown = False
        self._record_undone()
        self._clear()
        self.is_begun = False
        self.open_cursors.clear()

    def lose(self) -> None:
        """Record that the driver has reconnected: what was open is undone, and the new session may be in autocommit."""
        self.discard()
        self.may_have_ended = self.is_open

    def _record_undone(self) -> None:
        """Record that what it has written was rolled back, or may have been."""
        if self.dirty and self._state.database is not None:
            self._state.database.record_undone(self.dirty)

    def _clear(self) -> None:
        if SCHEMA in self.dirty and self._state.database is not None:
            # The catalog may have been read inside the transaction, whose changes are undone, or before them.
            self._state.database.catalog_cache.record_schema_change(self.dirty)
        self.dirty, self.rows, self.excluded = frozenset(), ANY_ROWS, frozenset()
        self.has_changed_schema = self.may_have_written = False
        self._created = {}
        self.causes = {}
        self.contexts, self.parts, self._last_plan = frozenset({ANYWHERE}), frozenset(), None
        self.has_run = self.has_snapshot = False
        self.may_have_ended, self._is_assumed = self._is_autocommit_unknown, False

    def update_from_driver(self, written: frozenset[str]) -> None:
        """Follow something that cannot be read, by what the driver knows of the transaction.

        It has run and was settled. It may have begun a transaction, or ended this one, or, on MySQL, have switched
        autocommit. ``written``: what it may have written.
        """
        self._update_autocommit(written)
        is_open = drivers.has_open_transaction(self._connection.connection)
        if is_open and not self.is_open:
            # What it has written is still to come. Any further such thing is settled for itself: it may commit.
            self.assume_open()
            self.record_write(written)
        elif self._is_assumed and not is_open:
            self.end(committed=True)

    def _update_autocommit(self, written: frozenset[str]) -> None:
        if self._state.vendor != "mysql":
            return
        commits_by_itself = drivers.commits_by_itself(self._connection.connection)
        if commits_by_itself and not self._connection.autocommit:
            self.may_have_ended = True
        elif commits_by_itself and self.is_autocommit_off:
            self.set_autocommit(True)
        elif commits_by_itself is False and self._connection.autocommit and not self.is_autocommit_off:
            self.set_autocommit(
                None
            )  # a proxy may not know: what is written from here is settled at once and at COMMIT
            self.record_write(written)


#: First words of the statements before which sqlite3 begins a transaction
_DRIVER_BEGINS_BEFORE = ("insert", "update", "delete", "replace")
