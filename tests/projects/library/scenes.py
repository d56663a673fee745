"""What tests have this site do in a process of its own. All results can be said in JSON."""

from __future__ import annotations

import io
import threading
import time
from collections import Counter
from typing import Any

from django.core.cache import caches
from django.core.management import call_command
from django.db import DatabaseError, connection
from django.db.models import TextField, Value
from django.test import Client
from django.test.utils import CaptureQueriesContext
from library.models import Shelf, Volume


def names() -> list[str] | str:
    try:
        return list(Shelf.objects.order_by("pk").values_list("name", flat=True))
    except DatabaseError:
        return "no such table"


def read_write_read() -> list[Any]:
    """What is there, how many queries asking again takes, and what is there after a write."""
    first = names()
    with CaptureQueriesContext(connection) as again:
        assert names() == first
    Shelf.objects.create(name="second")
    return [first, len(again), names()]


def toolbar() -> dict[str, int]:
    from debug_toolbar.panels.sql import SQLPanel

    counted: list[int] = []
    generate = SQLPanel.generate_stats

    def count(panel: SQLPanel, *args: Any) -> None:
        generate(panel, *args)
        counted.append(len(panel.get_stats()["queries"]))

    SQLPanel.generate_stats = count
    return _pages(counted)


def silk() -> dict[str, int]:
    from silk.models import Request, SQLQuery

    class Counted(list):
        """The pages' queries, as silk has them in its tables."""

        def pop(self, *args: Any) -> int:
            request = Request.objects.order_by("-start_time").first()
            return SQLQuery.objects.filter(request=request).count()

    return _pages(Counted())


def _pages(counted: list[int]) -> dict[str, int]:
    client = Client()
    Volume.objects.count()  # so that a connection is made, and what that takes is not counted
    found = {}
    for step, path, expected in (
        ("read", "/", "first"),
        ("again", "/", "first"),
        ("written", "/add/?name=second", "first,second"),
        ("after", "/", "first,second"),
    ):
        answer = client.get(path)
        assert f"<body>{expected}" in answer.content.decode(), answer.content
        found[step] = counted.pop()
    return found


def psycopg2() -> list[Any]:
    found: list[Any] = [connection.Database.__version__.split(".")[0], names()]
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM library_shelf")
        cursor.copy_from(io.StringIO("copied\n"), "library_shelf", columns=["name"])
        found.append(names())
        cursor.copy_expert("COPY library_shelf (name) FROM STDIN", io.StringIO("once more\n"))
        found.append(names())
        found.append(connection.ormcache.session.bypass_reason)
        cursor.copy_expert("COPY (SELECT set_config('library.who', 'ann', false)) TO STDOUT", io.StringIO())
        found.append(connection.ormcache.session.bypass_reason)
    return found


# A cache in DynamoDB -------------------------------------------------------------------


def counted_names() -> list[Any]:
    """What is there, and how many queries that took."""
    with CaptureQueriesContext(connection) as queries:
        found = names()
    return [found, len(queries)]


def counted_large_names(length: int) -> list[Any]:
    """The length of a large result that was read before, the queries it takes again, and the same of a small one."""
    large = Shelf.objects.values_list(Value("x" * length, output_field=TextField()), flat=True)
    assert [len(one) for one in large.all()] == [length]
    small = names()
    with CaptureQueriesContext(connection) as again:
        found = [len(one) for one in large.all()]
    with CaptureQueriesContext(connection) as of_small:
        assert names() == small
    return [*found, len(again), small, len(of_small)]


def prepare() -> None:
    """Make the tables of the cache and of the site."""
    call_command("createcachetable")
    call_command("migrate", verbosity=0)


def add_at_once(alias: str, threads: int) -> dict[str, Any]:
    """How many of these threads have added a key, are all reads consistent, and is one added that has expired."""
    barrier, added, reads = threading.Barrier(threads), [], []

    def add(number: int) -> None:
        cache = caches[alias]  # each thread has one
        table = cache.table
        table.meta.client.meta.events.register_last(
            "before-parameter-build.dynamodb.GetItem",
            lambda params, **kwargs: reads.append(params.get("ConsistentRead", False)),
        )
        # Whoever looks first and puts afterwards does so when all have looked.
        table.meta.client.meta.events.register(
            "before-parameter-build.dynamodb.PutItem", lambda **kwargs: barrier.wait(20)
        )
        if cache.add("key", number, timeout=60):
            added.append(number)
        cache.get("key")

    running = [threading.Thread(target=add, args=(number,)) for number in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    caches[alias].add("expired", 1, timeout=1)  # one second at the most
    time.sleep(1)
    again = caches[alias].add("expired", 2, timeout=60)
    return {"added": len(added), "consistent": all(reads), "after expiry": again}


def requests_to_dynamodb() -> dict[str, dict[str, int]]:
    """Kind of operation → requests that it takes."""
    made: Counter[str] = Counter()
    caches["dynamodb"].table.meta.client.meta.events.register(
        "before-call.dynamodb", lambda model, **kwargs: made.update([model.name])
    )
    names()
    names()
    found = {}
    for kind, call in {"hit": names, "write": lambda: Shelf.objects.create(name="counted")}.items():
        made.clear()
        call()
        found[kind] = dict(made)
    return found
