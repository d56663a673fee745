"""One schema a tenant, switched whenever a cursor is made, by something that the connection does not tell."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

from django.db.backends.postgresql import base

tenant: ContextVar[str] = ContextVar("tenant", default="public")


class DatabaseWrapper(base.DatabaseWrapper):
    def _cursor(self, name: str | None = None) -> Any:
        cursor = super()._cursor(name)
        with self.connection.cursor() as raw:
            raw.execute(f"SET search_path = {tenant.get()}")
        return cursor
