"""What purgers send, against a server that takes notes: the formats are those that the APIs are documented with."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from ormcache.purge_settings import PurgerSettings
from ormcache.purging.purgers import PurgeFailed, make_purger
from tests.servers import free_port


class Api(ThreadingHTTPServer):
    """Answers every request alike."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[tuple[str, str, Any, bytes]] = []
        self.status, self.body, self.headers = 200, b'{"success": true}', {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Api

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.requests.append((self.command, self.path, self.headers, body))
        self.send_response(self.server.status)
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(self.server.body)))
        self.end_headers()
        self.wfile.write(self.server.body)

    do_GET = do_POST = do_PURGE = answer  # noqa: N815 - names of http.server

    def log_message(self, *args: Any) -> None:
        """Nothing."""


@pytest.fixture
def api() -> Iterator[Api]:
    with Api() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


def test_varnish(api: Api) -> None:
    make_purger(PurgerSettings("varnish", location=f"{api.url}/")).purge(["a", "b"])
    make_purger(PurgerSettings("varnish", location=api.url, soft=True, token="secret")).purge(["c"])

    (method, path, hard, _), (_, _, soft, _) = api.requests
    assert (method, path, hard["xkey-purge"], hard["xkey-softpurge"]) == ("PURGE", "/", "a b", None)
    assert hard["Authorization"] is None
    assert (soft["xkey-purge"], soft["xkey-softpurge"], soft["Authorization"]) == (None, "c", "Bearer secret")


def test_fastly(api: Api) -> None:
    api.body = b'{"a": "108-1391560174-974124"}'
    settings = PurgerSettings("fastly", location=api.url, service="SU1Z0isxPaozGVKXdv0eY", token="secret")
    make_purger(settings).purge(["a", "b"])

    ((method, path, headers, body),) = api.requests
    assert (method, path) == ("POST", "/service/SU1Z0isxPaozGVKXdv0eY/purge")
    assert (headers["Fastly-Key"], headers["Accept"], headers["Fastly-Soft-Purge"]) == (
        "secret",
        "application/json",
        None,
    )
    assert headers["Content-Type"] == "application/json"
    assert json.loads(body) == {"surrogate_keys": ["a", "b"]}


def test_fastly_softly(api: Api) -> None:
    make_purger(PurgerSettings("fastly", location=api.url, service="s", token="t", soft=True)).purge(["a"])

    assert api.requests[0][2]["Fastly-Soft-Purge"] == "1"


def test_cloudflare(api: Api) -> None:
    settings = PurgerSettings("cloudflare", location=f"{api.url}/client/v4", zone="023e105f", token="secret")
    make_purger(settings).purge(["a", "b"])

    ((method, path, headers, body),) = api.requests
    assert (method, path) == ("POST", "/client/v4/zones/023e105f/purge_cache")
    assert (headers["Authorization"], headers["Content-Type"]) == ("Bearer secret", "application/json")
    assert json.loads(body) == {"tags": ["a", "b"]}


@pytest.mark.parametrize("backend, most", [("varnish", 500), ("fastly", 256), ("cloudflare", 100)])
def test_no_request_has_more_tags_than_it_may(api: Api, backend: str, most: int) -> None:
    tags = [f"tag{number:05}" for number in range(2 * most + 1)]
    make_purger(PurgerSettings(backend, location=api.url, service="s", zone="z", token="t")).purge(tags)

    sent = [
        headers["xkey-purge"].split() if backend == "varnish" else next(iter(json.loads(body).values()))
        for _, _, headers, body in api.requests
    ]
    assert [len(some) for some in sent] == [most, most, 1]
    assert [tag for some in sent for tag in some] == tags


@pytest.mark.parametrize("backend", ["varnish", "fastly", "cloudflare"])
@pytest.mark.parametrize("status", [301, 302, 400, 401, 403, 404, 429, 500, 503])
def test_any_answer_but_a_success_is_a_failure(api: Api, backend: str, status: int) -> None:
    api.status, api.headers = status, {"Location": f"{api.url}/elsewhere"}
    purger = make_purger(PurgerSettings(backend, location=api.url, service="s", zone="z", token="top-secret"))

    with pytest.raises(PurgeFailed, match=str(status)) as caught:
        purger.purge(["a"])

    assert "top-secret" not in str(caught.value)
    assert len(api.requests) == 1, "a redirect is not followed"


@pytest.mark.parametrize("body", [b'{"success": false, "errors": []}', b"", b"[]", b"<html>"])
def test_cloudflare_says_whether_it_has_succeeded(api: Api, body: bytes) -> None:
    api.body = body
    with pytest.raises(PurgeFailed):
        make_purger(PurgerSettings("cloudflare", location=api.url, zone="z", token="t")).purge(["a"])


@pytest.mark.parametrize("backend", ["varnish", "fastly", "cloudflare"])
def test_nobody_there(backend: str) -> None:
    location = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(PurgeFailed, match="refused"):
        make_purger(PurgerSettings(backend, location=location, service="s", zone="z", token="t")).purge(["a"])


def test_varnish_is_not_asked_through_a_proxy(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")

    make_purger(PurgerSettings("varnish", location=api.url)).purge(["a"])

    assert len(api.requests) == 1


def test_a_class_of_ones_own() -> None:
    settings = PurgerSettings(f"{__name__}.Own", options=(("zone", "z"),))

    assert make_purger(settings).settings is settings  # type: ignore[attr-defined]


class Own:
    header, separator = "CDN-Tag", ","

    def __init__(self, settings: PurgerSettings) -> None:
        self.settings = settings

    def purge(self, tags: list[str]) -> None:
        raise NotImplementedError
