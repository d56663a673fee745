"""Responses: which are rejected, and what those without a body have of the ones that they stand for."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.signals import request_finished
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory

from ormcache import reasons
from ormcache.cache.serializer import Unreadable
from ormcache.pages import responses


def dumped(response: HttpResponse) -> responses.Stored:
    return responses.dump(response, is_private=False, varies_on_cookie=False)


def knowing(response: HttpResponse) -> HttpRequest:
    """Return the request of a browser that has this page."""
    return RequestFactory().get("/", HTTP_IF_NONE_MATCH=response["ETag"])


def test_a_cookie_that_is_set_as_a_header() -> None:
    response = HttpResponse("Hello")
    response["Set-Cookie"] = "visitor=1"
    assert responses.rejection(response, frozenset({200})) == reasons.COOKIE


def test_an_answer_without_a_body_ends_no_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """Django closes the response that it is given, and with it what the other one had opened."""
    finished: list[Any] = []
    closed: list[str] = []
    response = HttpResponse("Hello")
    vars(response)["_resource_closers"].append(lambda: closed.append("file"))
    dumped(response)

    def note(**kwargs: Any) -> None:
        finished.append(kwargs)

    # Without the receivers of Django, which close the connections
    monkeypatch.setattr(request_finished, "receivers", [])
    request_finished.connect(note)
    request_finished.sender_receivers_cache.clear()
    try:
        short = responses.without_body(knowing(response), response)
        assert (short.status_code, finished, closed) == (304, [], [])
        short.close()
    finally:
        request_finished.disconnect(note)
        monkeypatch.undo()
        request_finished.sender_receivers_cache.clear()
    assert (len(finished), closed) == (1, ["file"])


def test_an_answer_without_a_body_has_the_notes_of_the_view() -> None:
    response: Any = HttpResponse("Hello")
    response.xframe_options_exempt = True
    stored = dumped(response)
    for short in (responses.load(knowing(response), stored), responses.without_body(knowing(response), response)):
        assert short.status_code == 304
        assert vars(short)["xframe_options_exempt"] is True


@pytest.mark.parametrize("name", ["items", "close", "has_header", "status_code", "headers", "_charset"])
def test_a_note_hides_nothing_of_the_response(name: str) -> None:
    """Somebody else may have written it."""
    response = HttpResponse("Hello")
    stored = dumped(response)
    forged = (*stored[:5], ((name, "forged"), ("note", 1)), *stored[6:])
    for request in (RequestFactory().get("/"), knowing(response)):
        loaded = responses.load(request, forged)
        assert vars(loaded).get(name) != "forged"
        assert vars(loaded)["note"] == 1


def test_what_is_no_note_is_no_page() -> None:
    stored = dumped(HttpResponse("Hello"))
    for name in (1, None, b"note", ("note",), ["note"]):
        with pytest.raises(Unreadable):
            responses.load(RequestFactory().get("/"), (*stored[:5], ((name, "forged"),), *stored[6:]))


def test_a_charset_that_is_not_in_the_headers() -> None:
    """By which middleware reads the text of the response."""
    response = HttpResponse("é", content_type="text/html", charset="latin-1")
    loaded = responses.load(RequestFactory().get("/"), dumped(response))
    assert (loaded.charset, loaded.text) == ("latin-1", "é")
    assert loaded["Content-Type"] == "text/html"
    response = HttpResponse("é", content_type="text/html; charset=latin-1")
    assert responses.load(RequestFactory().get("/"), dumped(response)).charset == "latin-1"


def test_a_response_without_a_type_has_none_afterwards() -> None:
    response = HttpResponse("x")
    del response["Content-Type"]
    assert "Content-Type" not in responses.load(RequestFactory().get("/"), dumped(response))


def test_a_length_that_is_stored_is_that_of_the_content() -> None:
    """What a view has set, or middleware before a template was rendered, need not be."""
    right, wrong, none = HttpResponse("Hello"), HttpResponse("Hello"), HttpResponse("Hello")
    right["Content-Length"], wrong["Content-Length"] = "5", "1"
    for response, length in ((right, "5"), (wrong, "5"), (none, None)):
        loaded = responses.load(RequestFactory().get("/"), dumped(response))
        assert (loaded.get("Content-Length"), response.get("Content-Length")) == (length, length)


def test_what_an_answer_without_a_body_has_of_the_page() -> None:
    """RFC 9110, 15.4.5: what says how the page may be used, and nothing of its content."""
    shown = {"Content-Location": "/x/", "Date": "now", "Expires": "never", "Last-Modified": "then", "Vary": "Accept"}
    response = HttpResponse(
        "x", headers={**shown, "Cache-Control": "max-age=5", "Content-Type": "text/plain", "X": "x"}
    )
    stored = dumped(response)
    for short in (responses.load(knowing(response), stored), responses.without_body(knowing(response), response)):
        assert dict(short.headers) == {**shown, "Cache-Control": "max-age=5", "ETag": response["ETag"]}


@pytest.mark.parametrize(
    "control", ["Private", "max-age=5, NO-STORE", 'private="X-Cart"', "no-cache=Set-Cookie, public"]
)
def test_directives_in_any_case_and_with_values(control: str) -> None:
    response = HttpResponse("x", headers={"Cache-Control": control})
    assert responses.rejection(response, frozenset({200})) == reasons.PRIVATE


def test_what_differs_in_more_than_its_content_has_another_tag() -> None:
    pages = [
        HttpResponse("x"),
        HttpResponse("x", status=404),
        HttpResponse("x", content_type="text/plain"),
        HttpResponse("x", headers={"Content-Location": "/x/"}),
    ]
    assert len({dumped(page)[2] for page in pages}) == len(pages)


def test_only_a_success_is_something_that_a_browser_knows() -> None:
    response = HttpResponse("x")
    dumped(response)
    known = [responses.is_known(knowing(response), status, response["ETag"]) for status in (200, 404, 301)]
    assert known == [True, False, False]
