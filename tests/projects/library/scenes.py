"""What tests have this site do in a process of its own. All results can be said in JSON."""

from __future__ import annotations

import io
from typing import Any

from django.db import DatabaseError, connection
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
    return found
