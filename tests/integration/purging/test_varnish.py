"""A real Varnish in front of a real site: it holds pages, and is purged of what is written.

The site has a process of its own, and so have those that write. Each page says how often its process has made one:
what Varnish answers by itself has the number of before.
"""

from __future__ import annotations

import contextlib
import re
import socket
import socketserver
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.projects.running import Library
from tests.servers import Server, free_port
from tests.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.any_engine]

PAGE = Path(__file__).parents[3] / "docs" / "cdn.md"


def documented_vcl(port: int) -> str:
    found = re.search(r"^```vcl\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert found
    assert found[1].count('.port = "8000";') == 1
    return found[1].replace('.port = "8000";', f'.port = "{port}";')


class Way:
    """The way to a server, which can be cut: a port that passes on what it gets."""

    def __init__(self, server: Server) -> None:
        self.port = free_port()
        self._server = server
        self.open()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def open(self) -> None:
        server = self._server

        class Passing(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with socket.create_connection((server.host, server.port)) as other:
                    back = threading.Thread(target=pass_on, args=(other, self.request))
                    back.start()
                    pass_on(self.request, other)
                    back.join()

        class Listener(socketserver.ThreadingTCPServer):
            allow_reuse_address = True
            daemon_threads = True

        self._listener = Listener(("127.0.0.1", self.port), Passing)
        threading.Thread(target=self._listener.serve_forever, args=(0.01,), daemon=True).start()

    def cut(self) -> None:
        self._listener.shutdown()
        self._listener.server_close()


def pass_on(one: socket.socket, other: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := one.recv(65536):
            other.sendall(data)
        other.shutdown(socket.SHUT_WR)


class Site:
    """A site, Varnish in front of it, and how each is asked."""

    def __init__(self, library: Library, origin: str, varnish: Server, way: Way) -> None:
        self.library = library
        self.origin = origin
        self.varnish = varnish
        self.way = way
        self.hold = Path(library.environment["LIBRARY_HOLD"])

    def get(self, path: str = "/", **headers: str) -> tuple[str, Any]:
        """What Varnish answers: the page without its number, and the number."""
        body, _headers = self._ask(self.varnish.url, path, headers)
        number, _, text = body.partition(": ")
        return text, int(number)

    def is_held(self, path: str, **headers: str) -> bool:
        """Whether Varnish answers by itself: then it also names the request by which it got the page."""
        return len(self._ask(self.varnish.url, path, headers)[1]["X-Varnish"].split()) == 2

    def headers(self, path: str = "/") -> Any:
        """The headers of the site itself."""
        return self._ask(self.origin, path, {})[1]

    def do(self, path: str) -> None:
        """Ask the site itself, past Varnish: a write."""
        assert self._ask(self.origin, path, {})[0] == "done"

    @staticmethod
    def _ask(site: str, path: str, headers: dict[str, str]) -> tuple[str, Any]:
        request = urllib.request.Request(site + path, headers=headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.read().decode(), answer.headers


@pytest.fixture
def start_site(tmp_path: Path, start_server: Callable[..., Server], engine: str) -> Iterator[Callable[..., Site]]:
    if engine != "sqlite":
        pytest.skip("what purges is the same with every engine")
    contexts, ways = [], []

    def start(settings: dict[str, Any] | None = None, **purge: Any) -> Site:
        library = Library(tmp_path)
        library.environment["LIBRARY_HOLD"] = str(tmp_path / "hold")
        port = free_port()
        varnish = start_server("varnish", vcl=documented_vcl(port))
        way = Way(varnish)
        ways.append(way)
        library.settings |= {"ROOT_URLCONF": "library.urls_of_purging", "ALLOWED_HOSTS": ["*"]}
        given = {"BACKEND": "varnish", "LOCATION": way.url, "S_MAXAGE": 3600, "REPEAT_AFTER": 0}
        library.settings["ORMCACHE"] |= {
            "ADAPTIVE": False,
            "SHARE": "always",
            "PURGE": given | purge,
            **(settings or {}),
        }
        library.manage("migrate", "--verbosity=0")
        context = library.serving(port)
        origin = context.__enter__()
        contexts.append(context)
        return Site(library, origin, varnish, way)

    yield start
    for context in contexts:
        context.__exit__(None, None, None)
    for way in ways:
        way.cut()


def test_varnish_holds_a_page_until_a_table_that_it_read_is_written(start_site: Callable[..., Site]) -> None:
    site = start_site()
    assert site.get() == ("first", 1)
    assert site.get() == ("first", 1)

    site.do("/add/?name=second")

    # Not before the purge, and never again an old one after it
    assert eventually(lambda: site.get() != ("first", 1))
    assert site.get() == ("first,second", 2)


def test_a_write_of_another_process(start_site: Callable[..., Site]) -> None:
    """Its end waits for the purge: no need to wait here."""
    site = start_site()
    assert site.get() == ("first", 1)

    site.library.call("scenes.read_write_read")

    assert site.get() == ("first,second", 2)


def test_a_page_of_one_row_outlives_writes_to_others(start_site: Callable[..., Site]) -> None:
    site = start_site({"ROWS": "always"})
    site.do("/add/?name=second")
    assert eventually(lambda: site.get()[0] == "first,second")
    one, other, both = site.get("/shelf/1/"), site.get("/shelf/2/"), site.get()

    site.do("/rename/2/?name=changed")

    assert eventually(lambda: site.get() != both)
    assert site.get("/shelf/2/")[0] == "changed"
    assert site.get("/shelf/1/") == one
    assert other[0] == "second"


def test_what_is_not_sure_to_be_the_same_for_everybody_is_not_held(start_site: Callable[..., Site]) -> None:
    site = start_site()

    assert "s-maxage=0" in site.headers("/random/")["Cache-Control"]
    assert site.headers("/random/")["xkey"] is None
    assert site.get("/random/")[1] != site.get("/random/")[1]


def test_visitors_with_a_session_are_asked_for_at_the_site(start_site: Callable[..., Site]) -> None:
    site = start_site()
    assert not site.is_held("/")
    assert site.is_held("/")

    for _ in range(2):
        assert not site.is_held("/", Cookie="sessionid=1")
        assert not site.is_held("/", Authorization="Basic x")
    assert site.is_held("/", Cookie="of_a_script=1")


def test_what_says_nothing_is_not_held(start_site: Callable[..., Site]) -> None:
    """Varnish would hold it for two minutes: a page that somebody asked for just before it was there."""
    site = start_site()

    for _ in range(2):
        with pytest.raises(urllib.error.HTTPError, match="404") as caught:
            site.get("/nothing/")
        assert len(caught.value.headers["X-Varnish"].split()) == 1
        caught.value.close()


def test_no_purge_is_lost_while_varnish_is_away(start_site: Callable[..., Site]) -> None:
    site = start_site()
    log = site.library.folder / "served.log"
    assert site.get() == ("first", 1)
    site.way.cut()
    site.do("/add/?name=second")
    eventually(lambda: "cannot be purged, and is retried" in log.read_text())
    assert site.get() == ("first", 1), "there is nobody who could have purged it"

    site.way.open()

    assert eventually(lambda: site.get() == ("first,second", 2))


def test_no_purge_is_lost_while_varnish_stands_still(start_site: Callable[..., Site]) -> None:
    site = start_site(TIMEOUT=0.2)
    log = site.library.folder / "served.log"
    assert site.get() == ("first", 1)
    site.varnish.pause()
    site.do("/add/?name=second")
    eventually(lambda: "cannot be purged, and is retried" in log.read_text())

    site.varnish.resume()

    assert eventually(lambda: site.get()[0] == "first,second")


def test_a_page_that_was_on_its_way_is_purged_by_the_repetition(start_site: Callable[..., Site]) -> None:
    site = start_site(REPEAT_AFTER=0.5)
    site.hold.touch()
    found: list[tuple[str, Any]] = []
    thread = threading.Thread(target=lambda: found.append(site.get("/slow/")))
    thread.start()
    eventually(Path(f"{site.hold}.held").exists)

    site.get()
    site.do("/add/?name=second")
    eventually(lambda: site.get()[0] == "first,second")  # the first purge has been
    site.hold.unlink()
    thread.join()

    assert found[0][0] == "first"
    assert eventually(lambda: site.get("/slow/")[0] == "first,second")


def test_an_outdated_page_is_served_while_the_new_one_is_made(start_site: Callable[..., Site]) -> None:
    site = start_site(SOFT=True, STALE_WHILE_REVALIDATE=600)
    first = site.get("/slow/")
    assert site.get("/slow/") == first
    site.hold.touch()

    site.library.call("scenes.read_write_read")  # its end waits for the purge

    assert site.get("/slow/") == first
    eventually(Path(f"{site.hold}.held").exists)  # it is being made
    assert site.get("/slow/") == first
    site.hold.unlink()
    assert eventually(lambda: site.get("/slow/")[0] == "first,second")
