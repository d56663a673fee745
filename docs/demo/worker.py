"""One process of the site. It reads requests from stdin and answers on stdout, one line of JSON each.

A request is ``[action, arguments]``, the answer ``{"result": ...}`` or ``{"error": traceback}``.
"""

import json
import os
import signal
import sys
import time
import traceback
from contextlib import contextmanager
from urllib.parse import urlsplit
from wsgiref.util import setup_testing_defaults

from django.core.wsgi import get_wsgi_application
from django.db import connection
from django.db.backends.signals import connection_created

application = get_wsgi_application()

from atlas import data, whole, writes  # noqa: E402  models can be imported only now


def visit(path, times, first=False):
    """The page and the milliseconds that it took, for each of some visits in a row, or of as many first visits."""
    pages = []
    for _ in range(times):
        if first:
            forget()
        start = time.perf_counter()
        body = _get(path)
        pages.append({"body": body, "ms": (time.perf_counter() - start) * 1000})
    return pages


def inspect(path):
    """The page, and the statements that reached SQLite for it. Tracing takes time, so there is no figure for that."""
    with _traced() as statements:
        body = _get(path)
    return {"body": body, "queries": len(statements)}


def fetch(path):
    """The page and the headers by which a reverse proxy may hold it."""
    headers = {}
    return {"body": _get(path, headers), "headers": headers}


def forget():
    """Makes the next visit of every page a first one: nothing of this database is in the cache."""
    if os.environ["DEMO_ENGINE"] != "django.db.backends.sqlite3":
        import ormcache

        ormcache.invalidate()


def _get(path, found_headers=None):
    url = urlsplit(path)
    environ = {"PATH_INFO": url.path, "QUERY_STRING": url.query}
    setup_testing_defaults(environ)
    statuses = []

    def start_response(status, headers):
        statuses.append(status)
        if found_headers is not None:
            found_headers.update(headers)

    response = application(environ, start_response)
    try:
        body = b"".join(response).decode()
    finally:
        response.close()
    if statuses != ["200 OK"]:
        raise RuntimeError(f"{path} answered {statuses}")
    return body


@contextmanager
def _traced():
    """SQLite itself tells each statement that it runs, so nothing is counted that a cache has answered."""
    statements = []

    def trace(connection, **kwargs):
        connection.connection.set_trace_callback(statements.append)

    connection_created.connect(trace)
    if connection.connection is not None:
        trace(connection)
    try:
        yield statements
    finally:
        connection_created.disconnect(trace)
        if connection.connection is not None:
            connection.connection.set_trace_callback(None)


ACTIONS = {
    action.__name__: action
    for action in (
        visit,
        inspect,
        fetch,
        forget,
        data.create_tables,
        data.load_places,
        data.load_reviews,
        data.analyze,
        writes.save,
        writes.update,
        writes.raw_sql,
        writes.create_review,
        writes.begin,
        writes.commit,
        writes.roll_back,
        writes.record_views,
        whole.count_runs,
    )
}


def main():
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then closes our stdin
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # nothing that prints can spoil an answer
    for line in sys.stdin:
        action, arguments = json.loads(line)
        try:
            answer = {"result": ACTIONS[action](*arguments)}
        except Exception:
            answer = {"error": traceback.format_exc()}
        print(json.dumps(answer), file=answers, flush=True)
    answers.close()
    connection.close()


if __name__ == "__main__":
    main()
