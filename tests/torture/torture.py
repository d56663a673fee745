"""Runs the site on several hosts, does to it what a seed says, and judges what was read."""

from __future__ import annotations

import json
import os
import random
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.environment import Run
from tests.servers import Server
from tests.torture.excuses import Excuses, excluding
from tests.torture.history import Verdict, judge, lines_of
from tests.torture.network import DIRECTIONS, Network

WORKERS = ("w1", "w2", "w3")  # each on a host of its own
#: What deploys of the soak differ in, in ``ORMCACHE``
DEPLOYS = (
    {"VERSION": "1"},
    {"VERSION": "2"},
    {"VERSION": "2", "BLACKLIST": ["shop.Genre"]},
    {"VERSION": "1", "BLACKLIST": ["shop.Author"]},
)
#: Of all operations of a process in the soak
SCHEMA_CHANGES = 0.002
DATABASE_PORT, STORE_PORT = 5432, 6379
LEASE = 10  # seconds: longer than whatever holds up a COMMIT here
#: Processes ask at each read whether the server is still the same: else who reads nothing but hits may lawfully return
#: for a while what was cached before a restart
IDENTITY_MAX_AGE = 0
#: Seconds after the end of an outage within which everything has been invalidated
GRACE = 2.0
#: How much rarer events are in a soak, where processes need a while to start again
CALM = 3
#: The name of the database of a soak
SOAKED = "soaked"
START_TIMEOUT = 60.0


