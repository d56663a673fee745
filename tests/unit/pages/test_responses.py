"""Responses: which are rejected, and what those without a body have of the ones that they stand for."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.signals import request_finished
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory

from ormcache import reasons
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
    forged = (*dumped(response)[:5], ((name, "forged"), ("note", 1)))
    for request in (RequestFactory().get("/"), knowing(response)):
        loaded = responses.load(request, forged)
        assert vars(loaded).get(name) != "forged"
        assert vars(loaded)["note"] == 1


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
