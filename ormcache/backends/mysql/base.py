from django.db.backends.mysql import base

from ormcache.connection import ConnectionMixin


class DatabaseWrapper(ConnectionMixin, base.DatabaseWrapper):
    """Django's own backend with the cache in front."""
