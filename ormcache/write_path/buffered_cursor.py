"""A driver's cursor with all of its rows in memory, for a statement that has to be over when it has run."""

from __future__ import annotations

from itertools import islice
from typing import Any


class BufferedCursor:
    """Stands for a driver's cursor whose rows have all been fetched (DB-API 2.0, PEP 249)."""

    def __init__(self, cursor: Any) -> None:
        self.cursor = cursor
        self._rows = iter(cursor.fetchall())

    def __iter__(self) -> Any:
        return self

    def __next__(self) -> Any:
        return next(self._rows)

    def fetchone(self) -> Any:
        return next(self._rows, None)

    def fetchmany(self, size: int | None = None) -> Any:
        return list(islice(self._rows, size or self.cursor.arraysize))

    def fetchall(self) -> Any:
        return list(self._rows)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.cursor, name)
