"""What a project writes that has a backend of its own and wants the cache in front of it."""

from __future__ import annotations

from typing import Any

from django.db.utils import load_backend

from ormcache.connection.mixins import ConnectionMixin
from tests.settings import VENDOR

Stock: Any = load_backend(f"django.db.backends.{VENDOR}").DatabaseWrapper


class Counting(Stock):
    """The project's backend: counts its cursors."""

    cursors = 0

    def create_cursor(self, name: str | None = None) -> Any:
        self.cursors += 1
        return super().create_cursor(name)


class DatabaseWrapper(ConnectionMixin, Counting):
    pass
