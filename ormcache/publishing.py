"""Telling other processes what this one has counted, through the store, and gathering what they tell.

Every process puts its figures into the store every few seconds, under a name of its own, and sees to it that a list of
such names has it. Nobody adds anything up there, so nothing has to be locked: two that change the list at once can lose
one of them, which finds out the next time it looks. Figures are lost with the store; nothing else depends on them.

They hold statements, which ``manage.py ormcache warm`` runs again. So they are signed with the secret key, and
what is not is left out.
"""

from __future__ import annotations

import atexit
import base64
import json
import logging
import os
import socket
import sys
import threading
import time
import zlib
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from django.utils.crypto import salted_hmac

from ormcache import rows
from ormcache.database import Database
from ormcache.figures import Figures, Text
from ormcache.figures.history import History
from ormcache.figures.report import MOST_TOLD, Report, most_important, report_of, told_of, totals_of
from ormcache.keys import digest
from ormcache.rows import Unencodable, Unreadable
from ormcache.stamps import FORMAT
from ormcache.stores.base import StoreUnavailable

logger = logging.getLogger("ormcache")

#: Figures stay in the store for so many seconds after their process has last told them, and as long as there is room
RETENTION = 24 * 3600.0
#: Seconds that a fork waits for the thread to end, which may be telling the store something
LONGEST_REST = 2.0
#: What has not changed is told again after so many seconds: the store may have evicted it
AGAIN = 1800.0
#: Processes in the list; then those that told the longest ago leave
MOST_PROCESSES = 512
#: What one process tells is at most so many bytes: fewer texts, if need be
MOST_BYTES = 512 * 1024

#: Where psycopg has the types that Django wraps some numbers in; they come back as what they were
_NUMBERS = "psycopg.types.numeric"

#: What this process knows of one alias, or of one process, as JSON takes it
Told = dict[str, Any]


