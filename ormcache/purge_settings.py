"""The setting ``PURGE``: CDNs and reverse proxies that hold pages, to be purged when what pages show is written.

:mod:`ormcache.conf` reads it with all other settings. Values are never shown, because some of them are secrets.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

#: BACKEND → the keys that it needs
_NEEDED: dict[str, tuple[str, ...]] = {
    "varnish": ("LOCATION",),
    "fastly": ("SERVICE", "TOKEN"),
    "cloudflare": ("ZONE", "TOKEN"),
}


@dataclass(frozen=True, slots=True)
class PurgerSettings:
    """One dict of ``PURGE``. Field names are its keys in lower case."""

    backend: str  # "varnish", "fastly", "cloudflare", or the dotted path of a class
    location: str | None = None  # a URL; None: the address of the API as it is documented
    service: str = ""  # of Fastly
    zone: str = ""  # of Cloudflare
    token: str = field(default="", repr=False)
    soft: bool = False  # are purged pages only outdated, so that one may be served once more while it is fetched?
    timeout: float = 2.0  # seconds, to connect and to read
    repeat_after: float = 1.0  # seconds; 0: never
    s_maxage: int | None = None  # seconds; None: pages say how long, and other pages are not held
    stale_while_revalidate: int | None = None  # seconds; None: pages say how long
    options: tuple[tuple[str, Any], ...] = field(default=(), repr=False)  # of a class of the project's own

    @property
    def name(self) -> str:
        """What this is, for people: without secrets."""
        where = self.service or self.zone or (_without_password(self.location) if self.location else "")
        return f"{self.backend} {where}".strip()


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _is_token(value: Any) -> bool:
    return _is_text(value) and value.isascii() and value.isprintable()  # or it would be no header


def _is_name(value: Any) -> bool:
    return _is_text(value) and value.replace("-", "").replace("_", "").isalnum()


def _is_url(value: Any) -> bool:
    if not _is_text(value):
        return False
    try:
        parts = urlsplit(value)
        _ = parts.port
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def _is_seconds(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < float("inf")


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and _is_seconds(value)


def _is_options(value: Any) -> bool:
    return isinstance(value, Mapping) and all(
        isinstance(key, str) and isinstance(item, (str, int, float, bool, type(None))) for key, item in value.items()
    )


_KEYS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "BACKEND": ("'varnish', 'fastly', 'cloudflare', or the dotted path of a class", _is_text),
    "LOCATION": ("a URL that begins with http:// or https://", _is_url),
    "SERVICE": ("the id of a service", _is_name),
    "ZONE": ("the id of a zone", _is_name),
    "TOKEN": ("a string of printable ASCII characters", _is_token),
    "SOFT": ("True or False", lambda value: isinstance(value, bool)),
    "TIMEOUT": ("a positive number of seconds", lambda value: _is_seconds(value) and value > 0),
    "REPEAT_AFTER": ("a number of seconds, 0 for never", _is_seconds),
    "S_MAXAGE": ("a whole number of seconds", _is_whole),
    "STALE_WHILE_REVALIDATE": ("a whole number of seconds", _is_whole),
    "OPTIONS": ("a dict of strings and numbers by name", _is_options),
}


def problems_of_purge(where: str, value: Any) -> Iterator[tuple[str, str]]:
    """Yield everything that is wrong with a value of ``PURGE``: a sentence, and what to do."""
    if value is None:
        return
    given = [value] if isinstance(value, Mapping) else value
    if not isinstance(given, (list, tuple)):
        yield f"{where} is neither a dict nor a list of dicts.", "Give one dict for each CDN or reverse proxy."
        return
    for number, one in enumerate(given):
        yield from _problems_of_one(where if isinstance(value, Mapping) else f"{where}[{number}]", one)


def _problems_of_one(where: str, one: Any) -> Iterator[tuple[str, str]]:
    if not isinstance(one, Mapping):
        yield f"{where} is not a dict.", "Give one dict for each CDN or reverse proxy."
        return
    for key, value in one.items():
        if key not in _KEYS:
            near = difflib.get_close_matches(str(key).upper(), _KEYS, n=1)
            hint = f"Did you mean {near[0]!r}?" if near else "Valid keys: " + ", ".join(_KEYS) + "."
            yield f"{where} has the unknown key {key!r}.", hint
        elif not _KEYS[key][1](value):
            yield f"{where}[{key!r}] is not valid.", f"It must be {_KEYS[key][0]}."
    backend = one.get("BACKEND")
    if "BACKEND" not in one:
        yield f"{where} has no 'BACKEND'.", f"Name {_KEYS['BACKEND'][0]}."
    elif isinstance(backend, str) and backend:
        if backend not in _NEEDED and "." not in backend:
            near = difflib.get_close_matches(backend.lower(), _NEEDED, n=1)
            yield (
                f"{where}['BACKEND'] is {backend!r}.",
                f"Did you mean {near[0]!r}?" if near else f"It must be {_KEYS['BACKEND'][0]}.",
            )
        for key in _NEEDED.get(backend, ()):
            if key not in one:
                yield f"{where} has no {key!r}, which {backend!r} needs.", f"It must be {_KEYS[key][0]}."


def purger_settings(value: Any) -> tuple[PurgerSettings, ...]:
    """Return the settings in a valid value of ``PURGE``."""
    given = [value] if isinstance(value, Mapping) else value or ()
    return tuple(
        PurgerSettings(
            **{key.lower(): item for key, item in one.items() if key != "OPTIONS"},
            options=tuple(sorted(one.get("OPTIONS", {}).items())),
        )
        for one in given
    )


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
