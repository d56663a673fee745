from django.contrib.gis.db.backends.postgis import base

from ormcache.connection.mixins import ConnectionMixin
from ormcache.outside import listening, write_watch  # noqa: F401  # importing adds tasks of the background thread
from ormcache.telemetry import publisher  # noqa: F401  # importing adds a task of the background thread


class DatabaseWrapper(ConnectionMixin, base.DatabaseWrapper):
    """GeoDjango's own backend with the cache in front."""
