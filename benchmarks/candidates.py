"""Who is measured: plain Django, its other caches, a cache by hand, and ormcache with each store and level."""

from __future__ import annotations

import fnmatch
import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

STORES = ("embedded", "redis", "memcached")
#: Values of ``ORMCACHE["CONSISTENCY"]`` that are measured → with which stores. ("request" is "strict" outside of one.)
LEVELS = {"strict": STORES, "near": ("redis",)}
LAG = 0.25  # seconds; NEAR_MAX_LAG, the default

REFERENCE = "plain"
VARIABLE = "ORMCACHE_BENCHMARK_SETTINGS"  # of the environment: the settings of a candidate's processes, as JSON
TIMEOUT = 3600  # seconds; longer than any run of the suite between a write and the read that checks it
BLACKLISTED = "shop.Visit"
COUNTER = "benchmarks.tasks.Statements"  # what acts between Django and the driver

Settings = dict[str, Any]


@dataclass(frozen=True)
class Places:
    """Where a candidate finds its servers, as its settings name them."""

    database: Settings  # an entry of DATABASES without ENGINE and NAME
    redis: str  # a URL without the number of the database
    memcached: str  # host:port
    folder: Path  # for files of the embedded store

    def redis_for(self, candidate: Candidate) -> str:
        """Its own database in Redis, so that flushing one candidate's leaves the others' alone."""
        return f"{self.redis}/{1 + [one.name for one in CANDIDATES].index(candidate.name)}"


@dataclass(frozen=True)
class Candidate:
    name: str
    title: str
    #: what it adds to Django's plain settings
    extend: Callable[[Candidate, Places, Settings], None]
    #: modules that have to be there
    requires: tuple[str, ...] = ()
    #: distributions whose versions the report names
    distributions: tuple[str, ...] = ()
    #: servers whose CPU time counts as the cache's
    cache_servers: tuple[str, ...] = ()
    #: what it has in place of ormcache's ``BLACKLIST``; None: it has none, and is not measured there
    blacklist: str | None = ""
    #: seconds for which it does not promise that a process sees what another one has written
    lag: float = 0.0

    @property
    def is_ours(self) -> bool:
        return self.name.startswith("ormcache")

    @property
    def database_name(self) -> str:
        return f"benchmark_{self.name.replace('-', '_')}"

    def missing(self) -> list[str]:
        """Modules that it needs and that are not installed."""
        return [module for module in self.requires if importlib.util.find_spec(module) is None]

    def settings(self, places: Places, *, max_age: int | None = None) -> Settings:
        """``max_age``: Django's ``CONN_MAX_AGE``; None: connections persist."""
        found: Settings = {
            "DATABASES": {
                "default": {
                    "ENGINE": "django.db.backends.postgresql",
                    "NAME": self.database_name,
                    "CONN_MAX_AGE": max_age,
                    **places.database,
                }
            },
            "CACHES": {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}},
            "INSTALLED_APPS": ["benchmarks.shop"],
            "ROOT_URLCONF": "benchmarks.wsgi",
            "ALLOWED_HOSTS": ["*"],
            "SECRET_KEY": "benchmark",
            "USE_TZ": True,
            "DEFAULT_AUTO_FIELD": "django.db.models.BigAutoField",
            "BENCHMARK_BY_HAND": False,
            "BENCHMARK_CANDIDATE": self.name,
        }
        self.extend(self, places, found)
        return found


