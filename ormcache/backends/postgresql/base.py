from django.db.backends.postgresql import base

from ormcache.connection.mixins import ConnectionMixin
from ormcache.outside import listening, write_watch  # noqa: F401  # importing adds tasks of the background thread
from ormcache.telemetry import publisher  # noqa: F401  # importing adds a task of the background thread


class DatabaseWrapper(ConnectionMixin, base.DatabaseWrapper):
    """Django's own backend with the cache in front."""
