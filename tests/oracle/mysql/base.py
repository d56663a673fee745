from django.db.backends.mysql import base

from ormcache.connection.mixins import ConnectionMixin
from tests.oracle.recorder import Recording, Uncached


class DatabaseWrapper(Uncached, ConnectionMixin, Recording, base.DatabaseWrapper):
    """ormcache's own backend, which notes below the cache what is sent to the database, and serves nothing."""
