"""What tests of the protocol read and write, in this process or in another one."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from django.db import connections, transaction

from ormcache.figures import all_figures
from ormcache.publishing import publisher
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


def is_cached(read: Callable[[], Any], using: str = "default") -> bool:
    """Was the second of two equal reads a hit?"""
    first = read()
    counts = connections[using].ormcache.figures
    before = counts.snapshot()["hits"]
    again = read()
    assert again == first
    return counts.snapshot()["hits"] > before


def eventually(check: Callable[[], Any], within: float = 20.0) -> Any:
    """The first true answer of ``check``; fails when there is none in time."""
    deadline = time.monotonic() + within
    while True:
        answer = check()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"not within {within} seconds"
        time.sleep(0.01)


def count_anew() -> None:
    """From here on this process has counted nothing, and told nothing of it. Closes this thread's connections."""
    for figures in all_figures():
        figures.__init__(figures.alias)
    publisher.__init__()
    connections.close_all()


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
            "serial": session.serial,
            "settings before": session._before,
            "local settings": session._local,
            "savepoints": session._savepoints,
            "connecting": state.is_connecting,
        }
        found += [f"{connection.alias}: {what}: {value!r}" for what, value in left.items() if value]
        if state.database is not None and state.database.pending.relations:
            found.append(f"{connection.alias}: pending: {sorted(state.database.pending.relations)}")
    return found
