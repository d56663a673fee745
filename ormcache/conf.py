"""The setting ``ORMCACHE``: read once per database, validated in one place, frozen.

:data:`OPTIONS` is the whole table: name, default, and what a value must be. :func:`problems` says what is wrong with a
setting (the system checks print it) and :func:`config_for` refuses to work with it: a process that guessed at
its settings could miss the writes that other processes rely on.
"""

from __future__ import annotations

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

STORES = ("embedded", "redis", "memcached", "django")
CONSISTENCIES = ("strict", "request", "near")
SHARES = ("auto", "always")


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a setting: the number of its system check, a sentence and what to do."""

    number: int
    message: str
    hint: str


@dataclass(frozen=True, slots=True)
class Config:
    """The settings of one database. Field names are the keys of ``ORMCACHE`` in lower case."""

    enabled: bool
    store: str | None  # None: not named, to be derived from where the database is
    cache: str
    location: str | None  # None: a folder of this user, see ormcache.stores.embedded
    max_size: int  # bytes
    blacklist: tuple[str, ...]
    only: tuple[str, ...]
    foreign_tables: tuple[str, ...]
    consistency: str
    near_max_lag: float  # seconds
    on_outage: str
    store_timeout: float  # seconds, to connect and to read
    lease: float  # seconds
    flight_wait: float  # seconds; 0: nobody waits for another's execution
    timeout: float | None  # seconds; None: until a write
    max_rows: int
    max_bytes: int
    compress: int  # bytes from which on results are; 0: never
    local_size: int  # bytes; 0: none
    share: str
    adaptive: bool
    pinned: tuple[str, ...]
    figures_interval: float  # seconds; 0: this process's figures are told to nobody
    show_parameters: bool
    version: str
    name: str | None  # None: what the database tells of itself
    primary: str | None
    sign: bool
    shadow: bool
    engine: str | None

    @property
    def scope(self) -> bytes:
        """A digest of what decides which results may be cached; part of every entry's name.

        A table that leaves the blacklist must not revive the entries from before it went in.
        """
        decisive = repr((self.version, sorted(self.blacklist), sorted(self.only), sorted(self.foreign_tables)))
        return hashlib.blake2b(decisive.encode(), digest_size=16).digest()


@dataclass(frozen=True, slots=True)
class Option:
    default: Any
    expected: str
    valid: Callable[[Any], bool]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_names(value: Any) -> bool:
    return isinstance(value, (list, tuple, set, frozenset)) and all(isinstance(name, str) and name for name in value)


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
    "ENABLED": Option(True, "True or False", _is_bool),
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
    "ADAPTIVE": Option(True, "True or False", _is_bool),
    "PINNED": Option((), _NAMES, _is_names),
    "FIGURES_INTERVAL": Option(10, "a number of seconds, 0 for never", lambda v: v == 0 or _is_positive(v)),
    "SHOW_PARAMETERS": Option(False, "True or False", _is_bool),
    "VERSION": Option("", "a string", lambda value: isinstance(value, str)),
    "NAME": Option(None, "a string that no other database has", _or_none(_is_text)),
    "PRIMARY": Option(None, "an alias in DATABASES", _or_none(_is_text)),
    "SIGN": Option(False, "True or False", _is_bool),
    "SHADOW": Option(False, "True or False", _is_bool),
    "ENGINE": Option(None, "the dotted path of a database backend", _or_none(_is_text)),
}

#: Keys that mean nothing outside one database's own dict
PER_DATABASE = frozenset({"ENGINE", "NAME", "PRIMARY"})

#: Database alias → the generation of settings that it was read in, and its Config. Any thread may fill it: two that do
#: so at once put equal values there, or one of them puts what nobody takes any more.
_configs: dict[str, tuple[int, Config]] = {}

#: Counts the changes of settings, as only tests make them.
changes = 0

#: Counts those and forks, so that a connection can tell with one comparison that what it knows is out of date.
generation = 0


def config_for(alias: str, settings_dict: Mapping[str, Any]) -> Config:
    """The settings of one database; its own ``ORMCACHE`` dict goes before the project's.

    Raises ImproperlyConfigured with the text of the first problem that the system checks would name.
    """
    current = generation  # read before the settings are: they may change meanwhile
    known = _configs.get(alias)
    if known is not None and known[0] == current:
        return known[1]
    for problem in problems(alias, settings_dict):
        raise ImproperlyConfigured(f"{problem.message} {problem.hint}")
    config = _build(_merged(settings_dict))
    _configs[alias] = (current, config)
    return config


def problems(alias: str, settings_dict: Mapping[str, Any]) -> list[Problem]:
    """Everything that is wrong with the settings of one database, judged from the settings alone."""
    found = []
    for where, given in _sources(alias, settings_dict):
        if not isinstance(given, Mapping):
            found.append(Problem(1, f"{where} must be a dict, not {given!r}.", "See the table of settings."))
            continue
        for key, value in given.items():
            found.extend(_problems_of_key(where, key, value))
    if found:
        return found
    return list(_problems_together(alias, _merged(settings_dict)))


def _problems_of_key(where: str, key: Any, value: Any) -> Iterable[Problem]:
    option = OPTIONS.get(key)
    if option is None:
        near = difflib.get_close_matches(str(key).upper(), OPTIONS, n=1)
        hint = f"Did you mean {near[0]!r}?" if near else "Valid keys: " + ", ".join(OPTIONS) + "."
        yield Problem(2, f"{where} has the unknown key {key!r}.", hint)
    elif where == "ORMCACHE" and key in PER_DATABASE:
        hint = "Move it into DATABASES[alias]['ORMCACHE'] of the database that it is meant for."
        yield Problem(3, f"{where}[{key!r}] belongs to one database.", hint)
    elif not option.valid(value):
        yield Problem(4, f"{where}[{key!r}] is {value!r}.", f"It must be {option.expected}.")


def _problems_together(alias: str, values: Mapping[str, Any]) -> Iterable[Problem]:
    if values["CONSISTENCY"] == "near" and values["STORE"] != "redis":
        yield Problem(
            5,
            f"The consistency level 'near' of database {alias!r} needs the store 'redis', not {values['STORE']!r}.",
            "No other store tells of changes by itself: set STORE to 'redis', or use 'strict' or 'request'.",
        )
    if values["STORE"] in ("redis", "memcached", "django") and values["CACHE"] not in settings.CACHES:
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


def is_local(settings_dict: Mapping[str, Any]) -> bool:
    """Whether these connection settings lead to a database on this host: a file, a socket or loopback.

    A loopback port can be a tunnel or a proxy to elsewhere: what the database says of itself has the last word.
    """
    if settings_dict.get("ENGINE", "").endswith("sqlite3") or "sqlite3" in str(_own(settings_dict).get("ENGINE", "")):
        return True
    options = settings_dict.get("OPTIONS") or {}
    if "service" in options or "read_default_file" in options:
        return False  # the host stands in a file that only the driver reads
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


def _merged(settings_dict: Mapping[str, Any]) -> dict[str, Any]:
    defaults = {key: option.default for key, option in OPTIONS.items()}
    return defaults | dict(getattr(settings, "ORMCACHE", None) or {}) | dict(_own(settings_dict))


def _build(values: Mapping[str, Any]) -> Config:
    frozen = dict(values)
    frozen["BLACKLIST"] = tuple(sorted(values["BLACKLIST"]))
    frozen["ONLY"] = tuple(sorted(values["ONLY"]))
    frozen["FOREIGN_TABLES"] = tuple(sorted(values["FOREIGN_TABLES"]))
    frozen["PINNED"] = tuple(sorted(values["PINNED"]))
    frozen["LOCATION"] = None if values["LOCATION"] is None else os.fspath(values["LOCATION"])
    return Config(**{field.name: frozen[field.name.upper()] for field in fields(Config)})


def _forget(*, setting: str, **kwargs: Any) -> None:
    """Follow ``override_settings``."""
    if setting in ("ORMCACHE", "CACHES", "DATABASES", "SECRET_KEY"):
        begin_anew()


def begin_anew() -> None:
    """Every connection reads its settings anew."""
    global changes, generation
    changes += 1
    generation += 1


def _begin_in_child() -> None:
    """A forked child asks anew what is behind the connections that it has inherited.

    Each process has its own copy of a SQLite database in memory. And what the parent knows of a database has locks,
    which a thread may have held that the child does not have.
    """
    global generation
    generation += 1


setting_changed.connect(_forget, dispatch_uid="ormcache.conf")
os.register_at_fork(after_in_child=_begin_in_child)
