"""By what names code is known."""

from __future__ import annotations

import contextlib
import functools
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
from django.utils.asyncio import async_unsafe

from ormcache.session import interception
from ormcache.session.interception import code_names, first_unknown, is_known

HERE = "tests.unit.session.test_interception"


def plain(execute: Any, *args: Any) -> Any:
    return execute(*args)


def decorated(function: Any) -> Any:
    @functools.wraps(function)
    def inner(*args: Any) -> Any:
        return function(*args)

    return inner


class Wrapper:
    def __call__(self, execute: Any, *args: Any) -> Any:
        return execute(*args)

    def method(self, execute: Any, *args: Any) -> Any:
        return execute(*args)

    @classmethod
    def of_class(cls, execute: Any, *args: Any) -> Any:
        return execute(*args)

    @staticmethod
    def of_nobody(execute: Any, *args: Any) -> Any:
        return execute(*args)

    @functools.lru_cache  # noqa: B019  # no more than what lru_cache makes of a function is looked at
    def remembered(self) -> None: ...


def closed_over(function: Any) -> Any:
    return lambda *args: function(None, *args)


def of_django(source: str) -> Any:
    """Code of a module that is known, which calls what it is given."""
    namespace: dict[str, Any] = {"__name__": "django.made_up"}
    exec(source, namespace)
    return namespace["made"]


class Own(functools.partial):
    def __call__(self, execute: Any, *args: Any) -> Any:
        return execute(*args)


class Disguised:
    """Says that it is what it stands for, as the proxies of some packages do."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    @property
    def __class__(self) -> Any:
        return type(self._inner)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def __call__(self, execute: Any, *args: Any) -> Any:
        return execute(*args)


HOLDING = (
    "class made:\n  def __init__(self, held): self.held = held\n  def __call__(self, *args): return self.held(*args)"
)
CLOSURE = "def made(held):\n  return lambda *args: held(*args)"
DEFAULT = "def made(held):\n  def inner(*args, one=held): return one(*args)\n  return inner"


@pytest.mark.parametrize(
    "code",
    [
        Own(len),
        functools.partial(len, key=plain),
        plain.__call__,
        functools.partial(plain).__call__,
        functools.partialmethod(plain),
        property(plain),
        Disguised(functools.partial(len)),
        Disguised(Wrapper().method),
        Disguised(str.join),
        of_django(HOLDING)(plain),
        of_django(HOLDING)(plain).__call__,
        of_django(HOLDING)([plain]),
        of_django(CLOSURE)(plain),
        of_django(CLOSURE)(Wrapper()),
        of_django(CLOSURE)({"one": plain}),
        of_django(CLOSURE)((len, plain)),
        of_django(DEFAULT)(plain),
    ],
    ids=repr,
)
def test_code_that_known_code_is_given(code):
    found = first_unknown([code], ())
    assert found is not None
    assert found.startswith(HERE)


def test_code_that_holds_itself():
    held: list[Any] = [len]
    function = of_django(CLOSURE)(held)
    held.append(function)

    assert first_unknown([function], ()) is None


@pytest.mark.parametrize(
    "code, names",
    [
        (plain, {"plain"}),
        (lambda *args: None, {"<lambda>"}),
        (functools.partial(plain, None), {"plain"}),
        (functools.partial(functools.partial(plain)), {"plain"}),
        (decorated(plain), {"decorated.<locals>.inner", "plain"}),
        (closed_over(plain), {"closed_over.<locals>.<lambda>", "plain"}),
        (Wrapper(), {"Wrapper", "Wrapper.__call__"}),
        (Wrapper().method, {"Wrapper.method", "Wrapper", "Wrapper.__call__"}),
        (Wrapper.of_class, {"Wrapper.of_class"}),
        (vars(Wrapper)["of_class"], {"Wrapper.of_class"}),
        (vars(Wrapper)["of_nobody"], {"Wrapper.of_nobody"}),
        (Wrapper.remembered, {"Wrapper.remembered"}),
    ],
    ids=str,
)
def test_names(code, names):
    own = {name.removeprefix(f"{HERE}.") for name in code_names(code) if name.startswith(f"{HERE}.")}

    assert own == names
    assert first_unknown([code], ()).startswith(HERE)
    assert first_unknown([code], (HERE,)) is None


def test_what_djangos_and_pythons_decorators_make_of_code():
    """A wrapper bears its own module's name in its code, and what it wraps is looked at as well."""
    assert first_unknown([async_unsafe("no")(plain)], ()) == f"{HERE}.plain"
    assert first_unknown([contextlib.contextmanager(plain)], ()) == f"{HERE}.plain"
    assert first_unknown([async_unsafe("no")(len)], ()) is None


