from typing import Any

from django.db.backends.mysql import base

from ormcache.backends.server_tasks import SERVER_TASKS
from ormcache.cache.tracking import untracked
from ormcache.connection.mixins import ConnectionMixin


class DatabaseWrapper(ConnectionMixin, base.DatabaseWrapper):
    """Django's own backend with the cache in front."""

    ormcache_tasks = SERVER_TASKS

    @property
    def mysql_server_data(self) -> Any:
        """What Django asks the server for itself when the first query is compiled: no read of the program."""
        data = vars(self).get("mysql_server_data")  # where Django's own, a cached property, puts it
        if data is None:
            with untracked():
                data = super().mysql_server_data
        return data
