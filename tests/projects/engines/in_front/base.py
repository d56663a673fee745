"""A wrapper that somebody has put in front of ormcache, where it does not see what really runs."""

from __future__ import annotations

from typing import Any

from django.db.utils import load_backend

from tests.settings import VENDOR

Cached: Any = load_backend(f"ormcache.backends.{VENDOR}").DatabaseWrapper


class DatabaseWrapper(Cached):
    def create_cursor(self, name: str | None = None) -> Any:
        return super().create_cursor(name)
