"""A panel for django-debug-toolbar 6 and later: ``"ormcache.contrib.debug_toolbar.OrmcachePanel"``."""

from ormcache.contrib.debug_toolbar.panel import OrmcachePanel

__all__ = ["OrmcachePanel"]
