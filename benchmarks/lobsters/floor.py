"""What no cache below the ORM can go under: the same pages with rows that are there already.

Plain Django answers the requests twice in one process: first with the database, whose answers are recorded, then with
those in its place. What is left is Django's own work: compiling queries, making objects, combining them into pages.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Self
from unittest import mock

from benchmarks.lobsters.load import Visits, traffic_of
from benchmarks.lobsters.traffic import Request, Site
from benchmarks.lobsters.witness import Witness, make_board

WARM_UP = 100  # requests


class Answer(NamedTuple):
    """Of the database to one statement."""

    rows: Sequence[Any]
    rowcount: int


class GivenCursor:
    """Has the next answer, whatever it is asked."""

    def __init__(self, answers: Iterator[Answer]) -> None:
        self._answers = answers
        self._rows: Iterator[Any] = iter(())
        self.rowcount = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def execute(self, sql: Any, params: Any = None) -> None:
        answer = next(self._answers)
        self._rows, self.rowcount = iter(answer.rows), answer.rowcount

    def fetchone(self) -> Any:
        return next(self._rows, None)

    def fetchmany(self, size: int) -> list[Any]:
        return [row for row, _ in zip(self._rows, range(size), strict=False)]

    def close(self) -> None:
        pass


class RecordingCursor(GivenCursor):
    """Asks the database, and notes what it answers."""

    def __init__(self, cursor: Any, noted: list[Answer]) -> None:
        super().__init__(iter(()))
        self._cursor = cursor
        self._noted = noted

    def execute(self, sql: Any, params: Any = None) -> None:
        self._cursor.execute(sql, params)
        answer = Answer(self._cursor.fetchall() if self._cursor.description else (), self._cursor.rowcount)
        self._noted.append(answer)
        self._rows, self.rowcount = iter(answer.rows), answer.rowcount

    def close(self) -> None:
        self._cursor.close()

    def __exit__(self, *error: object) -> None:
        self.close()


def measure(scale: float, requests: int, board: str) -> dict[str, float]:
    """CPU seconds of the application for one request, with the database and with rows that are there already."""
    from django.db import connection

    make_board(Path(board), stories=Site(scale).stories, processes=1)
    asked = list(traffic_of(scale).requests(requests, "floor"))
    with Witness(Path(board), stories=Site(scale).stories, processes=1, number=0, lag=0.0) as witness:
        _answer(witness, "before", list(traffic_of(scale).requests(WARM_UP, "before the floor")))
        noted: list[Answer] = []
        cursor = connection.cursor

        def recording() -> RecordingCursor:
            return RecordingCursor(cursor(), noted)

        with mock.patch.object(connection, "cursor", recording):
            database = _answer(witness, "floor", asked)
        answers = iter(noted)
        with (
            mock.patch.object(connection, "cursor", partial(GivenCursor, answers)),
            mock.patch.object(connection, "set_autocommit", partial(_set_autocommit, connection)),
            mock.patch.object(connection, "commit", _do_nothing),  # a Mock would take longer
        ):
            given = _answer(witness, "floor", asked)
    return {"database": database / requests, "given": given / requests, "statements": len(noted) / requests}


def _answer(witness: Witness, prefix: str, asked: list[Request]) -> float:
    visits, began = Visits(witness, prefix), time.process_time()
    for request in asked:
        visits.answer(request)
    return time.process_time() - began


def _set_autocommit(connection: Any, autocommit: bool, **options: Any) -> None:
    """Django's side of it, of which the database is not told."""
    connection.autocommit = autocommit


def _do_nothing() -> None:
    pass
