"""Code between Django's cursors and the driver: a tenant that a wrapper or an engine sets, a text that it changes."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from unittest import mock

import pytest
from django.conf import settings
from django.db import connection, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper
from django.db.models.sql.compiler import SQLCompiler

import ormcache
from ormcache import reasons
from ormcache.checks import check_settings
from tests.integration.reading import ENGINE, execute, only_postgresql, stats
from tests.settings import VENDOR
from tests.shop.models import Author

HERE = "tests.integration.session.test_interception"


@pytest.fixture(autouse=True)
def _authors() -> None:
    Author.objects.create(name="A")
    Author.objects.create(name="B")


def names(using: str = "default") -> list[str]:
    return list(Author.objects.using(using).order_by("pk").values_list("name", flat=True))


def hits(read: Callable[[], Any] = names) -> int:
    """How many of two equal reads are hits."""
    before = stats()["hits"]
    assert read() == read()
    return int(stats()["hits"] - before)


class Counted:
    """How many reads were bypassed because of unknown code since this was made."""

    def __init__(self, using: str = "default") -> None:
        self._using = using
        self._before = self._all()

    def _all(self) -> int:
        return int(stats(self._using)["bypassed"].get(reasons.INTERCEPTED, 0))

    def __call__(self) -> int:
        return self._all() - self._before


def through(execute: Any, *args: Any) -> Any:
    """A wrapper that does nothing, which nobody knows."""
    return execute(*args)


# Execute wrappers --------------------------------------------------------------------


def only(name: str) -> Callable[..., Any]:
    """A wrapper that shows one author alone."""

    def wrapper(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        return execute(sql.replace(" ORDER BY ", f" WHERE name = '{name}' ORDER BY "), params, many, context)

    return wrapper


def test_a_wrapper_that_changes_the_text():
    bypassed = Counted()
    for _ in range(2):
        for name in "AB":
            with connection.execute_wrapper(only(name)):
                assert names() == names() == [name]
        assert names() == ["A", "B"]
    assert bypassed() == 8
    assert hits() == 2


@pytest.fixture
def rows_of_a_tenant(ddl) -> None:
    execute("DROP ROLE IF EXISTS reader", using="plain")
    execute("CREATE ROLE reader", using="plain")
    execute("GRANT SELECT ON shop_author TO reader", using="plain")
    ddl(
        "CREATE POLICY own ON shop_author USING (name = current_setting('app.tenant', true))",
        "ALTER TABLE shop_author DISABLE ROW LEVEL SECURITY; DROP POLICY own ON shop_author;"
        "REVOKE ALL ON shop_author FROM reader; DROP ROLE reader",
    )
    ddl("ALTER TABLE shop_author ENABLE ROW LEVEL SECURITY", "")


def as_tenant(name: str) -> Callable[..., Any]:
    def wrapper(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        execute("SELECT set_config('app.tenant', %s, false)", (name,), False, context)
        return execute(sql, params, many, context)

    return wrapper


@only_postgresql
def test_a_tenant_set_by_an_execute_wrapper(rows_of_a_tenant):
    execute("SET ROLE reader")
    for name in "AAABBA":
        with connection.execute_wrapper(as_tenant(name)):
            assert names() == [name]
    assert hits() == 1  # as the session in which the last one has left it: a miss, then a hit
    assert names() == ["A"]


@only_postgresql
def test_what_a_wrapper_leaves_behind(rows_of_a_tenant):
    """It was followed, so what is read without the wrapper is stored for the session that it is read in."""
    execute("SET ROLE reader")
    for name in "ABAB":
        with connection.execute_wrapper(as_tenant(name)):
            names()
        assert names() == [name]
    assert hits() == 2


@only_postgresql
def test_what_is_set_while_the_query_runs(rows_of_a_tenant, configure):
    """By a wrapper that is declared, a signal's handler or another thread: the rows are not those of the look-up."""
    configure(TRANSPARENT=[HERE])
    execute("SET ROLE reader")
    for name in "AB":
        execute("SELECT set_config('app.tenant', 'nobody', false)")
        with connection.execute_wrapper(as_tenant(name)):
            assert list(Author.objects.order_by("name").values_list("name", flat=True)) == [name]
    execute("SELECT set_config('app.tenant', 'nobody', false)")
    assert list(Author.objects.order_by("name").values_list("name", flat=True)) == []


def test_writes_under_an_unknown_wrapper_are_seen(queries):
    assert hits() >= 1
    with connection.execute_wrapper(through):
        Author.objects.filter(name="A").update(name="C")
    assert names() == names("plain") == ["C", "B"]


def test_nothing_is_stored_under_an_unknown_wrapper(queries):
    with connection.execute_wrapper(through):
        names()
    with queries(1):
        names()


