from django.db.backends.sqlite3 import base

from ormcache.connection.mixins import ConnectionMixin
from ormcache.telemetry import publisher  # noqa: F401  # importing adds a task of the background thread


class DatabaseWrapper(ConnectionMixin, base.DatabaseWrapper):
    """Django's own backend with the cache in front."""
