"""Database engines with the cache in front of Django's. Using one also registers checks and background tasks."""

from ormcache import checks as checks  # registers them
from ormcache.outside import outbox as outbox  # adds its task