def test_a_wrapper_on_a_connection_that_is_not_open(queries):
    assert hits() >= 1
    connection.close()
    with connection.execute_wrapper(only("A")):
        assert names() == ["A"]


@pytest.mark.parametrize("of", [HERE, f"{HERE}.through", "tests.integration"])
def test_what_is_named_keeps_its_hits(configure, of):
    configure(TRANSPARENT=[of])
    bypassed = Counted()
    names()
    for wrapper in (through, functools.partial(through)):
        with connection.execute_wrapper(wrapper):
            assert hits() == 2
    assert bypassed() == 0


def test_what_another_name_names_does_not(configure):
    configure(TRANSPARENT=[f"{HERE}.throughout", "tests.integration.test"])
    with connection.execute_wrapper(through):
        assert hits() == 0


def test_explain_names_the_code():
    with connection.execute_wrapper(through):
        bypass_reason = ormcache.explain(Author.objects.all()).bypass_reason
    assert bypass_reason is not None
    assert bypass_reason.name == reasons.INTERCEPTED
    assert bypass_reason.text.endswith(f"It is {HERE}.through")
    assert ormcache.explain(Author.objects.all()).bypass_reason is None


# Connections ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["cursor", "_cursor", "create_cursor", "make_cursor", "ensure_connection"])
def test_a_method_put_over_the_connections(name):
    assert hits() >= 1
    original = getattr(connection, name)

    def over(*args: Any, **kwargs: Any) -> Any:
        return original(*args, **kwargs)

    bypassed = Counted()
    setattr(connection, name, over)
    try:
        assert hits() == 0
    finally:
        delattr(connection, name)
    assert bypassed() == 2
    assert hits() >= 1


