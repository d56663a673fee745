"""One schema a tenant, switched as django-tenants does it: on a cursor of the driver, below everything else."""

from __future__ import annotations

from typing import Any

from django.db.backends.postgresql import base


class DatabaseWrapper(base.DatabaseWrapper):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.set_schema("public")

    def set_schema(self, name: str) -> None:
        self.schema_name = name
        self._is_set = False

    def close(self) -> None:
        self._is_set = False
        super().close()

    def _cursor(self, name: str | None = None) -> Any:
        cursor = super()._cursor(name)
        if not self._is_set:
            with self.connection.cursor() as raw:
                raw.execute(f"SET search_path = {self.schema_name}")
            self._is_set = True
        return cursor
