"""Django's settings for the tests: one site on the engine that ``pytest --engine`` names.

| alias | database |
| --- | --- |
| ``default`` | the one under test, through ormcache |
| ``plain`` | the very same database, through Django's own backend: writes that ormcache does not see, and the truth |
| ``second`` | another one, through ormcache |
| ``second_plain`` | that one through Django's own backend |
"""

from __future__ import annotations

import json
import os
import urllib.parse
from typing import Any

from tests import environment

RUN = environment.current()

VENDOR = {"sqlite": "sqlite3", "postgresql": "postgresql", "mysql": "mysql"}[RUN.engine]

if VENDOR == "mysql":
    # In place of mysqlclient, which has no wheels: it needs a compiler and MariaDB's headers.
    import pymysql

    pymysql.install_as_MySQLdb()


def _database(alias: str, package: str) -> dict[str, Any]:
    settings: dict[str, Any] = {"ENGINE": f"{package}.{VENDOR}", "NAME": RUN.database_name(alias)}
    if VENDOR != "sqlite3":
        server = RUN.first(VENDOR)
        settings |= {"HOST": server.host, "PORT": server.port, "USER": server.user, "PASSWORD": server.password}
    if VENDOR == "mysql":
        # Or PyMySQL reads the certificates of the machine for each connection, which takes twenty times as long as all
        # the rest of it.
        settings["OPTIONS"] = {"ssl_disabled": True}
    return settings


def _cached(alias: str) -> dict[str, Any]:
    # In the database's own dict, which goes before the project's: a test that overrides ORMCACHE as a whole
    # still does not touch the store of the user who runs the tests.
    overrides = json.loads(os.environ.get(environment.OVERRIDES, "{}"))
    return _database(alias, "ormcache.backends") | {
        # What one process reads, all others find, however often it was invalidated. Tests of other ways say so.
        "ORMCACHE": {
            "LOCATION": str(RUN.own_folder / "store"),
            "SHARE": "always",
            "ADAPTIVE": False,
            "STATISTICS_INTERVAL": 0,
            "LISTEN": False,
            "OUTBOX_INTERVAL": 0,
            # What counts the queries of tests, and stops them at points.
            "TRANSPARENT": [
                "tests.conftest",
                "tests.gis.loading",
                "tests.integration.actors",
                "tests.integration.cache.test_single_flight",
                "tests.process",
            ],
            "IDENTITY_MAX_AGE": 3600,
            # Tests write past the cache to see what it serves.
            "OUTSIDE_WRITES_INTERVAL": 0,
        }
        | overrides
    }


DATABASES = {
    "default": _cached("default"),
    "plain": _database("default", "django.db.backends"),
    "second": _cached("second"),
    "second_plain": _database("second", "django.db.backends"),
}

_memcached = [f"{server.host}:{server.port}" for server in RUN.attached("memcached")] or ["127.0.0.1:1"]
_redis = urllib.parse.urlsplit(RUN.first("redis").url)
CACHES = {
    "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
    "redis": {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": _redis._replace(path="/1").geturl(),
    },
    "redis_django": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": _redis._replace(path="/2").geturl(),
    },
    "memcached": {
        "BACKEND": "django.core.cache.backends.memcached.PyMemcacheCache",
        "LOCATION": _memcached,
    },
    "memcached_one": {
        "BACKEND": "django.core.cache.backends.memcached.PyMemcacheCache",
        "LOCATION": _memcached[0],
    },
    "file": {
        "BACKEND": "django.core.cache.backends.filebased.FileBasedCache",
        "LOCATION": str(RUN.own_folder / "cache"),
    },
}

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "ormcache",
    "ormcache.contrib.admin",
    "tests.shop",
]
if VENDOR == "postgresql":
    INSTALLED_APPS += ["django.contrib.postgres", "tests.shop_postgresql"]

# Tables are made straight from the models.
MIGRATION_MODULES = {app.rpartition(".")[2]: None for app in INSTALLED_APPS if not app.startswith("ormcache.")}

MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # fast, and guards nothing here
ROOT_URLCONF = "tests.shop.urls"
SECRET_KEY = "only for tests"
TIME_ZONE = "UTC"
USE_TZ = True