def _redis_cache(candidate: Candidate, places: Places) -> Settings:
    return {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": places.redis_for(candidate)}


def _plain(candidate: Candidate, places: Places, settings: Settings) -> None:
    pass


def _by_hand(candidate: Candidate, places: Places, settings: Settings) -> None:
    settings["CACHES"]["default"] = _redis_cache(candidate, places)
    settings["BENCHMARK_BY_HAND"] = True


def _cachalot(candidate: Candidate, places: Places, settings: Settings) -> None:
    settings["CACHES"]["default"] = _redis_cache(candidate, places)
    settings["INSTALLED_APPS"].insert(0, "cachalot")
    settings["CACHALOT_UNCACHABLE_TABLES"] = ["django_migrations", "shop_visit"]


def _cacheops(candidate: Candidate, places: Places, settings: Settings) -> None:
    settings["INSTALLED_APPS"].insert(0, "cacheops")
    settings["CACHEOPS_REDIS"] = places.redis_for(candidate)
    settings["CACHEOPS"] = {BLACKLISTED.lower(): None, "*.*": {"ops": "all", "timeout": TIMEOUT}}


def _ormcache(store: str, level: str) -> Candidate:
    def extend(candidate: Candidate, places: Places, settings: Settings) -> None:
        settings["DATABASES"]["default"]["ENGINE"] = "ormcache.backends.postgresql"
        settings["ORMCACHE"] = {
            "STORE": store,
            "CONSISTENCY": level,
            "BLACKLIST": [BLACKLISTED],
            "TRANSPARENT": [COUNTER],  # or nothing would be cached while statements are counted
        }
        if level == "near":
            settings["ORMCACHE"]["NEAR_MAX_LAG"] = LAG
        if store == "redis":
            settings["CACHES"]["default"] = _redis_cache(candidate, places)
        elif store == "memcached":
            backend = "django.core.cache.backends.memcached.PyMemcacheCache"
            settings["CACHES"]["default"] = {"BACKEND": backend, "LOCATION": places.memcached}
        else:
            settings["ORMCACHE"]["LOCATION"] = str(places.folder / candidate.name)

    suffix = "" if level == "strict" else f"-{level}"
    clients = {"redis": ("django_redis", "redis"), "memcached": ("pymemcache",), "embedded": ("lmdb",)}[store]
    return Candidate(
        name=f"ormcache-{store}{suffix}",
        title=f"ormcache, {store}" + (f", {level}" if suffix else ""),
        extend=extend,
        requires=("ormcache", *clients),
        distributions=("ormcache", *(client.replace("_", "-") for client in clients)),
        cache_servers=() if store == "embedded" else (store,),
        blacklist="BLACKLIST",
        lag=LAG if level == "near" else 0.0,
    )


CANDIDATES: Sequence[Candidate] = (
    Candidate(
        "plain",
        "plain Django",
        _plain,
        distributions=("Django", "psycopg"),
    ),
    Candidate(
        "by-hand",
        "get_or_set by hand",
        _by_hand,
        requires=("django_redis",),
        distributions=("django-redis", "redis", "hiredis"),
        cache_servers=("redis",),
        blacklist="no get_or_set at that place",
    ),
    Candidate(
        "cachalot",
        "django-cachalot",
        _cachalot,
        requires=("cachalot", "django_redis"),
        distributions=("django-cachalot", "django-redis", "redis"),
        cache_servers=("redis",),
        blacklist="CACHALOT_UNCACHABLE_TABLES",
    ),
    Candidate(
        "cacheops",
        "django-cacheops",
        _cacheops,
        requires=("cacheops",),
        distributions=("django-cacheops", "redis"),
        cache_servers=("redis",),
        blacklist="None in CACHEOPS",
    ),
    *(_ormcache(store, level) for level, stores in LEVELS.items() for store in stores),
)


def select(patterns: Sequence[str]) -> list[Candidate]:
    """Those whose names match, and the reference, to which all others are compared. Raises LookupError."""
    for pattern in patterns:
        if not any(_matches(one, pattern) for one in CANDIDATES):
            raise LookupError(f"no candidate is named {pattern!r}; there are {', '.join(c.name for c in CANDIDATES)}")
    return [
        one
        for one in CANDIDATES
        if not patterns or one.name == REFERENCE or any(_matches(one, pattern) for pattern in patterns)
    ]


def _matches(candidate: Candidate, pattern: str) -> bool:
    return fnmatch.fnmatch(candidate.name, pattern) or candidate.name.startswith(f"{pattern}-")
