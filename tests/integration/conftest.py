from collections.abc import Callable, Iterator

import pytest
from django.db import connections

from tests import environment


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave to SQLite and PostgreSQL what would be the same with any engine."""
    if environment.current().engine == "mysql":
        config.hook.pytest_deselected(items=[item for item in items if item.get_closest_marker("any_engine")])
        items[:] = [item for item in items if not item.get_closest_marker("any_engine")]


@pytest.fixture(autouse=True)
def _live(database: None) -> None:
    """Every test here talks to the database that ``--engine`` names, and commits for real."""


@pytest.fixture
def interleaved(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Actors stop at the named points of ``actors.py``, and the test leaves nothing of a transaction behind.

    ``pytestmark = pytest.mark.usefixtures("interleaved")``
    """
    from tests.integration import actors
    from tests.integration.calls import no_leftovers

    with no_leftovers(), actors.points(monkeypatch):
        yield


@pytest.fixture
def ddl(database: None) -> Iterator[Callable[[str, str], None]]:
    """``ddl(create, drop)``: runs ``create`` through the cache's connection, and after the test ``drop`` past it."""
    drops = []

    def execute(sql: str, using: str) -> None:
        with connections[using].cursor() as cursor:
            cursor.execute(sql)

    def run(create: str, drop: str = "") -> None:
        execute(create, "default")
        drops.append(drop)

    yield run
    connections["default"].close()
    for drop in filter(None, reversed(drops)):
        execute(drop, "plain")


@pytest.fixture
def wal(engine: str, database: None) -> Iterator[None]:
    """SQLite: readers keep their snapshot while a writer commits."""
    if engine != "sqlite":
        yield
        return
    connections.close_all()
    with connections["plain"].cursor() as cursor:
        cursor.execute("PRAGMA journal_mode = WAL")
    yield
    connections.close_all()
    with connections["plain"].cursor() as cursor:
        cursor.execute("PRAGMA journal_mode = DELETE")
        assert cursor.fetchone() == ("delete",)
