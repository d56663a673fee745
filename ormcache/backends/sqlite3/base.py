from django.db.backends.sqlite3 import base

from ormcache.connection import ConnectionMixin


class DatabaseWrapper(ConnectionMixin, base.DatabaseWrapper):
    """Django's own backend with the cache in front."""
