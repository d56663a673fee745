"""What this site answers over HTTP."""

from __future__ import annotations

import sys
import threading
import urllib.request
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from django.core.wsgi import get_wsgi_application


class Silent(WSGIRequestHandler):
    def log_message(self, *args: object) -> None:
        """Nothing: what a test's process prints is its result."""

    def get_environ(self) -> dict[str, Any]:
        """What servers in production give: without a type of content where the request has none."""
        environ = super().get_environ()
        if self.headers.get("Content-Type") is None:
            del environ["CONTENT_TYPE"]
        return environ


class Threaded(ThreadingMixIn, WSGIServer):
    daemon_threads = True


def serve(port: int = 0) -> None:
    """Answer requests until stdin ends. The first line of stdout is the port, which may be any one."""
    with make_server("127.0.0.1", port, get_wsgi_application(), Threaded, Silent) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        print(server.server_port, flush=True)
        sys.stdin.read()
        server.shutdown()


def pages(*paths: str) -> list[str]:
    """The pages, asked for one after the other."""
    with make_server("127.0.0.1", 0, get_wsgi_application(), handler_class=Silent) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        found = []
        try:
            for path in paths:
                with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}{path}") as answer:
                    found.append(answer.read().decode())
        finally:
            server.shutdown()
            thread.join()
    return found
