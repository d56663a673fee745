"""Names of pages: everything about a request that decides its page, besides what the view reads of the database."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Sequence
from typing import Final
from urllib.parse import unquote_plus

from django.core.exceptions import DisallowedHost
from django.http import HttpRequest, QueryDict
from django.utils.timezone import get_current_timezone, get_default_timezone

from ormcache import reasons
from ormcache.pages.surroundings import surroundings
from ormcache.pages.visitors import PassedBy

#: Parameters with which others find out who follows which link; no view has a use for them
IGNORED: Final = ("utm_*", "gclid", "gbraid", "wbraid", "fbclid", "msclkid", "mc_cid", "mc_eid", "_ga", "_gl")


def compile_patterns(patterns: Sequence[str]) -> re.Pattern[str] | None:
    """Return a regular expression that matches the names of ignored parameters; None: there are none."""
    return re.compile("|".join(map(fnmatch.translate, patterns))) if patterns else None


def strip_query(query: str, ignored: re.Pattern[str] | None) -> str:
    """Return a query string without the ignored parameters; the others stay as they are, in their order."""
    if ignored is None or not query:
        return query
    return "&".join(part for part in query.split("&") if not ignored.match(unquote_plus(part.partition("=")[0])))


def request_name(request: HttpRequest, query: str) -> str:
    """Return a text that is equal only for requests for the same page, by whomever. Raises PassedBy.

    ``query``: the query string that counts.
    """
    try:
        host = request.get_host()
    except DisallowedHost:
        raise PassedBy(reasons.UNNAMED) from None
    around = surroundings()
    if around is None:
        raise PassedBy(reasons.UNNAMED)
    if "GET" in vars(request) and _is_query_changed(request):
        raise PassedBy(reasons.UNNAMED)
    urlconf, meta = vars(request).get("urlconf"), request.META
    if type(urlconf) not in (str, type(None)):
        urlconf = getattr(urlconf, "__name__", None)  # of a module
        if urlconf is None:
            raise PassedBy(reasons.UNNAMED)
    return repr(
        (
            request.scheme,
            host,
            # They may differ from the host, where a proxy says who was asked.
            [meta.get(key) for key in ("HTTP_HOST", "SERVER_PORT", "wsgi.url_scheme")],
            request.path,
            request.path_info,
            query,
            around,
            # Django parses it before the view.
            [request.encoding, request.content_type, request.content_params and sorted(request.content_params.items())],
            urlconf,
        )
    )


def _is_query_changed(request: HttpRequest) -> bool:
    """Return whether middleware has put other parameters on the request than its address has."""
    parse = getattr(getattr(type(request), "GET", None), "func", None)
    given = QueryDict(request.META.get("QUERY_STRING", "")) if parse is None else parse(request)
    return list(request.GET.lists()) != list(given.lists())


def is_named_by_address(request: HttpRequest) -> bool:
    """Return whether a proxy, which sees no more of a request than its address and headers, can name the page too."""
    return (
        not (request.encoding or request.content_type)
        and request.path.endswith(request.path_info)
        and get_current_timezone() == get_default_timezone()
    )
