"""An engine of a project's own that counts cursors, and could do anything else as well."""

from __future__ import annotations

from typing import Any

from django.db.utils import load_backend

from tests.settings import VENDOR

Stock: Any = load_backend(f"django.db.backends.{VENDOR}").DatabaseWrapper


class DatabaseWrapper(Stock):
    cursors = 0

    def create_cursor(self, name: str | None = None) -> Any:
        self.cursors += 1
        return super().create_cursor(name)
