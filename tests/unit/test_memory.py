"""What a process remembers has a bound: everything that can grow is in the table below, with what bounds it."""

from __future__ import annotations

import ast
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ormcache import reasons
from ormcache.catalog import ANYWHERE, ResolutionContext
from ormcache.session import registry as registry_module
from ormcache.session import tracker as session_module
from ormcache.session import transaction as transaction_module
from ormcache.session.registry import DatabaseRegistry
from ormcache.session.tracker import Session
from ormcache.sql import analyse
from ormcache.utils.bounded import Bounded
from tests.unit.session.test_transaction import transaction

PACKAGE = Path(__file__).parents[2] / "ormcache"

#: What bounds it → the attributes and module variables that begin empty, as module, class and name; those of class
#: Bounded are found by their class
TABLE = {
    "a number, held by a test of this module": """
        session.registry.DatabaseRegistry._altered session.tracker.Session._defined session.tracker.Session._settings
        session.transaction.Transaction.parts
        session.transaction.Transaction.causes session.transaction.Transaction._created
        database.catalog_parts.CatalogParts._parts
    """,
    "a number, held by a test of its own module": """
        catalog.catalog.Catalog._resolvers contrib.opentelemetry.spans.Spans._masked
        telemetry.counters.Counters._events telemetry.counters.Counters._gone
        telemetry.counters.Counters._invalidated telemetry.counters.Counters._new_writes
        telemetry.counters.Counters._queries
        telemetry.counters.Counters._relation_writes telemetry.derived_stats.DerivedTable._counters
        telemetry.history.History._sums
        cache.local_cache.LocalCache._entries
        session.registry.DatabaseRegistry._databases session.registry.DatabaseRegistry._last stores.base.Store._outages
        stores.redis.near.NearStore._mirror stores.redis.near.NearStore._fetching
        purging.queue.PurgeQueue._tags purging.queue.PurgeQueue._repeats
        stores.request.RequestStore._last_writes catalog.sqlite_file.Descriptors._open
        write_path.connecting.WritesWhileConnecting._statements
    """,
    "one item, or none": """
        catalog.sqlite._memories session.state.ConnectionState.elsewhere stores.embedded.files.StoreFiles._descriptors
    """,
    "the database's own catalog, with which it goes": """
        catalog.functions.Functions._by_row catalog.functions.Functions._reads
        catalog.functions.Functions._codes catalog.functions.Functions._stored
        catalog.functions.Functions._volatility catalog.lookup.Index._by_name catalog.resolver.Reach.children
        catalog.resolver.Reach.codes catalog.resolver.Reach.others catalog.resolver.Reach.parents
        catalog.resolver.Reach.references catalog.resolver.Resolver._closures catalog.views.Views._conditions
        catalog.views.Views._statements catalog.views.Views._under database.row_slots.RowSlots._arrivals
        outside.write_watch.TableWatch._tables
        database.row_slots.RowSlots._rows
    """,
    "the transaction, request, block or operation that it belongs to": """
        cache.value_codec.ValueDecoder._zones cache.packer._Streams._floats cache.packer._Streams._integers
        cache.packer._Streams._letters cache.packer._Streams._others cache.packer._Streams._texts
        pages.arguments.ExactForm._met pages.arguments.ExactForm._numbers pages.values._Dump._groups
        pages.values._Dump._open pages.values._Dump._places pages.values._Load._instances
        cache.tracking.Tracker.sessions cache.tracking.Tracker._stamps pages.request_facts.RequestReads.names
        pages.request_facts.RequestReads.attributes pages.page_cache._Page._attributes
        telemetry.recorder.Recorder.events telemetry.recorder.Recorder.uses context.request_scope.RequestScope._memories
        pages.fragments.Variables.used pages.fragments.Variables._changeable pages.fragments.Variables._faults
        pages.fragments.Variables._forms pages.template_context._OuterVariables._own
        pages.variables.VariableForm._before
        context.request_scope.as_request._begun session.tracker.Session._local
        session.tracker.Session._savepoints read_path.shadow._collections sql.casts._ConversionFinder._starts
        sql.casts._ConversionFinder._targets
        stores.embedded.files.StoreFiles.users context.switch.disabled._tokens
        session.transaction.Transaction.dirty session.transaction.Transaction.excluded
        sql.rows.reads._Relations.tables sql.rows.reads._Relations.joins
    """,
    "what others keep alive, to which it refers weakly": """
        contrib.opentelemetry.instrumentor.OrmcacheInstrumentor._instruments
        contrib.prometheus.collector._registered cache.invalidation_queue._queues session.tracker._left
        stores.base._stores stores.embedded.store.EmbeddedStore._by_folder stores.unopened._unopened
        session.transaction.Transaction.open_cursors pages.computing._awaited purging.queue._queues
        pages.nodes._templates
    """,
    "the project's settings: databases, caches, names in lists": """
        telemetry.counters._by_alias telemetry.publisher.Publisher._histories
        telemetry.publisher.Publisher._announced background.worker.BackgroundWorker._databases
        telemetry.publisher.Publisher._published
        session.registry.DatabaseRegistry._testing outside.connections.OwnConnections._open
        outside.listening.ListenerTask._running
        database.table_filter.TableFilter._patterns database.table_filter.TableFilter._tables stores._stores
    """,
    "the servers that have left one address, for a while": "session.addresses.Address._left",
    "the servers of a store, or the databases on them": "stores.room.Room.refusals",
    "the nodes of a cluster": "stores.redis.cluster_nodes.ClusterNodes._nodes",
    "threads that ask a store at once": "stores.pool.IdleConnections._connections",
    "what a server tells of one session": "session.tracker.Session._custom_settings",
    "the relations that there are": """
        cache.invalidation_queue.InvalidationQueue._writes database.excluded_writes.ExcludedWrites._written
    """,
    "the tasks that engines name": """
        background.worker.BackgroundWorker._due background.worker.BackgroundWorker._failed
        background.worker.BackgroundWorker._tasks
    """,
    "the run of one command, or the making of one page": """
        telemetry.report.ReportBuilder._events telemetry.report.ReportBuilder._pending
        telemetry.report.ReportBuilder._derived telemetry.report.ReportBuilder._relations
        telemetry.report.ReportBuilder._queries
        diagnostics.explain.inspection.PlanInspection._reading
        diagnostics.explain.inspection.PlanInspection._writing diagnostics.health.examination._Examination._findings
        diagnostics.health.examination._Examination._found diagnostics.format.sql.StatementMasker._masked
        management.watch.Window._looks diagnostics.explain.rows.RowNames._named
    """,
    "the placeholders of one text": """
        database.row_writes.RowWriter._always
    """,
    "nothing is ever added": "sql.names._NONE database.row_plans._NO_SLOTS",
}

