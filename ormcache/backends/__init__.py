"""Database engines with the cache in front of Django's. Using one also registers checks."""

from ormcache import checks as checks  # registers them
