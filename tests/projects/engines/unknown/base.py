"""A database of a kind that ormcache has never heard of."""

from __future__ import annotations

from django.db.backends.sqlite3 import base


class DatabaseWrapper(base.DatabaseWrapper):
    vendor = "unheard_of"
