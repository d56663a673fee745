from django.contrib.gis.db.backends.spatialite import base

from ormcache.backends.tasks import TASKS
from ormcache.connection.mixins import ConnectionMixin


class DatabaseWrapper(ConnectionMixin, base.DatabaseWrapper):
    """GeoDjango's own backend with the cache in front."""

    ormcache_tasks = TASKS
