from django.contrib.gis.db.backends.spatialite import base

from ormcache.connection.mixins import ConnectionMixin
from ormcache.telemetry import publisher  # noqa: F401  # importing adds a task of the background thread


class DatabaseWrapper(ConnectionMixin, base.DatabaseWrapper):
    """GeoDjango's own backend with the cache in front."""
