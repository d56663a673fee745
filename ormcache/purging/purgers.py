"""Purgers: each asks one CDN or reverse proxy to drop the pages that have one of some tags.

A purger of a project's own is a class with the same three things: ``header`` and ``separator``, how a response carries
its tags, and ``purge(tags)``, which raises if the pages may still be there. ``control``, which it need not have, names
a header that it obeys in place of ``Cache-Control``. It is named by its dotted path, and made with the
:class:`~ormcache.purge_settings.PurgerSettings` of its dict.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from http.client import HTTPException
from typing import Any, ClassVar, Protocol
from urllib.parse import quote

from django.utils.module_loading import import_string

from ormcache.purge_settings import PurgerSettings

#: BACKEND → dotted path of the class
_BACKENDS = {
    "varnish": "ormcache.purging.purgers.VarnishPurger",
    "fastly": "ormcache.purging.purgers.FastlyPurger",
    "cloudflare": "ormcache.purging.purgers.CloudflarePurger",
}

#: Bytes of an answer that are read: it is for the log
_MOST_READ = 64 * 1024


class PurgeFailed(Exception):
    """Raised by a purger where pages may still be there."""


class Purger(Protocol):
    """Asks one CDN or reverse proxy to drop pages. Any thread may call its methods."""

    #: the header of responses that has their tags, and what separates them there
    header: str
    separator: str

    def purge(self, tags: Sequence[str]) -> None:
        """Drop the pages that have one of these tags. Raises any exception if they may still be there."""


def make_purger(settings: PurgerSettings) -> Purger:
    """Return the purger of these settings. Raises ImportError, and what its class raises."""
    purger: Purger = purger_class(settings)(settings)
    return purger


def purger_class(settings: PurgerSettings) -> Any:
    """Return the class of the purger of these settings. Raises ImportError."""
    return import_string(_BACKENDS.get(settings.backend, settings.backend))


class VarnishPurger:
    """Varnish with the module xkey, by the VCL that the documentation has."""

    header: ClassVar[str] = "xkey"
    separator: ClassVar[str] = " "
    #: tags in one request: a line of a header has 8 KB at most, as Varnish is set by default
    most: ClassVar[int] = 500

    def __init__(self, settings: PurgerSettings) -> None:
        self._settings = settings
        self._header = "xkey-softpurge" if settings.soft else "xkey-purge"
        # Varnish is close by: what stands in HTTP_PROXY is for the world outside.
        self._opener = urllib.request.build_opener(_NoRedirect, urllib.request.ProxyHandler({}))

    def purge(self, tags: Sequence[str]) -> None:
        headers = {"Authorization": f"Bearer {self._settings.token}"} if self._settings.token else {}
        for some in _pieces(tags, self.most):
            given = headers | {self._header: " ".join(some)}
            _ask(self._opener, "PURGE", self._settings.location or "", given, None, self._settings.timeout)


class FastlyPurger:
    """Fastly, by the surrogate keys of one service."""

    header: ClassVar[str] = "Surrogate-Key"
    separator: ClassVar[str] = " "
    control: ClassVar[str] = "Surrogate-Control"
    #: keys in one request: a limit of Fastly's API
    most: ClassVar[int] = 256

    def __init__(self, settings: PurgerSettings) -> None:
        self._settings = settings
        location = settings.location or "https://api.fastly.com"
        self._url = f"{location.rstrip('/')}/service/{quote(settings.service, safe='')}/purge"
        self._opener = urllib.request.build_opener(_NoRedirect)

    def purge(self, tags: Sequence[str]) -> None:
        headers = {"Fastly-Key": self._settings.token, "Accept": "application/json"}
        if self._settings.soft:
            headers["Fastly-Soft-Purge"] = "1"
        for some in _pieces(tags, self.most):
            body = json.dumps({"surrogate_keys": list(some)}).encode()
            given = headers | {"Content-Type": "application/json"}
            _ask(self._opener, "POST", self._url, given, body, self._settings.timeout)


class CloudflarePurger:
    """Cloudflare, by the cache tags of one zone."""

    header: ClassVar[str] = "Cache-Tag"
    separator: ClassVar[str] = ","
    control: ClassVar[str] = "CDN-Cache-Control"
    #: tags in one request: a limit of Cloudflare's API
    most: ClassVar[int] = 100

    def __init__(self, settings: PurgerSettings) -> None:
        self._settings = settings
        location = settings.location or "https://api.cloudflare.com/client/v4"
        self._url = f"{location.rstrip('/')}/zones/{quote(settings.zone, safe='')}/purge_cache"
        self._opener = urllib.request.build_opener(_NoRedirect)

    def purge(self, tags: Sequence[str]) -> None:
        headers = {"Authorization": f"Bearer {self._settings.token}", "Content-Type": "application/json"}
        for some in _pieces(tags, self.most):
            body = json.dumps({"tags": list(some)}).encode()
            answer = _ask(self._opener, "POST", self._url, headers, body, self._settings.timeout)
            try:
                succeeded = json.loads(answer)["success"] is True
            except (LookupError, TypeError, ValueError):
                succeeded = False
            if not succeeded:
                raise PurgeFailed("the answer does not say that it has succeeded")


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A purge that is sent elsewhere, as another method, purges nothing."""

    def redirect_request(self, *args: Any) -> None:
        return None


def _pieces(tags: Sequence[str], most: int) -> Iterator[Sequence[str]]:
    return (tags[begin : begin + most] for begin in range(0, len(tags), most))


def _ask(
    opener: urllib.request.OpenerDirector,
    method: str,
    url: str,
    headers: Mapping[str, str],
    body: bytes | None,
    timeout: float,
) -> bytes:
    """Send a request, and return the body of the answer. Raises PurgeFailed for any but a success.

    The exception names no header: some are secrets.
    """
    # The settings have a URL of HTTP or HTTPS, or none is valid.
    request = urllib.request.Request(url, data=body, headers=dict(headers), method=method)  # noqa: S310
    try:
        with opener.open(request, timeout=timeout) as answer:
            content: bytes = answer.read(_MOST_READ)
            if answer.status not in (200, 202, 204):
                raise PurgeFailed(f"HTTP {answer.status}")
            return content
    except urllib.error.HTTPError as error:
        with error:
            raise PurgeFailed(f"HTTP {error.code} {error.reason}") from None
    except (OSError, HTTPException, ValueError) as error:
        raise PurgeFailed(f"{type(error).__name__}: {getattr(error, 'reason', error)}") from error
