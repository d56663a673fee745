"""Reading through the cache and past it, for the tests beside this file."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.apps.registry import Apps
from django.db import connections, models

import ormcache
from ormcache.cache import adaptive
from ormcache.cache.adaptive import AdaptiveBypass
from tests import environment
from tests.shop.models import Author, Book, Genre, LegacyStock, Place, Restaurant, Review, Upper

ENGINE = environment.current().engine

#: What the code does is the same with every engine, and what an engine adds is tested beside it
shown_on_sqlite = pytest.mark.skipif(ENGINE != "sqlite", reason="the same with every engine: shown on SQLite")
only_sqlite = pytest.mark.skipif(ENGINE != "sqlite", reason="only SQLite has it")
only_postgresql = pytest.mark.skipif(ENGINE != "postgresql", reason="only PostgreSQL has it")
only_mysql = pytest.mark.skipif(ENGINE != "mysql", reason="only MySQL has it")
not_on_sqlite = pytest.mark.skipif(ENGINE == "sqlite", reason="SQLite has nothing of the kind")
not_on_mysql = pytest.mark.skipif(ENGINE == "mysql", reason="MySQL has nothing of the kind")

QUOTE = "`" if ENGINE == "mysql" else '"'

TABLES = [Author, Genre, Book, Book.genres.through, Review, Place, Restaurant, Upper, LegacyStock]


def everything(using: str = "default") -> dict[str, list[Any]]:
    """All rows of all tables of the shop."""
    return {
        model._meta.db_table: list(model._base_manager.using(using).order_by("pk").values_list()) for model in TABLES
    }


def rows_of(model: type[models.Model]) -> Callable[[str], list[Any]]:
    """A read of all rows of one table or view."""
    return lambda using: list(model._base_manager.using(using).order_by("pk").values_list())


def execute(sql: Any, params: Any = None, using: str = "default") -> None:
    with connections[using].cursor() as cursor:
        cursor.execute(sql, params)


def in_thread(call: Callable[[], Any]) -> Any:
    """The result of ``call`` in another thread, which has connections of its own."""

    def run() -> Any:
        try:
            return call()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(run).result()


class UntimedBypass(AdaptiveBypass):
    """An adaptive bypass that is told the same times whatever the machine does: a lookup takes a tenth of a query."""

    __slots__ = ()

    def record_hit(self, took: float) -> None:
        super().record_hit(1e-4)

    def record_miss(self, took: float, query: float, **more: Any) -> None:
        super().record_miss(1e-4, 1e-3, **more)

    def record_query(self, took: float) -> None:
        super().record_query(1e-3)


def judge_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two results that writes end are enough for the adaptive bypass of each statement, whatever the times."""
    monkeypatch.setattr(adaptive, "WINDOW", 2)
    monkeypatch.setattr(adaptive, "NEGLIGIBLE", 0.0)
    monkeypatch.setattr(adaptive, "SLOW", math.inf)
    monkeypatch.setattr(adaptive.AdaptiveBypasses, "of_statement", lambda self, relations: UntimedBypass("a query"))


def stats(using: str = "default") -> dict[str, Any]:
    return ormcache.stats(using)


def model_of(table: str, **fields: models.Field) -> type[models.Model]:
    """An unmanaged model of any table or view, known to nobody else."""
    meta = type("Meta", (), {"apps": Apps(), "app_label": "shop", "db_table": table, "managed": False})
    return type("Row", (models.Model,), {"__module__": __name__, "Meta": meta, **fields})


class Reading:
    """One read that is cached by now; what it answers from here on is compared with the truth."""

    def __init__(self, queries: Any, read: Callable[[str], Any]) -> None:
        self._queries = queries
        self._read = read
        connections["default"].close()  # whatever was set on it
        self.before = read("default")
        with queries(0):
            assert read("default") == self.before

    def read(self) -> Any:
        return self._read("default")

    def cache_again(self) -> None:
        """As another connection, so that what is set on this one stays."""

        def read() -> None:
            assert self._read("default") == self.before
            with self._queries(0):
                assert self._read("default") == self.before

        in_thread(read)

    def assert_hit(self) -> None:
        """Nothing has invalidated it, and it is still right."""
        connections["default"].close()
        with self._queries(0):
            assert self._read("default") == self.before
        assert self._read("plain") == self.before

    def assert_fresh(self, *, changed: bool = True) -> None:
        """It answers what the database holds, and that has changed."""
        after = self._read("default")
        assert after == self._read("plain")
        if not connections["default"].in_atomic_block:
            # What the statement did to the session can keep this connection from the cache: ask as another one would.
            connections["default"].close()
            assert self._read("default") == after
        if changed:
            assert after != self.before, "the write under test has changed nothing"