class Torture:
    """One run. ``events`` tells what was done, for people."""

    def __init__(
        self,
        run: Run,
        redis: Server,
        folder: Path,
        seed: int,
        on_outage: str,
        *,
        restarts: bool,
        database: Server | None = None,
    ) -> None:
        """``redis``: a server that this run may kill and pause. ``restarts``: it does.

        ``database``: one of its own, with tables, which it restarts and kills as well. Then it is a soak: processes are
        deployed with other settings, and change the schema, besides all the rest.
        """
        self._run, self._redis, self._folder = run, redis, folder
        self._random, self._seed = random.Random(seed), seed
        self._on_outage = on_outage
        self._restarts = restarts
        self._database = database
        self._network = Network(["database", "store", *WORKERS])
        self._processes: dict[str, subprocess.Popen[str]] = {}
        self._began = time.monotonic()
        self._starts = 0
        self._deployed: dict[str, dict[str, Any]] = {worker: {} for worker in WORKERS}
        self._excuses = Excuses(on_outage)
        #: what ends an event, and when, by time.monotonic
        self._ends: list[tuple[float, Callable[[], None]]] = []
        self._recorded: list[dict[str, Any]] | None = None
        self.events: list[str] = []

    def run(self, seconds: float) -> Verdict:
        """Torture the site for so long, and judge it."""
        with ExitStack() as stack:
            stack.enter_context(self._network)
            stack.callback(self._end_processes)
            self._start_relays()
            for worker in WORKERS:
                self._start(worker)
            for worker in WORKERS:
                self._wait_until_ready(worker)
            self._began = time.monotonic()
            deadline = self._began + seconds
            while time.monotonic() < deadline:
                self._revive()
                self._strike()
                self._wait((0.3 + self._random.random() * 0.6) * (1 if self._database is None else CALM))
            self._finish_due(everything=True)
            time.sleep(GRACE + 1)
            self._stop_workers()
        return judge(self._lines(), self._excuses.outages(), grace=GRACE)

    def counts(self) -> dict[str, int]:
        """Return what the processes that were not killed have counted, and all changes of the schema, added up."""
        found = dict.fromkeys(("hits", "misses", "schema changes"), 0)
        for line in self._lines():
            if line["op"] == "counts":
                for name in ("hits", "misses"):
                    found[name] += line[name]
            elif line["kind"] == "schema" and line["error"] is None:
                found["schema changes"] += 1
        return found

    def _lines(self) -> list[dict[str, Any]]:
        if self._recorded is None:
            self._recorded = lines_of(self._folder)
        return self._recorded

    # Processes ---------------------------------------------------------------------------

    def _start_relays(self) -> None:
        database = self._database or self._run.first("postgresql")
        sockets = {
            "database": (DATABASE_PORT, f"{database.unix_socket}/.s.PGSQL.{database.port}"),
            "store": (STORE_PORT, self._redis.unix_socket),
        }
        for host, (port, path) in sockets.items():
            self._launch(host, ["-m", "tests.torture.relay", str(port), str(path)])
            self._wait_until_ready(host)

    def _start(self, worker: str) -> None:
        self._starts += 1
        path = self._folder / f"{worker}-{self._starts}.jsonl"
        seed = self._seed * 1000 + self._starts
        self._launch(worker, ["-m", "tests.torture.worker", worker, str(seed), str(path)])

    def _launch(self, host: str, arguments: list[str]) -> None:
        self._processes[host] = self._network.start(
            host, [sys.executable, *arguments], env=os.environ | self._environment(host), stdout=subprocess.PIPE
        )

    def _wait_until_ready(self, host: str) -> None:
        stdout = self._processes[host].stdout
        assert stdout is not None
        ready, _, _ = select.select([stdout], [], [], START_TIMEOUT)
        if not ready or stdout.readline() != "ready\n":
            raise RuntimeError(f"the process on {host} did not start")

    def _environment(self, host: str) -> dict[str, str]:
        is_soak = self._database is not None
        site: dict[str, Any] = {
            "database": SOAKED if is_soak else self._run.database_name("default"),
            "user": "postgres" if is_soak else self._run.first("postgresql").user,
            "database_host": self._network.addresses["database"],
            "database_port": DATABASE_PORT,
            "store": f"redis://{self._network.addresses['store']}:{STORE_PORT}/0",
            "schema_changes": SCHEMA_CHANGES if is_soak else 0,
            "ormcache": {
                "ON_OUTAGE": self._on_outage,
                "LEASE": LEASE,
                "IDENTITY_MAX_AGE": IDENTITY_MAX_AGE,
                **self._deployed.get(host, {}),
            },
        }
        if is_soak:
            site["ormcache"]["STATISTICS_INTERVAL"] = 2  # the thread that follows writes to excluded tables
        return {"ORMCACHE_TORTURE": json.dumps(site)}

    def _stop_workers(self) -> None:
        for worker in WORKERS:
            self._processes[worker].send_signal(signal.SIGTERM)
        for worker in WORKERS:
            self._processes[worker].wait(30)

    def _revive(self) -> None:
        """Start again what ended because it had no database when it began."""
        for worker in WORKERS:
            if self._processes[worker].poll() is not None:
                self._say(f"{worker} had ended with {self._processes[worker].returncode}, and is started again")
                self._end(self._processes[worker])
                self._start(worker)

    def _end_processes(self) -> None:
        for process in self._processes.values():
            self._end(process)

    @staticmethod
    def _end(process: subprocess.Popen[str]) -> None:
        process.kill()
        process.wait(30)
        assert process.stdout is not None
        process.stdout.close()

    # What happens ------------------------------------------------------------------------

    def _strike(self) -> None:
        worker = self._random.choice(WORKERS)
        events = [*[self._cut_store] * 4, *[self._cut_database] * 2, self._slow, self._slow, self._stop, self._kill]
        if self._restarts:
            events += [self._pause_store, self._restart_store]
        if self._database is not None:
            events += [self._restart_database, self._kill_database, *[self._deploy] * 4]
        self._random.choice(events)(worker)

    def _cut_store(self, worker: str) -> None:
        self._cut(worker, "store")

    def _cut_database(self, worker: str) -> None:
        self._cut(worker, "database")

    def _cut(self, worker: str, other: str) -> None:
        direction = self._random.choice(DIRECTIONS)
        self._network.cut(worker, other, direction)
        seconds = self._lasts(lambda: self._network.heal(worker, other), [worker] if other == "store" else [])
        self._say(f"{direction} between {worker} and the {other} are lost for {seconds:.1f} s")

    def _slow(self, worker: str) -> None:
        host = self._random.choice([worker, "store", "database"])
        self._network.slow(host)
        seconds = self._lasts(lambda: self._network.quicken(host), WORKERS if host != worker else [worker])
        self._say(f"{host} sends slowly for {seconds:.1f} s")

    def _stop(self, worker: str) -> None:
        process = self._processes[worker]
        process.send_signal(signal.SIGSTOP)
        seconds = self._lasts(lambda: process.send_signal(signal.SIGCONT))
        self._say(f"{worker} stands still for {seconds:.1f} s")

    def _kill(self, worker: str) -> None:
        self._say(f"{worker} is killed, and started again")
        self._end(self._processes[worker])
        self._start(worker)

    def _deploy(self, worker: str) -> None:
        deployed = self._random.choice(DEPLOYS)
        self._say(f"{worker} is deployed again, with {deployed}")
        process = self._processes[worker]
        process.send_signal(signal.SIGCONT)
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(LEASE)
        except subprocess.TimeoutExpired:
            self._say(f"{worker} has not ended, and is killed")
        self._end(process)
        self._deployed[worker] = deployed
        self._start(worker)

    def _pause_store(self, _: str) -> None:
        self._redis.pause()
        seconds = self._lasts(self._redis.resume, WORKERS)
        self._say(f"the store stands still for {seconds:.1f} s")

    def _restart_store(self, _: str) -> None:
        self._say("the store is killed, and started again")
        began = time.monotonic()
        self._redis.resume()
        self._redis.kill()
        self._redis.start()
        self._record_outage(WORKERS, began, excluding(self._deployed))

    def _restart_database(self, _: str) -> None:
        assert self._database is not None
        self._say("the database is restarted")
        self._database.restart()

    def _kill_database(self, _: str) -> None:
        assert self._database is not None
        self._say("the database is killed, and started again")
        self._database.kill()
        self._database.start()

    def _lasts(self, end: Callable[[], object], without_store: Sequence[str] = ()) -> float:
        """Have an event end after a while. Returns the seconds. ``without_store``: workers whose store is away."""
        began, seconds, excluded = time.monotonic(), self._random.uniform(0.2, 1.5), excluding(self._deployed)

        def end_it() -> None:
            end()
            self._record_outage(without_store, began, excluded)

        self._ends.append((began + seconds, end_it))
        return seconds

    def _wait(self, seconds: float) -> None:
        """Wait so long, and end events when they are due."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            time.sleep(min(left, 0.1))
            self._finish_due()

    def _finish_due(self, *, everything: bool = False) -> None:
        now = time.monotonic()
        due = [end for at, end in self._ends if everything or at <= now]
        self._ends = [(at, end) for at, end in self._ends if not (everything or at <= now)]
        for end in due:
            end()

    def _record_outage(self, workers: Sequence[str], began: float, excluded: frozenset[str]) -> None:
        """Record an outage that is over now. ``excluded``: who wrote authors as an excluded table when it began."""
        self._excuses.record(workers, began, time.monotonic(), excluded | excluding(self._deployed))

    def _say(self, event: str) -> None:
        self.events.append(f"{time.monotonic() - self._began:6.2f} {event}")
