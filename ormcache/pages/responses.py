"""Responses: which may be stored, as what, and how they are made of it again."""

from __future__ import annotations

from typing import Any, Final, cast

from django.http import HttpRequest, HttpResponse, HttpResponseNotModified
from django.http.response import HttpResponseBase
from django.utils.cache import has_vary_header, patch_vary_headers
from django.utils.http import parse_etags, quote_etag

from ormcache import reasons
from ormcache.cache.keys import digest
from ormcache.cache.serializer import Unreadable

#: How browsers are to use a page: they may have it, and ask each time whether it is still the one
REVALIDATED: Final = "max-age=0, must-revalidate"

#: Directives of Cache-Control that forbid to show a response to others, or later
_NOT_STORED = frozenset({"private", "no-store", "no-cache"})

#: Headers that an answer without a body has of the one that it stands for; RFC 9110, 15.4.5
_OF_NOT_MODIFIED = frozenset({"cache-control", "content-location", "date", "etag", "expires", "last-modified", "vary"})
#: Headers by which nobody can see that the page is another one
_NOT_IN_ETAG = _OF_NOT_MODIFIED - {"content-location", "vary"}

#: Attributes that responses have by themselves: of Django, TemplateResponse, and Django REST framework. All others are
#: notes that views leave on them for middleware, such as ``xframe_options_exempt``
_OWN = frozenset(vars(HttpResponse(content_type="text/html; charset=utf-8"))) | {  # without the settings
    *("status_code", "_reason_phrase", "_charset", "wsgi_request"),
    *("template_name", "context_data", "using", "_post_render_callbacks", "_request", "_is_rendered"),
    *("data", "exception", "content_type", "accepted_renderer", "accepted_media_type", "renderer_context"),
}

#: Status, reason phrase, ETag, headers, content, notes, and the charset if it was given apart from the headers
Stored = tuple[int, str | None, str, tuple[tuple[str, str], ...], bytes, tuple[tuple[str, Any], ...], str | None]


def needs_rendering(response: Any) -> bool:
    """Return whether a response is yet to be rendered: a TemplateResponse, or one of Django REST framework."""
    return callable(getattr(response, "render", None)) and not getattr(response, "is_rendered", True)


def prepare(response: Any, given: Any) -> bool:
    """Return whether a response is to be rendered now, as for one of Django REST framework by its renderer.

    ``given``: the request as the view is given it. The framework chooses the renderer around the handlers of its views,
    so for a decorator of such a handler that is not done yet.
    """
    if not needs_rendering(response):
        return False
    if not hasattr(response, "data") or hasattr(response, "accepted_renderer"):
        return True
    view = getattr(given, "parser_context", {}).get("view")
    renderer = getattr(given, "accepted_renderer", None)
    if view is None or renderer is None:
        return False
    vars(response).update(
        accepted_renderer=renderer,
        accepted_media_type=given.accepted_media_type,
        renderer_context=view.get_renderer_context(),
    )
    return True


def rejection(response: Any, statuses: frozenset[int]) -> str | None:
    """Return why a response cannot be stored for others, whatever it was made of; or None."""
    if not isinstance(response, HttpResponseBase) or response.status_code not in statuses:
        return reasons.STATUS
    if response.streaming or not isinstance(response, HttpResponse):
        return reasons.STREAMING
    if needs_rendering(response):
        return reasons.NOT_RENDERED
    if response.cookies or "Set-Cookie" in response:
        return reasons.COOKIE
    directives = response.get("Cache-Control", "").lower().split(",")
    if not _NOT_STORED.isdisjoint(directive.partition("=")[0].strip() for directive in directives):
        return reasons.PRIVATE
    if has_vary_header(response, "*"):
        return reasons.VARY
    return None


def varied_headers(response: HttpResponseBase) -> set[str]:
    """Return the keys in ``request.META`` of the headers that ``Vary`` names."""
    names = response.get("Vary", "").split(",")
    return {"HTTP_" + name.strip().upper().replace("-", "_") for name in names if name.strip()}


