"""Django's engines with the cache in front. Using one of them is enough for the system checks to run."""

from ormcache import checks as checks  # registers them
