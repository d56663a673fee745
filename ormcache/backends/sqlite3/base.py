from django.db.backends.sqlite3 import base

from ormcache.backends.tasks import TASKS
from ormcache.connection.mixins import ConnectionMixin


class DatabaseWrapper(ConnectionMixin, base.DatabaseWrapper):
    """Django's own backend with the cache in front."""

    ormcache_tasks = TASKS