def dump(response: HttpResponse, *, is_private: bool, varies_on_cookie: bool) -> Stored:
    """Return what is to be stored of a response, after adding headers to it that say how browsers may use it.

    ``is_private``: it is not for everybody. ``varies_on_cookie``: it might be another one for another visitor.
    """
    if varies_on_cookie:
        patch_vary_headers(response, ("Cookie",))
    if "Cache-Control" not in response and "Expires" not in response:
        response["Cache-Control"] = f"private, {REVALIDATED}" if is_private else REVALIDATED
    content = bytes(response.content)
    if "Content-Length" in response:
        response["Content-Length"] = str(len(content))
    if "ETag" not in response:
        shown = sorted((name.lower(), value) for name, value in response.items() if name.lower() not in _NOT_IN_ETAG)
        response["ETag"] = quote_etag(digest(b"page", repr((response.status_code, shown)).encode(), content).hex())
    headers = tuple((str(name), str(value)) for name, value in response.items())
    notes = _notes_of(response)
    reason, charset = _text_of(response, "_reason_phrase"), _text_of(response, "_charset")
    return response.status_code, reason, response["ETag"], headers, content, notes, charset


def load(request: HttpRequest, stored: Any) -> HttpResponse:
    """Return the response to a request for which this is stored. Raises Unreadable.

    It is one without a body where the browser already has the page.
    """
    if type(stored) is not tuple or len(stored) != 7 or type(stored[2]) is not str or type(stored[3]) is not tuple:
        raise Unreadable("no page")
    status, reason, etag, headers, content, notes, charset = stored
    if type(charset) not in (str, type(None)):
        raise Unreadable("no charset")
    try:
        if is_known(request, status, etag):
            return _not_modified(headers, notes)
        own = dict(headers)
        response = HttpResponse(content, status=status, reason=reason, charset=charset, headers=own)
        if "Content-Type" not in own and not any(name.lower() == "content-type" for name in own):
            del response["Content-Type"]
        _leave_notes(response, notes)
    except (TypeError, ValueError, AttributeError) as error:
        raise Unreadable(repr(error)) from error
    return response


def is_known(request: HttpRequest, status: int, etag: str) -> bool:
    """Return whether the browser says that it has the page of this ETag, so that it need not be sent."""
    known = request.META.get("HTTP_IF_NONE_MATCH")
    if known is None or not 200 <= status < 300:
        return False
    if known == etag:
        return True  # as browsers send it
    etags = parse_etags(known)
    # The comparison is a weak one: a proxy or GZipMiddleware may have compressed what the browser has.
    return etags == ["*"] or etag.removeprefix("W/") in [one.removeprefix("W/") for one in etags]


def without_body(request: HttpRequest, response: HttpResponse) -> HttpResponse:
    """Return a response that has been dumped, or one without a body if the browser already has the page."""
    if not is_known(request, response.status_code, response["ETag"]):
        return response
    short: Any = _not_modified(response.items(), _notes_of(response))
    # Closing the response now would end the request in the middle: Django closes the short one at its end.
    short._resource_closers.extend(vars(response)["_resource_closers"])
    return cast("HttpResponse", short)


def _not_modified(headers: Any, notes: Any) -> HttpResponse:
    own = {name: value for name, value in headers if name.lower() in _OF_NOT_MODIFIED}
    # Django takes the type of the content away again, and without one it would have to find it.
    response = HttpResponseNotModified(headers={"Content-Type": "", **own})
    _leave_notes(response, notes)
    return response


def _text_of(response: HttpResponse, name: str) -> str | None:
    value = vars(response).get(name)
    return None if value is None else str(value)


def _notes_of(response: HttpResponse) -> tuple[tuple[str, Any], ...]:
    return tuple((name, value) for name, value in vars(response).items() if name not in _OWN)


def _leave_notes(response: HttpResponse, notes: Any) -> None:
    """Set notes on a response: none that would hide what it has, as those that somebody else has written might."""
    for name, value in notes:
        if name not in _OWN and not hasattr(HttpResponse, name):
            vars(response)[name] = value