class Publisher:
    """Of one process. Any thread may call any method; one of its own does the work."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards the two below; never held while the store is asked
        self._homes: dict[str, tuple[Figures, Database]] = {}
        self._thread: threading.Thread | None = None
        self.rests = False  # was the thread ended, and has no other one begun?
        self._ending = threading.Event()  # of that thread
        self._telling = threading.Lock()  # guards the two below
        self._histories: dict[str, History] = {}
        #: alias → when its figures were told last, by time.monotonic, and their totals
        self._told: dict[str, tuple[float, tuple[float, ...]]] = {}

    def met(self, figures: Figures, database: Database) -> None:
        """A connection of this alias leads to this database."""
        known = self._homes.get(figures.alias)
        if known is not None and known[1] is database and known[0] is figures and self._thread is not None:
            return
        with self._lock:
            self._homes[figures.alias] = (figures, database)
            if self._thread is None and database.config.figures_interval:
                self._ending = threading.Event()
                arguments = (self._ending,)
                self._thread = threading.Thread(target=self._work, args=arguments, name="ormcache-figures", daemon=True)
                self._thread.start()

    def homes(self) -> list[tuple[Figures, Database]]:
        """The figures of each alias that this process has connected, with the database that it led to last."""
        with self._lock:
            return list(self._homes.values())

    def rest(self) -> None:
        """End the thread; the next connection, or what is counted next but for hits, begins another one.

        Before a fork: Python warns of one in a process with several threads, which some make an error of. It looks
        after the hooks have run in the parent, so that they cannot begin it.
        """
        with self._lock:
            thread, self._thread = self._thread, None
            self.rests = self.rests or thread is not None
            self._ending.set()  # inside: the next thread has an event of its own
        if thread is not None and thread is not threading.current_thread():
            thread.join(LONGEST_REST)

    def resume(self) -> None:
        """Begin the thread again that :meth:`rest` has ended."""
        self.rests = False
        for figures, database in self.homes():
            self.met(figures, database)

    def _work(self, ending: threading.Event) -> None:
        failed = False
        while interval := self._interval():
            if ending.wait(interval):
                return
            try:
                self.publish()
            except Exception:
                # Nobody is there to catch it, and a thread that ends would leave the figures as they are for ever.
                if not failed:
                    logger.exception("the figures of this process cannot be told")
                failed = True

    def _interval(self) -> float | None:
        """Until the next time; None: the thread that asks is not needed any more."""
        with self._lock:
            if self._thread is not threading.current_thread():
                return None
            intervals = [database.config.figures_interval for _, database in self._homes.values()]
            shortest = min(filter(None, intervals), default=None)
            if shortest is None:
                self._thread = None
            return shortest

    def publish(self) -> None:
        """Tell what there is to tell. What a store does not take is told the next time."""
        with self._telling:
            for figures, database in self.homes():
                if not database.config.figures_interval:
                    continue
                totals = totals_of(figures)
                last, told = self._told.get(figures.alias, (0.0, ()))
                if not any(totals[:4]) or (totals == told and time.monotonic() < last + AGAIN):
                    continue
                history = self._histories.setdefault(figures.alias, History())
                history.reached(time.time(), totals)
                try:
                    _publish(figures, database, history)
                except StoreUnavailable:
                    continue
                self._told[figures.alias] = (time.monotonic(), totals)

    def here(self, identity: str) -> list[Told]:
        """What this process would tell of the database of this identity, if it has counted anything."""
        with self._telling:
            found = []
            for figures, database in self.homes():
                totals = totals_of(figures)
                if database.identity == identity and any(totals[:4]):
                    history = self._histories.setdefault(figures.alias, History())
                    history.reached(time.time(), totals)
                    found.append(_told(figures, database, history, MOST_TOLD))
            return found


def _begin_in_child() -> None:
    """A forked child has told nothing yet, and has not the thread."""
    publisher.__init__()  # type: ignore[misc]  # the very same beginning


#: The one of this process
publisher = Publisher()
os.register_at_fork(before=publisher.rest, after_in_child=_begin_in_child)
atexit.register(publisher.publish)


def gathered(database: Database) -> dict[str, Report]:
    """Database alias → the figures of all processes that use this database under that name.

    Raises StoreUnavailable.
    """
    store, identity = database.stamps.store.strict, database.identity
    told = publisher.here(identity)
    own = {one["process"]["id"] for one in told}
    heard = [_read(store, _name(identity, process)) for process in _listed(store, identity) if process not in own]
    reports = _reports(told + [one for one in heard if one is not None])
    for report in reports.values():
        report.unread = heard.count(None)
    return reports


def own_figures(database: Database) -> dict[str, Report]:
    """The same of this process alone, which needs no store."""
    return _reports(publisher.here(database.identity))


def _reports(told: list[Told]) -> dict[str, Report]:
    now = time.time()
    by_alias: dict[str, list[Told]] = {}
    for one in told:
        by_alias.setdefault(one["alias"], []).append(one)
    return {alias: report_of(alias, ones, now) for alias, ones in sorted(by_alias.items())}


def heard(database: Database) -> list[Told]:
    """What each process has told, this one too, as it stands in the store: the same to whichever process asks.

    Raises StoreUnavailable.
    """
    store, identity = database.stamps.store.strict, database.identity
    found = [_read(store, _name(identity, process)) for process in _listed(store, identity)]
    return [one for one in found if one is not None]


# Into the store and back --------------------------------------------------------------


def _publish(figures: Figures, database: Database, history: History) -> None:
    store, identity = database.stamps.store.strict, database.identity
    most = MOST_TOLD
    while True:
        name = _name(identity, figures.process)
        value = _sealed(name, _told(figures, database, history, most))
        if (len(value) <= MOST_BYTES and store.put(name, value, RETENTION)) or most == 0:
            break
        most //= 2
    listed = _listed(store, identity)
    now = int(time.time())
    if now - listed.get(figures.process, 0) > RETENTION / 24:
        listed = {process: at for process, at in listed.items() if now - at < RETENTION} | {figures.process: now}
        kept = sorted(listed.items(), key=lambda item: item[1])[-MOST_PROCESSES:]
        store.put(_name(identity), _sealed(_name(identity), dict(kept)), RETENTION)


def _listed(store: Any, identity: str) -> dict[str, int]:
    """Process → when it was last added to the list, seconds since the epoch."""
    listed = _read(store, _name(identity))
    return {} if listed is None else dict(listed)


def _name(identity: str, process: str = "") -> bytes:
    """Projects with different keys cannot read each other's list, and must not write over it."""
    return digest(b"figures", FORMAT, identity.encode(), process.encode(), _key())


