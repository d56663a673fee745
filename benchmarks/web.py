"""A page of fifteen queries through gunicorn under wrk.

With and without persistent connections to the database; and as a whole page that is cached, sent or not modified.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from typing import Any, NamedTuple

from benchmarks.candidates import Candidate
from benchmarks.suite import Suite
from tests.servers import free_port

WORKERS = 2
CONNECTIONS = 4
START_TIMEOUT = 30.0  # seconds

_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}


class Way(NamedTuple):
    name: str
    path: str
    max_age: int | None  # Django's CONN_MAX_AGE
    is_conditional: bool = False  # does the client have the page already, and ask whether it has changed?


WAYS = (
    Way("CONN_MAX_AGE=0", "/", 0),
    Way("persistent connections", "/", None),
    Way("a cached page", "/cached/", None),
    Way("a cached page that the client has", "/cached/", None, is_conditional=True),
)


class WrkMissing(Exception):
    """There is no wrk on PATH, and CI wants it."""


def run(suite: Suite) -> dict[str, Any]:
    if shutil.which("wrk") is None:
        message = "left out: no wrk on PATH (Debian's package wrk)"
        if os.environ.get("CI") == "true":
            raise WrkMissing(message)
        suite.say(message)
        return {"skipped": message}
    found: dict[str, Any] = {}
    for way in WAYS:
        suite.say(f"gunicorn, {way.name}")
        found[way.name] = suite.by_turns(
            suite.size.web_rounds, lambda candidate, way=way: _slice(suite, candidate, way)
        )
    return found


def _slice(suite: Suite, candidate: Candidate, way: Way) -> dict[str, Any]:
    port = free_port()
    url = f"http://127.0.0.1:{port}{way.path}"
    server = subprocess.Popen(
        [sys.executable, "-m", "gunicorn", "--workers", str(WORKERS), "--bind", f"127.0.0.1:{port}"]
        + ["--log-level", "error", "benchmarks.wsgi"],
        env=os.environ | suite.environment(candidate, max_age=way.max_age),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        _wait_for(url, server)
        for _ in range(10 * WORKERS):  # so that each of its processes has served some
            tag = _fetch(url)
        header = ["--header", f"If-None-Match: {tag}"] if way.is_conditional and tag else []
        meter = suite.meter(candidate, application=server.pid)
        before = meter.read()
        said = subprocess.run(
            ["wrk", "--threads", "1", "--connections", str(CONNECTIONS), "--latency"]
            + [*header, "--duration", f"{max(1, round(suite.size.web_seconds))}s", url],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        return parse(said) | meter.since(before)
    finally:
        server.terminate()
        server.wait()


def parse(said: str) -> dict[str, float]:
    """The figures in wrk's words. Raises RuntimeError where they are not those of a site that works."""
    requests = re.search(r"(\d+) requests in ([\d.]+)(us|ms|s|m)", said)
    quantiles = dict(re.findall(r"(50|99)%\s+([\d.]+(?:us|ms|s|m))", said))
    if requests is None or not int(requests[1]) or "Non-2xx" in said or len(quantiles) < 2:
        raise RuntimeError(f"wrk says: {said.strip()}")
    return {
        "calls": int(requests[1]),
        "wall": _seconds(requests[2] + requests[3]),
        "median": _seconds(quantiles["50"]),
        "slowest": _seconds(quantiles["99"]),
    }


def _seconds(text: str) -> float:
    match = re.fullmatch(r"([\d.]+)([a-z]+)", text)
    if match is None:
        raise ValueError(f"wrk told a time that cannot be read: {text!r}")
    return float(match[1]) * _UNITS[match[2]]


def _fetch(url: str) -> str | None:
    """The ETag of what is there, if it has one."""
    with urllib.request.urlopen(url, timeout=10) as answer:
        answer.read()
        tag: str | None = answer.headers["ETag"]
    return tag


def _wait_for(url: str, server: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + START_TIMEOUT
    while True:
        try:
            _fetch(url)
        except OSError as error:
            if server.poll() is not None or time.monotonic() > until or "HTTP Error" in str(error):
                raise RuntimeError(f"gunicorn does not serve the page: {error}") from error
            time.sleep(0.05)
        else:
            return
