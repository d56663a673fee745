"""Part 4, continued: a reverse proxy that holds pages, and is purged of those that a write changes."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from freshness import value
from pages import ZURICH
from whole_pages import GENEVA, whole

PATIENCE = 10.0  # seconds


class Proxy:
    """As small as one can be: what Varnish does with the module xkey. It is asked over HTTP to drop pages."""

    def __init__(self):
        self._held = {}  # path → page and tags
        self._changed = threading.Condition()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            def do_PURGE(self):
                proxy._purge(set(self.headers["xkey-purge"].split()))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *arguments):
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/"

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *exc_info):
        self._server.shutdown()
        self._server.server_close()

    def get(self, path, site):
        """The page, and whether it was held: then the site is not asked."""
        with self._changed:
            if path in self._held:
                return self._held[path][0], True
        found = site.fetch(path)
        if "xkey" in found["headers"]:
            with self._changed:
                self._held[path] = found["body"], set(found["headers"]["xkey"].split())
        return found["body"], False

    def is_purged(self, path):
        """Waits until it is."""
        with self._changed:
            return self._changed.wait_for(lambda: path not in self._held, PATIENCE)

    def _purge(self, tags):
        with self._changed:
            self._held = {path: held for path, held in self._held.items() if not held[1] & tags}
            self._changed.notify_all()


def show_purges(proxy, plain, writer, reader, check, line):
    line()
    line("  The same pages behind a reverse proxy, which is named in the setting PURGE:")
    line()
    for city in (ZURICH, GENEVA):
        proxy.get(whole(city), reader)
    before = reader.count_runs()
    held = [proxy.get(whole(city), reader)[1] for city in (ZURICH, GENEVA)]
    check(held == [True, True], "the proxy holds both pages: no process of the site is asked")
    writer.create_review(ZURICH, "Bob")
    is_purged = proxy.is_purged(whole(ZURICH))
    page, _ = proxy.get(whole(ZURICH), reader)
    check(
        is_purged and value(page, "author") == "Bob", f"{writer.pid} writes a comment: the page of that city is purged"
    )
    check(
        page == plain.inspect(f"/cities/{ZURICH}/")["body"], "the proxy then has the page of plain Django, byte by byte"
    )
    check(
        proxy.get(whole(GENEVA), reader)[1] and reader.count_runs() == before + 1,
        "it still holds the page of the other city",
    )