EMPTY_WITHOUT_ARGUMENTS = {"dict", "set", "list", "frozenset", "defaultdict", "OrderedDict", "deque"}
GROWING = EMPTY_WITHOUT_ARGUMENTS | {"WeakSet", "WeakKeyDictionary", "WeakValueDictionary"}


def called(value: ast.expr | None) -> str:
    """The name of the class or function that is called; "" if none is."""
    if not isinstance(value, ast.Call):
        return ""
    return value.func.attr if isinstance(value.func, ast.Attribute) else getattr(value.func, "id", "")


def begins_empty(value: ast.expr) -> bool:
    if isinstance(value, (ast.List, ast.Set)):
        return not value.elts
    if isinstance(value, ast.Dict):
        return not value.keys
    name = called(value)
    return name in GROWING and (name == "deque" or not value.args)  # type: ignore[attr-defined]  # a call


def modules() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        yield ".".join(part for part in parts if part != "__init__"), ast.parse(path.read_text())


def assignments(tree: ast.AST, within: str = "", function: bool = False) -> Iterator[tuple[str, ast.expr]]:
    """What a module and the objects of its classes begin with: the names, and the values."""
    for node in ast.iter_child_nodes(tree):
        inner = f"{within}.{node.name}" if isinstance(node, ast.ClassDef) else within
        is_function = function or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None:
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                default = bool(within) and not function and called(node.value) == "frozenset"
                if isinstance(target, ast.Attribute) or (isinstance(target, ast.Name) and not function and not default):
                    yield f"{within}.{target.attr if isinstance(target, ast.Attribute) else target.id}", node.value
        yield from assignments(node, inner, is_function)


def test_whatever_can_grow_is_known_with_its_bound() -> None:
    found = {
        f"{module}{name}" for module, tree in modules() for name, value in assignments(tree) if begins_empty(value)
    }
    known = [name for names in TABLE.values() for name in names.split()]

    assert found - set(known) == set(), "say in TABLE what bounds these"
    assert set(known) - found == set(), "these are no more"
    assert len(known) == len(set(known))


def test_whatever_is_bounded_is_filled_by_nothing_but_put() -> None:
    for module, tree in modules():
        names = {name.rpartition(".")[2] for name, value in assignments(tree) if called(value) == "Bounded"}
        for node in ast.walk(tree):
            if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store):
                assert getattr(node.value, "attr", getattr(node.value, "id", "")) not in names, (module, node.lineno)


def test_every_function_that_remembers_its_answers_has_a_bound() -> None:
    found = 0
    for module, tree in modules():
        for node in ast.walk(tree):
            if not isinstance(node, ast.FunctionDef):
                continue
            for decorator in map(ast.unparse, node.decorator_list):
                takes = bool(node.args.args or node.args.kwonlyargs or node.args.vararg or node.args.kwarg)
                if decorator in ("cache", "functools.cache", "lru_cache", "cached_property"):
                    assert not takes, f"{module}.{node.name} remembers an answer for each of its arguments"
                elif decorator.startswith(("lru_cache(", "functools.lru_cache(")):
                    assert "maxsize=" in decorator.replace("maxsize=None", ""), f"{module}.{node.name}"
                    found += 1
    assert found >= 8


