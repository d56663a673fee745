"""Django's settings of the site that is tortured: one database and one store, both on other hosts."""

from __future__ import annotations

import json
import os

_site = json.loads(os.environ["ORMCACHE_TORTURE"])

SECRET_KEY = "of the tests"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
INSTALLED_APPS = ["ormcache", "tests.shop"]
MIGRATION_MODULES = {"shop": None}

_database = {
    "NAME": _site["database"],
    "USER": _site["user"],
    "HOST": _site["database_host"],
    "PORT": _site["database_port"],
    "CONN_MAX_AGE": None,
    # A link that is cut says nothing: without these a query would wait for minutes.
    "OPTIONS": {
        "connect_timeout": 2,
        "tcp_user_timeout": 1500,
        # What was committed outlives a server that is killed, and nobody waits for the locks of a process that was.
        "options": "-c synchronous_commit=on -c lock_timeout=3s -c idle_in_transaction_session_timeout=5s",
    },
}
DATABASES = {
    "default": {
        **_database,
        "ENGINE": "ormcache.backends.postgresql",
        "ORMCACHE": {
            "STORE": "redis",
            "STORE_TIMEOUT": 0.2,
            "ADAPTIVE": False,
            "SHARE": "always",
            "STATISTICS_INTERVAL": 0,
            "LEASE": 5,
            **_site["ormcache"],
        },
    },
}
CACHES = {"default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": _site["store"]}}
