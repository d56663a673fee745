"""``manage.py ormcache listen``."""

from __future__ import annotations

import signal
import threading
from argparse import SUPPRESS, ArgumentParser
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

from django.core.management.base import CommandError

from ormcache.diagnostics.aliases import connection_to
from ormcache.diagnostics.format.relations import display_name
from ormcache.management.common import add_json, add_using, aliases_of, reaching
from ormcache.management.formatting import short_duration
from ormcache.management.output import Output
from ormcache.outside.listener import Listener
from ormcache.outside.recorded_writes import SettledWrites

HELP = """Listens for writes that triggers have recorded, and invalidates what depends on them at once.

Runs until SIGTERM, SIGINT or Ctrl-C, in a process of its own: under systemd, or in a container. Install the triggers
with "manage.py ormcache triggers install". One such process is enough, and several do no harm."""

#: Signals that end it
_ENDING = (signal.SIGTERM, signal.SIGINT)

#: Vendors whose databases can be listened to
_VENDORS = ("postgresql", "mysql")


def add_arguments(parser: ArgumentParser) -> None:
    add_using(parser)
    add_json(parser)
    parser.add_argument("--verbosity", type=int, choices=[0, 1, 2, 3], default=SUPPRESS, help="0: print nothing.")


def run(options: Mapping[str, Any], out: Output) -> None:
    aliases = []
    for alias in aliases_of(options):
        if connection_to(alias).vendor in _VENDORS:
            with reaching(alias):
                connection_to(alias).ensure_connection()
                connection_to(alias).close()
            aliases.append(alias)
    if not aliases:
        raise CommandError("There is nothing to listen to: only PostgreSQL, MySQL and MariaDB have triggers for it.")
    is_quiet = options.get("verbosity", 1) == 0
    lock = threading.Lock()  # lines are written by several threads
    listeners = [
        Listener(alias, partial(_report, out, lock, alias, is_json=options["json"], is_quiet=is_quiet))
        for alias in aliases
    ]
    with _stopping(listeners):
        threads = [threading.Thread(target=one.run, name=f"ormcache-listen-{one.alias}") for one in listeners]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for one in listeners:
        one.close()


@contextmanager
def _stopping(listeners: list[Listener]) -> Iterator[None]:
    """Have the signals that end the process stop the listeners in the block."""

    def stop(*args: Any) -> None:
        for one in listeners:
            one.stop()

    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may handle signals
        return
    before = {number: signal.signal(number, stop) for number in _ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _report(
    out: Output, lock: threading.Lock, alias: str, settled: SettledWrites | None, *, is_json: bool, is_quiet: bool
) -> None:
    if is_quiet:
        return
    with lock:
        if is_json:
            line: dict[str, Any] = {"using": alias, "event": "listening"}
            if settled is not None:
                line = {
                    "using": alias,
                    "event": "invalidated",
                    "relations": settled.relations,
                    "writes": len(settled.lags),
                    "longest_lag": max(settled.lags),
                }
            out.json_line(line)
        elif settled is None:
            out.line(f"{alias}: listening")
        else:
            names = ", ".join(map(display_name, sorted(settled.relations)))
            out.line(f"{alias}: {names} invalidated {short_duration(max(settled.lags))} after the write")