# The bounds themselves ----------------------------------------------------------------


def test_the_oldest_make_room() -> None:
    memo: Bounded[int, str] = Bounded(8)
    for number in range(100):
        memo.put(number, str(number))
        assert len(memo) <= 8
        assert memo[number] == str(number)

    assert list(memo) == sorted(memo)
    assert min(memo) >= 100 - 8
    memo.put(99, "again")
    assert memo[99] == "again"


def test_long_keys_make_room_for_long_keys() -> None:
    memo: Bounded[str, int] = Bounded(1000, 100, len)
    for number in range(50):
        memo.put(f"{number:030}", number)
        assert sum(map(len, memo)) <= 100
        assert f"{number:030}" in memo

    memo.put("x" * 101, 1)
    assert "x" * 101 not in memo
    for number in range(500):
        memo.put(f"{number % 3}", number)  # what is there already weighs nothing more
    assert len(memo) == 3 + sum(len(key) == 30 for key in memo)


def test_threads_share_a_memo_without_a_lock() -> None:
    memo: Bounded[int, int] = Bounded(16, 64, lambda key: 4)
    failures: list[BaseException] = []

    def fill(begin: int) -> None:
        try:
            for number in range(begin, begin + 5000):
                memo.put(number, number)
                memo.get(number)
        except BaseException as error:
            failures.append(error)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=fill, args=(10_000 * number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)

    assert failures == []
    assert len(memo) <= 16 + len(threads)


def test_a_session_with_too_many_settings_shares_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "MOST_NAMES", 10)
    session = Session()
    session.describe((), "read committed")
    for number in range(30):
        assert session.bypass_reason is None or number >= 10
        change: Any = analyse(f"SET app.x{number} = '1'", "postgresql").session
        session.record_change(change, None, in_transaction=False)

    assert session.bypass_reason is not None
    assert len(session._settings) <= 10
    assert len(session._defined) <= 10
    change = analyse("DISCARD ALL", "postgresql").session
    session.record_change(change, None, in_transaction=False)
    assert (
        session.bypass_reason is not None
    )  # of the settings that were forgotten it is not known any more what they are


def test_a_session_with_too_many_temporary_tables_hides_what_it_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "MOST_NAMES", 10)
    session = Session()
    for number in range(10):
        session.record_temporary_table(f"t{number}")
    assert (session.is_opaque, session.bypass_reason) == (False, reasons.TEMPORARY)
    for number in range(30):
        session.record_temporary_table(f"u{number}")
    assert session.is_opaque
    assert session.bypass_reason is not None
    assert len(session.temporary) <= 10


def test_a_transaction_keeps_no_row_of_catalogs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A migration that runs in one has a catalog of its own after each of its operations."""
    monkeypatch.setattr(transaction_module, "MOST_CONTEXTS", 10)
    monkeypatch.setattr(transaction_module, "MOST_CAUSES", 10)
    found: Any = transaction(None)
    found.record_write(frozenset({"a"}))
    for number in range(30):
        found.record_plan(object(), ResolutionContext((f"s{number}",)))
        found.record_cause(frozenset({str(number)}), f"UPDATE {number}")

    assert len(found.parts) == transaction_module.MOST_PARTS + 1
    assert len(found.contexts) <= 11
    assert ANYWHERE in found.contexts
    assert list(found.causes.values()) == [f"UPDATE {number}" for number in range(10)]


def test_too_many_pools_whose_connections_were_altered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry_module, "MOST_ALTERED", 10)
    registry, session, database = (
        DatabaseRegistry(),
        Session(),
        SimpleNamespace(catalog_cache=SimpleNamespace(session_beginning=None)),
    )
    for number in range(10):
        registry.forget_altered(number)
    registry.remember("other", database, session, None)  # type: ignore[arg-type]
    registry.remember(3, database, session, None)  # type: ignore[arg-type]
    assert registry.recall("other") is not None
    assert registry.recall(3) is None
    registry.forget_altered(10)
    # Which ones they are is forgotten: any could be.
    for key in ("other", "another", 3, 10):
        registry.remember(key, database, session, None)  # type: ignore[arg-type]
        assert registry.recall(key) is None
    assert not registry._altered


def test_the_databases_that_a_process_has_met(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry_module, "MOST_DATABASES", 4)
    monkeypatch.setattr(registry_module, "Database", lambda *args: object())
    monkeypatch.setattr(registry_module, "open_store", lambda *args: object())
    registry: Any = DatabaseRegistry()
    for number in range(20):
        server = type("Server", (), {"identity": str(number), "replica": False})()
        database = registry.database("sqlite", server, None, "embedded", "")
        registry.remember(number, database, Session(), None)
    assert (len(registry.databases()), len(registry._last)) == (4, 4)
