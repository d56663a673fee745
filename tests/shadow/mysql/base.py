from ormcache.backends.mysql import base
from tests.shadow import ShadowMixin


class DatabaseWrapper(ShadowMixin, base.DatabaseWrapper):
    """ormcache's own backend, in whose place the database answers."""
