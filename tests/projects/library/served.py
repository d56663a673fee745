"""What this site answers over HTTP."""

from __future__ import annotations

import threading
import urllib.request
from wsgiref.simple_server import WSGIRequestHandler, make_server

from django.core.wsgi import get_wsgi_application


class Silent(WSGIRequestHandler):
    def log_message(self, *args: object) -> None:
        """Nothing: what a test's process prints is its result."""


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