def test_a_name_that_was_put_on_code_is_not_believed():
    def disguised(*args: Any) -> None: ...

    disguised.__module__ = "django.db.backends.base.base"
    disguised.__qualname__ = "BaseDatabaseWrapper.cursor"

    assert first_unknown([disguised], ()).startswith(HERE)


def test_a_name_stands_for_what_is_in_it():
    assert is_known("shop.wrappers.timed.<locals>.wrapper", ("shop.wrappers.timed",))
    assert is_known("shop.wrappers.timed", ("shop",))
    assert not is_known("shop.wrappers.timed_out", ("shop.wrappers.timed",))
    assert not is_known("djangoistic.wrapper")


def test_what_has_no_end_is_unknown():
    endless: Any = mock.Mock()
    assert first_unknown([endless], ()) is not None


def nested(number: int) -> Any:
    return plain if number == 0 else closed_over(nested(number - 1))


def test_what_is_nested_too_deeply_is_unknown():
    assert first_unknown([nested(interception._DEEPEST + 2)], (HERE,)) == "?"


@pytest.mark.parametrize(
    "path",
    [
        "django_prometheus.db.common:ExportingCursorWrapper",
        "pymysql.cursors:Cursor",
        "psycopg:Connection",
        "psycopg:ClientCursor",
        "psycopg.rows:namedtuple_row",
        "sqlite3:Connection",
    ],
)
def test_drivers_and_metrics_are_known(path):
    module, _, name = path.partition(":")
    found = getattr(pytest.importorskip(module), name)

    assert first_unknown([found], ()) is None


@pytest.mark.parametrize(
    "name",
    [
        "debug_toolbar.panels.sql.tracking.wrap_cursor.<locals>.cursor",
        "ddtrace.contrib.dbapi.TracedConnection",
        "elasticapm.instrumentation.packages.psycopg.PGConnectionProxy",
        "google.cloud.sqlcommenter.django.middleware.QueryWrapper.__call__",
        "newrelic.hooks.database_dbapi2.ConnectionWrapper",
        "opentelemetry.instrumentation.django.middleware.sqlcommenter_middleware._QueryWrapper.__call__",
        "pghistory.runtime._inject_history_context",
        "pgtrigger.runtime._inject_pgtrigger_ignore",
        "scout_apm.django.instruments.sql._DetailedTracer.execute",
        "sentry_sdk.integrations.django.install_sql_hook.<locals>.execute",
        "silk.sql.execute_sql",
    ],
)
def test_agents_are_known(name):
    assert is_known(name)


def test_what_sets_a_search_path_is_not():
    assert not is_known("pgtrigger.runtime._inject_schema")


@pytest.mark.parametrize("name", sorted(interception.ACTING))
def test_what_was_put_over_a_method_of_a_connection_is_seen(name):
    connection = SimpleNamespace(execute_wrappers=[])
    assert not interception.has_something_on(connection)
    setattr(connection, name, None)
    assert interception.has_something_on(connection)


def test_an_execute_wrapper_is_seen():
    assert interception.has_something_on(SimpleNamespace(execute_wrappers=[None]))


class Declared:
    """An execute wrapper that a project has declared harmless."""

    inside: Any = None

    def __call__(self, execute: Any, *args: Any) -> Any:
        return execute(*args)


def test_what_becomes_of_an_object_that_was_examined_before_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    wrapper, declared = Declared(), (f"{HERE}.Declared",)
    connection: Any = SimpleNamespace(execute_wrappers=[wrapper])
    assert interception.unknown_on(connection, ()) == f"{HERE}.Declared"
    assert interception.unknown_on(connection, declared) is None

    wrapper.inside = [plain]
    assert interception.unknown_on(connection, declared) == f"{HERE}.plain"

    wrapper.inside = None
    monkeypatch.setattr(Declared, "__call__", plain)
    assert interception.unknown_on(connection, declared) == f"{HERE}.plain"