def _sealed(name: bytes, told: Mapping[str, Any]) -> bytes:
    data = zlib.compress(json.dumps(told, separators=(",", ":")).encode(), 1)
    return rows.mac(_key(), name, data) + data


def _read(store: Any, name: bytes) -> Told | None:
    """None: it is not there, or was not written by this project."""
    value, _ = store.look_up(name, [])
    if value is None:
        return None
    try:
        told: Told = json.loads(zlib.decompress(rows.verified(_key(), name, value)))
    except (Unreadable, zlib.error, ValueError):
        return None
    return told


def _key() -> bytes:
    return salted_hmac("ormcache", "figures", algorithm="sha256").digest()


# What is told -------------------------------------------------------------------------


def _told(figures: Figures, database: Database, history: History, most: int) -> Told:
    resting = {(plan.statement.digest, plan.relations): judged for _, plan, judged in database.left_alone()}
    return {
        "process": {
            "id": figures.process,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "command": _command(),
            "began": figures.began,
            "at": time.time(),
        },
        "alias": figures.alias,
        **told_of(figures),
        "texts": [_told_of_text(text, resting.get(text.key)) for text in most_important(figures.texts(), most)],
        "history": history.told(),
        "outages_met": figures.outages(database.stamps.store.strict.outages_met),
        "outages": [list(outage) for outage in database.stamps.store.strict.outages],
        "pending": sorted(database.pending.relations),
    }


def _told_of_text(text: Text, judged: Any) -> Told:
    names = "\n".join(sorted(text.relations))
    return {
        "key": digest(text.digest, names.encode("utf-8", "surrogatepass")).hex(),
        "digest": text.digest.hex(),
        "sql": text.sql,
        "relations": sorted(text.relations),
        "tally": text.tally.as_dict(),
        "caller": text.caller,
        "moment": text.moment,
        "resting": None if judged is None else asdict(judged),
        "samples": [one for sample in text.samples.values() if (one := _told_of_sample(sample)) is not None],
    }


def _told_of_sample(sample: Any) -> Told | None:
    params, numbers = None, {}
    if sample.params is not None:
        values = list(sample.params)
        for place, value in enumerate(values):
            if type(value).__module__ == _NUMBERS:
                numbers[str(place)] = type(value).__name__
                values[place] = float(value) if isinstance(value, float) else int(value)
        try:
            params = base64.b85encode(rows.encode(tuple(values))).decode()
        except Unencodable:
            return None
    return {"sql": sample.sql, "params": params, "numbers": numbers, "shape": list(sample.shape), "seen": sample.seen}


def params_of(sample: Mapping[str, Any]) -> tuple[Any, ...] | None:
    """The parameters of one of :attr:`TextReport.samples`. Raises Unreadable."""
    if sample["params"] is None:
        return None
    values = list(rows.decode(base64.b85decode(sample["params"])))
    for place, name in sample["numbers"].items():
        kind = getattr(sys.modules.get(_NUMBERS), name, None)
        if kind is None:
            raise Unreadable(f"{name} is not psycopg's any more")
        values[int(place)] = kind(values[int(place)])
    return tuple(values)


def _command() -> str:
    """How the process was started: the program, and a management command's name."""
    program = os.path.basename(sys.argv[0] or "python")
    return f"{program} {sys.argv[1]}" if program in ("manage.py", "django-admin") and sys.argv[1:] else program
