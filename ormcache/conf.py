"""Reads the setting ``ORMCACHE``: once for each database, validated in one place, frozen.

:data:`OPTIONS` is the table of all settings: name, default, and valid values. :func:`problems` describes what is wrong
with a setting, for the system checks, and :func:`config_for` raises for it: a process that guessed its settings could
miss the writes that other processes rely on.
"""

from __future__ import annotations

import copy
import difflib
import hashlib
import ipaddress
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed

from ormcache.purge_settings import PurgerSettings, problems_of_purge, purger_settings
from ormcache.utils.bounded import Bounded
from ormcache.utils.forks import at_fork

STORES = ("embedded", "redis", "redis-cluster", "memcached", "django")
CONSISTENCIES = ("strict", "request", "near")
SHARES = ("auto", "always")
ROWS = ("auto", "always", "never")

#: The values of ``ENABLED`` and ``VERIFY`` that are words
OBSERVE, RAISE = "observe", "raise"

#: Former key → what to use in its place
REPLACED = {"SHADOW": "Use 'VERIFY': 'raise' in place of 'SHADOW': True."}

NO_CACHE = 6  # the number of the problem that the alias in CACHE is not in CACHES

MOST_ALIASES = 1024  # aliases whose settings are remembered


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is wrong with a setting: the number of its system check, a sentence, and what to do."""

    number: int
    message: str
    hint: str


@dataclass(frozen=True, slots=True)
class Config:
    """The settings of one database. Field names are the keys of ``ORMCACHE`` in lower case."""

    enabled: bool | str  # "observe": reads go to the database, and hits are compared
    store: str | None  # None: chosen by where the database is
    cache: str
    location: str | None  # None: a folder of this user, see ormcache.stores.embedded.store
    max_size: int  # bytes
    blacklist: tuple[str, ...]
    only: tuple[str, ...]
    foreign_tables: tuple[str, ...]
    consistency: str
    near_max_lag: float  # seconds
    on_outage: str
    store_timeout: float  # seconds, to connect and to read
    lease: float  # seconds
    flight_wait: float  # seconds; 0: readers do not wait for each other
    timeout: float | None  # seconds; None: until a write
    max_rows: int
    max_bytes: int
    compress: int  # bytes from which results are compressed; 0: never
    local_size: int  # bytes; 0: none
    share: str
    rows: str
    adaptive: bool
    pinned: tuple[str, ...]
    statistics_interval: float  # seconds; 0: this process does not publish its statistics
    outbox_interval: float  # seconds; 0: this process reads the outbox only when it first connects
    show_parameters: bool
    version: str
    transparent: tuple[
        str, ...
    ]  # dotted names of code that changes neither rows nor the session, see ormcache.session.interception
    identity_max_age: float  # seconds; 0: checked at every read
    outside_writes_interval: float  # seconds; 0: writes of other programs are not looked for
    name: str | None  # None: the database's own identity
    primary: str | None
    replica_fills: bool
    sign: bool
    verify: float | str  # the share of hits that is compared with the database; "raise": all, and differences raise
    listen: bool
    purge: tuple[PurgerSettings, ...]
    engine: str | None

    @property
    def observes(self) -> bool:
        """Whether reads always go to the database, and hits are compared with what it answers."""
        return self.enabled == OBSERVE

    @property
    def raises(self) -> bool:
        """Whether a hit that differs from what the database answers raises StaleRead."""
        return self.verify == RAISE

    @property
    def compared_share(self) -> float:
        """The share of hits, from 0 to 1, for which the query runs all the same, and its answer is returned."""
        return 1.0 if self.observes or self.raises else float(self.verify)

    @property
    def scope(self) -> bytes:
        """A digest of the settings that decide which results may be cached; part of every entry's name.

        A table that leaves the blacklist must not revive the entries from before it went in.
        """
        decisive = repr((self.version, sorted(self.blacklist), sorted(self.only), sorted(self.foreign_tables)))
        return hashlib.blake2b(decisive.encode(), digest_size=16).digest()


@dataclass(frozen=True, slots=True)
class Option:
    """One setting: its default, and which values are valid, in words and as a test."""

    default: Any
    expected: str
    valid: Callable[[Any], bool]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_names(value: Any) -> bool:
    return isinstance(value, (list, tuple, set, frozenset)) and all(isinstance(name, str) and name for name in value)


def _is_dotted_names(value: Any) -> bool:
    return _is_names(value) and all(part.isidentifier() for name in value for part in name.split("."))


def _is_positive(value: Any) -> bool:
    return _is_number(value) and 0 < value < float("inf")


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _or_none(valid: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or valid(value)


def _one_of(*choices: str) -> Option:
    return Option(choices[0], "one of " + ", ".join(map(repr, choices)), lambda value: value in choices)


_NAMES = "a list of model labels ('shop.Order'), apps ('shop.*') or table patterns ('audit_*')"

OPTIONS: dict[str, Option] = {
    "ENABLED": Option(True, "True, False or 'observe'", lambda value: _is_bool(value) or value == OBSERVE),
    "STORE": Option(None, "one of " + ", ".join(map(repr, STORES)), _or_none(lambda value: value in STORES)),
    "CACHE": Option("default", "an alias in CACHES", _is_text),
    "LOCATION": Option(
        None, "the path of a folder", _or_none(lambda value: isinstance(value, os.PathLike) or _is_text(value))
    ),
    "MAX_SIZE": Option(256 * 2**20, "a number of bytes, 4 MiB or more", lambda v: _is_size(v) and v >= 4 * 2**20),
    "BLACKLIST": Option((), _NAMES, _is_names),
    "ONLY": Option((), _NAMES, _is_names),
    "FOREIGN_TABLES": Option((), _NAMES, _is_names),
    "CONSISTENCY": _one_of(*CONSISTENCIES),
    "NEAR_MAX_LAG": Option(0.25, "a positive number of seconds", _is_positive),
    "ON_OUTAGE": _one_of("proceed", "refuse"),
    "STORE_TIMEOUT": Option(0.25, "a positive number of seconds", _is_positive),
    "LEASE": Option(60, "a number of seconds, 1 or more", lambda value: _is_positive(value) and value >= 1),
    "FLIGHT_WAIT": Option(5, "a number of seconds, 0 for not at all", lambda v: v == 0 or _is_positive(v)),
    "TIMEOUT": Option(None, "a positive number of seconds, or None for 'until a write'", _or_none(_is_positive)),
    "MAX_ROWS": Option(10_000, "a number of rows", _is_size),
    "MAX_BYTES": Option(2**20, "a number of bytes", _is_size),
    "COMPRESS": Option(0, "a number of bytes, 0 for never", _is_size),
    "LOCAL_SIZE": Option(32 * 2**20, "a number of bytes, 0 for none", _is_size),
    "SHARE": _one_of(*SHARES),
    "ROWS": _one_of(*ROWS),
    "ADAPTIVE": Option(True, "True or False", _is_bool),
    "PINNED": Option((), _NAMES, _is_names),
    "STATISTICS_INTERVAL": Option(10, "a number of seconds, 0 for never", lambda v: v == 0 or _is_positive(v)),
    "OUTBOX_INTERVAL": Option(2, "a number of seconds, 0 for never", lambda v: v == 0 or _is_positive(v)),
    "SHOW_PARAMETERS": Option(False, "True or False", _is_bool),
    "VERSION": Option("", "a string", lambda value: isinstance(value, str)),
    "TRANSPARENT": Option((), "a list of dotted names of packages, modules, classes or functions", _is_dotted_names),
    "IDENTITY_MAX_AGE": Option(5, "a number of seconds, 0 for at every read", lambda v: v == 0 or _is_positive(v)),
    "OUTSIDE_WRITES_INTERVAL": Option(5, "a number of seconds, 0 for never", lambda v: v == 0 or _is_positive(v)),
    "NAME": Option(None, "a string that no other database has", _or_none(_is_text)),
    "PRIMARY": Option(None, "an alias in DATABASES", _or_none(_is_text)),
    "REPLICA_FILLS": Option(False, "True or False", _is_bool),
    "SIGN": Option(False, "True or False", _is_bool),
    "VERIFY": Option(
        0, "a share of hits, from 0 to 1, or 'raise'", lambda v: v == RAISE or (_is_number(v) and 0 <= v <= 1)
    ),
    "LISTEN": Option(True, "True or False", _is_bool),
    "PURGE": Option((), "a dict or a list of dicts", lambda value: not list(problems_of_purge("", value))),
    "ENGINE": Option(None, "the dotted path of a database backend", _or_none(_is_text)),
}

#: Keys that mean nothing outside one database's own dict
PER_DATABASE = frozenset({"ENGINE", "NAME", "PRIMARY", "REPLICA_FILLS"})

#: Database alias → the generation of settings that it was read in, its own settings at that time, and its Config. Any
#: thread may fill it: two that do so at once put equal values there, or one of them puts an outdated one.
_configs: Bounded[str, tuple[int, Any, Config]] = Bounded(MOST_ALIASES)

#: The number of changes of settings, which only tests make.
changes = 0

#: The number of these and of forks: a connection compares it to see that what it knows is outdated.
generation = 0


def config_for(alias: str, settings_dict: Mapping[str, Any]) -> Config:
    """Return the settings of one database; its own ``ORMCACHE`` dict takes precedence over the project's.

    Raises ImproperlyConfigured with the text of the first problem that the system checks would report. A cache that is
    missing from ``CACHES`` does not count: its store is unavailable.
    """
    current = generation  # read before the settings are: they may change meanwhile
    known = _configs.get(alias)
    own = settings_dict.get("ORMCACHE")
    if known is not None and known[0] == current and known[1] == own:
        return known[2]
    for problem in problems(alias, settings_dict):
        if problem.number != NO_CACHE:
            raise ImproperlyConfigured(f"{problem.message} {problem.hint}")
    config = _build(_merge(settings_dict))
    _configs.put(alias, (current, copy.deepcopy(own), config))
    return config


def problems(alias: str, settings_dict: Mapping[str, Any]) -> list[Problem]:
    """Return everything that is wrong with the settings of one database, as far as the settings show."""
    found = []
    for where, given in _sources(alias, settings_dict):
        if not isinstance(given, Mapping):
            found.append(Problem(1, f"{where} must be a dict, not {given!r}.", "See the table of settings."))
            continue
        for key, value in given.items():
            found.extend(_problems_of_key(where, key, value))
    if found:
        return found
    return list(_problems_together(alias, _merge(settings_dict)))


def _problems_of_key(where: str, key: Any, value: Any) -> Iterable[Problem]:
    option = OPTIONS.get(key)
    if option is None:
        near = difflib.get_close_matches(str(key).upper(), OPTIONS, n=1)
        nearest = f"Did you mean {near[0]!r}?" if near else "Valid keys: " + ", ".join(OPTIONS) + "."
        hint = REPLACED.get(str(key).upper(), nearest)
        yield Problem(2, f"{where} has the unknown key {key!r}.", hint)
    elif where == "ORMCACHE" and key in PER_DATABASE:
        hint = "Move it into DATABASES[alias]['ORMCACHE'] of the database that it is meant for."
        yield Problem(3, f"{where}[{key!r}] belongs to one database.", hint)
    elif key == "PURGE":  # whose values may be secrets
        for message, hint in problems_of_purge(f"{where}[{key!r}]", value):
            yield Problem(8, message, hint)
    elif not option.valid(value):
        yield Problem(4, f"{where}[{key!r}] is {value!r}.", f"It must be {option.expected}.")


def _problems_together(alias: str, values: Mapping[str, Any]) -> Iterable[Problem]:
    if values["CONSISTENCY"] == "near" and values["STORE"] != "redis":
        yield Problem(
            5,
            f"The consistency level 'near' of database {alias!r} needs the store 'redis', not {values['STORE']!r}.",
            "No other store pushes changes: set STORE to 'redis', or use 'strict' or 'request'.",
        )
    if values["STORE"] in ("redis", "redis-cluster", "memcached", "django") and values["CACHE"] not in settings.CACHES:
        near = difflib.get_close_matches(values["CACHE"], settings.CACHES, n=1)
        yield Problem(
            6,
            f"The cache {values['CACHE']!r} of ORMCACHE for database {alias!r} is not in CACHES.",
            f"Did you mean {near[0]!r}?" if near else "Add it to CACHES, or name another alias in 'CACHE'.",
        )
    if values["PRIMARY"] == alias:
        yield Problem(
            7,
            f"The primary {values['PRIMARY']!r} of database {alias!r} is that database itself.",
            "Name the alias of the database that this one is a replica of, or leave PRIMARY out.",
        )
    elif values["PRIMARY"] is not None and values["PRIMARY"] not in settings.DATABASES:
        yield Problem(
            7,
            f"The primary {values['PRIMARY']!r} of database {alias!r} is not in DATABASES.",
            "Name the alias of the database that this one is a replica of.",
        )
    elif values["REPLICA_FILLS"] and values["PRIMARY"] is None:
        yield Problem(
            7,
            f"REPLICA_FILLS of database {alias!r} is True, and its primary is not named.",
            "Name the alias of the database that this one is a replica of in PRIMARY, or leave REPLICA_FILLS out.",
        )


def is_local(settings_dict: Mapping[str, Any]) -> bool:
    """Return whether these connection settings lead to this host: to a file, a socket or a loopback address.

    A loopback port can be a tunnel or a proxy to another host: what the database says of itself has the last word.
    """
    if settings_dict.get("ENGINE", "").endswith("sqlite3") or "sqlite3" in str(_own(settings_dict).get("ENGINE", "")):
        return True
    options = settings_dict.get("OPTIONS") or {}
    if "service" in options or "read_default_file" in options:
        return False  # the host is in a file that only the driver reads
    hosts = settings_dict.get("HOST") or options.get("host") or os.environ.get("PGHOST") or ""
    return all(_is_local_host(host.strip()) for host in str(hosts).split(","))


def _is_local_host(host: str) -> bool:
    if host in ("", "localhost") or host.startswith(("/", "@")):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _own(settings_dict: Mapping[str, Any]) -> Mapping[str, Any]:
    own = settings_dict.get("ORMCACHE") or {}
    return own if isinstance(own, Mapping) else {}


def _sources(alias: str, settings_dict: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    for where, given in (
        ("ORMCACHE", getattr(settings, "ORMCACHE", None)),
        (f"DATABASES[{alias!r}]['ORMCACHE']", settings_dict.get("ORMCACHE")),
    ):
        if given is not None:
            yield where, given


def _merge(settings_dict: Mapping[str, Any]) -> dict[str, Any]:
    defaults = {key: option.default for key, option in OPTIONS.items()}
    return defaults | dict(getattr(settings, "ORMCACHE", None) or {}) | dict(_own(settings_dict))


def _build(values: Mapping[str, Any]) -> Config:
    frozen = dict(values)
    frozen["BLACKLIST"] = tuple(sorted(values["BLACKLIST"]))
    frozen["ONLY"] = tuple(sorted(values["ONLY"]))
    frozen["FOREIGN_TABLES"] = tuple(sorted(values["FOREIGN_TABLES"]))
    frozen["PINNED"] = tuple(sorted(values["PINNED"]))
    frozen["TRANSPARENT"] = tuple(sorted(values["TRANSPARENT"]))
    frozen["PURGE"] = purger_settings(values["PURGE"])
    frozen["LOCATION"] = None if values["LOCATION"] is None else os.fspath(values["LOCATION"])
    return Config(**{field.name: frozen[field.name.upper()] for field in fields(Config)})


def _reload_on_change(*, setting: str, **kwargs: Any) -> None:
    """Reload the settings after ``override_settings``."""
    if setting in ("ORMCACHE", "DATABASES", "SECRET_KEY"):
        reload()


def reload() -> None:
    """Make every connection read its settings again."""
    global changes, generation
    changes += 1
    generation += 1


def _start_generation_in_child() -> None:
    """Make a forked child identify the databases behind its inherited connections again.

    Each process has its own copy of a SQLite database in memory. And what the parent knows of a database has locks,
    which a thread that the child does not have may hold.
    """
    global generation
    generation += 1


setting_changed.connect(_reload_on_change, dispatch_uid="ormcache.conf")
at_fork(after_in_child=_start_generation_in_child)