@pytest.mark.parametrize(
    "cls, name",
    [
        (CursorWrapper, "execute"),
        (CursorWrapper, "_execute_with_wrappers"),
        (BaseDatabaseWrapper, "_cursor"),
        (BaseDatabaseWrapper, "chunked_cursor"),
        (SQLCompiler, "execute_sql"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_a_replaced_method_of_djangos(monkeypatch, cls, name):
    assert hits() >= 1
    original = getattr(cls, name)

    @functools.wraps(original)
    def replaced(self: Any, *args: Any, **kwargs: Any) -> Any:
        return original(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(cls, name, replaced)
        connection.close()
        assert hits() == 0
    connection.close()
    assert hits() >= 1


def test_a_replaced_class_of_djangos(monkeypatch):
    assert hits() >= 1

    class Own(CursorWrapper):
        pass

    with monkeypatch.context() as patch:
        patch.setattr("django.db.backends.utils.CursorWrapper", Own)
        connection.close()
        assert hits() == 0


@pytest.mark.parametrize(
    "cls, name",
    [(CursorWrapper, "execute"), (CursorWrapper, "__enter__"), (BaseDatabaseWrapper, "_cursor"), (None, "_cursor")],
)
def test_a_method_that_is_replaced_while_the_connection_is_open(monkeypatch, cls, name):
    """The next query that runs finds it: its result is not stored, and there are no hits from then on.

    None: it is added to the engine's own class, which had inherited it.
    """
    cls = cls or connections["default"].__class__
    assert hits() >= 1
    original = getattr(cls, name)

    def replaced(self: Any, *args: Any) -> Any:
        return original(self, *args)

    monkeypatch.setattr(cls, name, replaced)
    bypassed = Counted()
    rejected = stats()["rejected"].get(reasons.INTERCEPTED, 0)
    assert hits(Author.objects.count) == 0
    assert stats()["rejected"][reasons.INTERCEPTED] == rejected + 1
    assert bypassed() == 1
    assert hits() == 0


@pytest.mark.parametrize(
    "name",
    ["connect", "get_connection_params", "init_connection_state", "pool", "set_autocommit", "_configure_connection"],
)
def test_engines_whose_next_session_is_another(name):
    """They take part in the making of a connection; those that are open are served."""
    from ormcache.session.interception import begins_alike

    own: Any = connections["default"]
    assert begins_alike(own, ())
    before = type(own)
    body = property(through) if name == "pool" else through
    own.__class__ = type("Own", (before,), {name: body, "__module__": HERE})
    try:
        assert not begins_alike(own, ())
        assert begins_alike(own, (HERE,))
    finally:
        own.__class__ = before


class Cursor:
    """Mixed into a driver's cursor class: what it does is nobody's business here."""


@pytest.mark.skipif(ENGINE != "postgresql", reason="psycopg is told by OPTIONS")
def test_a_factory_of_the_driver(monkeypatch):
    from django.db.backends.postgresql.base import Cursor as DjangosCursor

    own = type("Own", (Cursor, DjangosCursor), {"__module__": HERE})
    assert hits() >= 1
    bypassed = Counted()
    monkeypatch.setitem(connection.settings_dict, "OPTIONS", {"cursor_factory": own})
    connection.close()
    assert hits() == 0
    assert bypassed() > 0
    monkeypatch.undo()
    connection.close()
    assert hits() >= 1


def shout(cursor: Any) -> Callable[[Any], Any]:
    """A row factory of psycopg's."""
    return lambda row: tuple(value.upper() * 2 if isinstance(value, str) else value for value in row)


@only_postgresql
@pytest.mark.parametrize("name", ["cursor_factory", "row_factory", "server_cursor_factory"])
def test_a_factory_that_is_put_on_an_open_connection(name):
    assert hits() >= 1
    own = type("Own", (Cursor, connection.connection.cursor_factory), {"__module__": HERE})
    setattr(connection.connection, name, shout if name == "row_factory" else own)
    bypassed = Counted()
    assert hits() == 0
    assert bypassed() == 2
    if name == "row_factory":
        assert names() == ["AA", "BB"]
    connection.close()
    assert names() == ["A", "B"]


@pytest.mark.skipif(ENGINE != "mysql", reason="drivers of MySQL's have it")
def test_a_class_of_cursors_that_is_put_on_an_open_connection():
    assert hits() >= 1
    connection.connection.cursorclass = type("Own", (Cursor, connection.connection.cursorclass), {"__module__": HERE})
    bypassed = Counted()
    assert hits() == 0
    assert bypassed() == 2


# Engines ---------------------------------------------------------------------------------


@contextmanager
def other(engine: str, module: Any = None, **cache: Any) -> Iterator[Any]:
    """The alias ``other``: the database under test through ormcache around this engine."""
    given = settings.DATABASES["default"] | {"ENGINE": "ormcache.backends.wrap"}
    given["ORMCACHE"] = given["ORMCACHE"] | {"ENGINE": engine} | cache
    given = connections.configure_settings({"default": given})["default"]
    with mock.patch.dict(connections.settings, {"other": given}), mock.patch.dict(settings.DATABASES, {"other": given}):
        try:
            yield connections["other"]
        finally:
            connections["other"].close()
            del connections["other"]


def test_an_engine_that_acts():
    """It overrides create_cursor(), which is all that is known of it."""
    with other("tests.projects.engines.counting"):
        bypassed = Counted("other")
        assert names("other") == names("other") == ["A", "B"]
        assert bypassed() == 2
        [found] = [message for message in check_settings() if message.id == "ormcache.W012"]
        assert "tests.projects.engines.counting.base.DatabaseWrapper.create_cursor" in found.msg
        assert "TRANSPARENT" in found.hint


def test_an_engine_that_is_named():
    with other("tests.projects.engines.counting", TRANSPARENT=["tests.projects.engines.counting"]):
        names("other")
        before = stats("other")["hits"]
        names("other")
        assert stats("other")["hits"] == before + 1
        assert [message for message in check_settings() if message.id == "ormcache.W012"] == []


def test_a_name_that_leads_nowhere():
    with other(f"django.db.backends.{VENDOR}", TRANSPARENT=["tests.projects", "tests.nothing"]):
        [found] = [message for message in check_settings() if message.id == "ormcache.W013"]
    assert "'tests.nothing' in TRANSPARENT of database 'other'" in found.msg


region: ContextVar[str] = ContextVar("region", default="public")


@only_postgresql
def test_a_subclass_of_django_tenants_that_decides_by_something_else(monkeypatch, ddl):
    pytest.importorskip("django_tenants")
    from django_tenants.postgresql_backend.base import DatabaseWrapper

    class Regional(DatabaseWrapper):  # type: ignore[misc]  # it has no types
        def _get_cursor_search_paths(self) -> list[str]:
            return [region.get()]

    for name in ("north", "south"):
        ddl(f"CREATE SCHEMA {name}", f"DROP SCHEMA {name} CASCADE")
        ddl(f"CREATE TABLE {name}.shop_author (LIKE public.shop_author INCLUDING ALL)", "")
        ddl(f"INSERT INTO {name}.shop_author (id, name, active) VALUES (1, '{name}', true)", "")
    monkeypatch.setattr("tests.projects.engines.counting.base.DatabaseWrapper", Regional)
    from ormcache.backends.wrap.base import wrap

    wrap.cache_clear()
    try:
        with other("tests.projects.engines.counting"):
            bypassed = Counted("other")
            for _ in range(2):
                for name in ("north", "south"):
                    region.set(name)
                    assert names("other") == names("other") == [name]
            assert bypassed() == 8
    finally:
        wrap.cache_clear()


def test_tools_of_tests_are_known(caplog):
    """Mocks are not, and the read reaches them."""
    names()
    with mock.patch.object(connection, "cursor", side_effect=ZeroDivisionError), pytest.raises(ZeroDivisionError):
        names()
    assert names() == ["A", "B"]
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []
