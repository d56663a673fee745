"""What tests of the protocol read and write, in this process or in another one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import StringIO
from typing import Any

from django.core.management import CommandError, call_command
from django.db import connections, models, transaction

import ormcache
from ormcache.background.worker import worker
from ormcache.read_path.read import ReadExecution
from ormcache.telemetry import all_counters
from tests.integration.reading import execute, model_of
from tests.process import stop
from tests.shop.models import Author, Genre


def names(using: str = "default") -> list[str]:
    return sorted(Author.objects.using(using).values_list("name", flat=True))


def genres(using: str = "default") -> list[str]:
    return sorted(Genre.objects.using(using).values_list("name", flat=True))


def add(name: str, using: str = "default") -> None:
    """One INSERT in autocommit."""
    Author.objects.using(using).create(name=name)


def add_atomically(name: str, using: str = "default") -> None:
    with transaction.atomic(using=using):
        Author.objects.using(using).create(name=name)


def rename_atomically(old: str, new: str) -> None:
    with transaction.atomic():
        Author.objects.filter(name=old).update(name=new)
        stop("written")


def run(sql: str, *params: Any, using: str = "default") -> None:
    with connections[using].cursor() as cursor:
        cursor.execute(sql, params or None)


def session_id(using: str = "default") -> int:
    """What the server calls this connection's session."""
    connection = connections[using]
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()" if connection.vendor == "postgresql" else "SELECT CONNECTION_ID()")
        found: int = cursor.fetchone()[0]
        return found


def kill(session: int) -> None:
    """End a session of the server, and wait until it is gone."""
    with connections["plain"].cursor() as cursor:
        if connections["plain"].vendor == "postgresql":
            cursor.execute("SELECT pg_terminate_backend(%s, 10000)", [session])
            assert cursor.fetchone() == (True,)
            return
        cursor.execute(f"KILL {session}")
        while True:
            cursor.execute("SELECT 1 FROM information_schema.processlist WHERE id = %s", [session])
            if not cursor.fetchall():
                break


def is_cached(read: Callable[[], Any], using: str = "default") -> bool:
    """Was the second of two equal reads a hit?"""
    first = read()
    counts = connections[using].ormcache.observer.counters
    before = counts.snapshot()["hits"]
    again = read()
    assert again == first
    return counts.snapshot()["hits"] > before


def count_anew() -> None:
    """From here on this process has counted nothing, and told nothing of it. Closes this thread's connections."""
    for counters in all_counters():
        counters.reset()
    worker.reset()
    connections.close_all()


def printed(*arguments: str) -> str:
    """What ``manage.py ormcache`` prints about the database, whatever its exit status."""
    out = StringIO()
    with suppress(CommandError):
        call_command("ormcache", *arguments, "--using", "default", stdout=out)
    return out.getvalue()


def printed_document(command: str) -> Any:
    """What ``manage.py ormcache <command> --json`` prints about the default alias; others may lead to its database."""
    return next(one for one in json.loads(printed(command, "--json"))["databases"] if one["using"] == "default")


def leftovers() -> list[str]:
    """What a transaction has left behind in the connections of this thread; empty if all is clean."""
    found = []
    for connection in connections.all(initialized_only=True):
        state = getattr(connection, "ormcache", None)
        if state is None:
            continue
        transaction, session = connection.ormcache_writes.transaction, state.session
        left = {
            "dirty": transaction.dirty,
            "in transaction": connection.connection is not None and transaction.is_open,
            "open cursors": list(transaction.open_cursors),
            "serial": session.wants_snapshot,
            "settings before": session._settings_before,
            "local settings": session._local,
            "savepoints": session._savepoints,
            "connecting": state.is_connecting,
            "unfinished": connection.ormcache_writes._invalidator.unfinished,
        }
        found += [f"{connection.alias}: {what}: {value!r}" for what, value in left.items() if value]
        if state.database is not None and state.database.pending.relations:
            found.append(f"{connection.alias}: pending: {sorted(state.database.pending.relations)}")
    return found


@contextmanager
def no_leftovers() -> Iterator[None]:
    """The block leaves nothing of a transaction behind. Closes this thread's connections."""
    yield
    left = leftovers()
    connections.close_all()  # a transaction that a failure left open would hold up the next test
    assert left == []


def execute_along(schema: str, sql: str) -> None:
    """PostgreSQL: run a statement with a schema before ``public`` on the search path."""
    execute(f"SET search_path TO {schema}, public")
    execute(sql)


def notes_along_slowly(schema: str, table: str) -> list[str]:
    """Do the same, with a stop before the lookup and one before the query of the miss."""
    real = ReadExecution._look_up, ReadExecution._run_query
    stopped = set()

    def stop_once(name: str) -> None:
        if name not in stopped:
            stopped.add(name)
            stop(name)

    def look_up(self: Any) -> Any:
        stop_once("before a lookup")
        return real[0](self)

    def run_query(self: Any) -> Any:
        stop_once("before its query")
        return real[1](self)

    ReadExecution._look_up, ReadExecution._run_query = look_up, run_query  # type: ignore[method-assign]
    return notes_along(schema, table)


def notes_along(schema: str, table: str) -> list[str]:
    """PostgreSQL: the texts in a table, by its name along such a path."""
    execute(f"SET search_path TO {schema}, public")
    rows = model_of(table, text=models.TextField()).objects.order_by("id")
    return list(rows.values_list("text", flat=True))


def change_rates() -> None:
    ormcache.changed("rates")


def write_many(prefix: str, count: int) -> tuple[int, int, int]:
    """Write in autocommit and in transactions, and read. Returns how often everything was invalidated because another
    program has written, and because that was possible; and what was read and was not right.
    """
    wrong = 0
    for number in range(count):
        author = Author.objects.create(name=f"{prefix}{number}")
        with transaction.atomic():
            author.active = False
            author.save()
        author.save()  # changes nothing
        genres()
        wrong += f"{prefix}{number}" not in names()
    database = connections["default"].ormcache.known()  # type: ignore[attr-defined]
    return database.commits.outside, database.commits.in_doubt, wrong
