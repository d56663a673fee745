from django.db.backends.postgresql import base

from ormcache.backends.server_tasks import SERVER_TASKS
from ormcache.connection.mixins import ConnectionMixin


class DatabaseWrapper(ConnectionMixin, base.DatabaseWrapper):
    """Django's own backend with the cache in front."""

    ormcache_tasks = SERVER_TASKS
