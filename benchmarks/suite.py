"""One run: the candidates with their databases and processes, and how all of them come to be measured by turns."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks.candidates import CANDIDATES, REFERENCE, Candidate
from benchmarks.meter import Meter
from benchmarks.servers import TEMPLATE, Bench
from benchmarks.sizes import Size
from benchmarks.worker import Worker, WorkerError, WorkerGone, environment_for
from benchmarks.workloads import Workload
from ormcache.conf import OPTIONS

Say = Callable[[str], None]

MOST_CALLS = 20_000  # in one slice; a workload cannot be so fast that it needs more


class Suite:
    """Candidates that fail are taken out of the workload in which they did, and noted in the results."""

    def __init__(self, bench: Bench, candidates: list[Candidate], size: Size, say: Say, rounds: int | None) -> None:
        self.bench = bench
        self.size = size
        self.rounds = rounds or size.rounds
        self.say = say
        #: candidate → why it is not measured at all
        self.absent: dict[str, str] = {}
        self.candidates = [one for one in candidates if self._is_possible(one)]
        self._workers: dict[str, list[Worker]] = {one.name: [] for one in self.candidates}

    def _is_possible(self, candidate: Candidate) -> bool:
        modules = candidate.missing()
        servers = [kind for kind in candidate.cache_servers if kind not in self.bench.running]
        if modules or servers:
            self.absent[candidate.name] = "not installed: " + ", ".join([*modules, *servers])
        return not (modules or servers)

    # Beginning and end ----------------------------------------------------------------

    def set_up(self) -> None:
        """Databases with rows, empty caches and one process for each candidate."""
        self.say(f"{self.size.items:,} rows in the largest table")
        self.bench.make_database(TEMPLATE)
        plain = next(one for one in CANDIDATES if one.name == REFERENCE)
        settings = plain.settings(self.bench.places)
        settings["DATABASES"]["default"]["NAME"] = TEMPLATE
        loader = Worker(environment_for(settings))
        try:
            loader.call("benchmarks.data.create", items=self.size.items)
        finally:
            loader.close()
        for candidate in list(self.candidates):
            self.say(f"a database and a process for {candidate.title}")
            self.bench.make_database(candidate.database_name, TEMPLATE)
            self.flush(candidate)
            try:
                self.worker(candidate)
            except WorkerError as error:
                self.absent[candidate.name] = error.summary
                self.candidates.remove(candidate)
        if not any(one.name == REFERENCE for one in self.candidates):
            raise RuntimeError(f"plain Django does not work here: {self.absent.get(REFERENCE)}")

    def close(self) -> None:
        for workers in self._workers.values():
            for worker in workers:
                worker.close()

    def flush(self, candidate: Candidate) -> None:
        """Empty what servers keep for it."""
        if "redis" in candidate.cache_servers:
            import redis

            client = redis.Redis.from_url(self.bench.places.redis_for(candidate))
            client.flushdb()
            client.close()

    # Processes ------------------------------------------------------------------------

    def worker(self, candidate: Candidate, number: int = 0) -> Worker:
        """Its process of this number; a new one if that has died."""
        workers = self._workers[candidate.name]
        if number < len(workers) and workers[number].running:
            return workers[number]
        worker = Worker(self.environment(candidate))
        workers[number : number + 1] = [worker]
        worker.call("benchmarks.tasks.ready")
        return worker

    def team(self, candidate: Candidate, processes: int) -> list[Worker]:
        return [self.worker(candidate, number) for number in range(processes)]

    def release(self) -> None:
        """End all processes but the first of each candidate, and close that one's connection."""
        for workers in self._workers.values():
            for worker in workers[1:]:
                worker.close()
            del workers[1:]
            for worker in workers:
                try:
                    worker.call("benchmarks.tasks.close_connection")
                except WorkerError:
                    worker.close()  # the next one who needs it gets another

    def meter(self, candidate: Candidate, **more: int | None) -> Meter:
        """Of the servers that this candidate uses, and of processes that play other parts."""
        cache = [self.bench.running[kind].pid for kind in candidate.cache_servers]
        return Meter({"database": self.bench.running["postgresql"].pid, "cache": cache[0] if cache else None, **more})

    def environment(self, candidate: Candidate, *, max_age: int | None = None) -> dict[str, str]:
        return environment_for(candidate.settings(self.bench.places, max_age=max_age))

    # By turns -------------------------------------------------------------------------

    def by_turns(
        self,
        rounds: int,
        one_slice: Callable[[Candidate], Any],
        *,
        leave_out: Callable[[Candidate], bool] | None = None,
    ) -> dict[str, dict[str, Any]]:
        """``one_slice`` for A, B, C, A, B, C …: candidate → ``rounds``, what it returned, or ``failed``, why not."""
        running = [one for one in self.candidates if leave_out is None or not leave_out(one)]
        found: dict[str, dict[str, Any]] = {one.name: {"rounds": []} for one in running}
        for _ in range(rounds):
            for candidate in list(running):
                try:
                    found[candidate.name]["rounds"].append(one_slice(candidate))
                except (WorkerError, OSError, RuntimeError, subprocess.SubprocessError) as error:
                    found[candidate.name] = {"rounds": [], "failed": explain(error)}
                    running.remove(candidate)
        return found

    def metered(self, candidate: Candidate, function: str, /, **arguments: Any) -> dict[str, Any]:
        """A call to its first process, with what the servers used meanwhile."""
        meter = self.meter(candidate)
        worker = self.worker(candidate)
        before = meter.read()
        answer: dict[str, Any] = worker.call(function, **arguments)
        return answer | meter.since(before)

    # Workloads ------------------------------------------------------------------------

    def measure(self, workload: Workload) -> dict[str, Any]:
        """All candidates at one workload, checked against plain Django's answers.

        Nothing but misses is what ormcache would leave alone after a while: then there would be nothing to measure.
        """
        if workload.group != "misses":
            return self._measure(workload)
        with self.configured(ADAPTIVE=False):
            return self._measure(workload)

    @contextmanager
    def configured(self, **keys: Any) -> Iterator[None]:
        """Settings for the first processes of the candidates of ormcache."""
        ours = [candidate for candidate in self.candidates if candidate.is_ours]
        for candidate in ours:
            self.worker(candidate).call("benchmarks.tasks.configure", **keys)
        try:
            yield
        finally:
            for candidate in ours:
                before = {key: OPTIONS[key].default for key in keys}
                self.worker(candidate).call("benchmarks.tasks.configure", **before)

    def _measure(self, workload: Workload) -> dict[str, Any]:
        checks: dict[str, dict[str, Any]] = {}
        results: dict[str, dict[str, Any]] = {}
        for candidate in self.candidates:
            if workload.blacklisted and candidate.blacklist is None:
                results[candidate.name] = {"rounds": [], "unavailable": "it has no blacklist"}
                continue
            try:
                checks[candidate.name] = self.worker(candidate).call(
                    "benchmarks.tasks.attempt", function=workload.function
                )
            except WorkerError as error:
                results[candidate.name] = {"rounds": [], "failed": explain(error)}
        if REFERENCE not in checks:
            return {**description(workload), "results": results}
        plain = next(one for one in self.candidates if one.name == REFERENCE)
        once = self.worker(plain).call("benchmarks.tasks.estimate", function=workload.function)
        calls = max(1, min(MOST_CALLS, round(self.size.seconds / max(once, 1e-9))))
        # As often as plain Django ran it, so that rows and row versions are the same again.
        others = self.by_turns(
            1,
            lambda candidate: self.worker(candidate).call("benchmarks.tasks.estimate", function=workload.function),
            leave_out=lambda candidate: candidate.name not in checks or candidate.name == REFERENCE,
        )
        for name, one in others.items():
            if "failed" in one:
                results[name] = one
                del checks[name]
        results |= self.by_turns(
            self.rounds,
            lambda candidate: self.metered(
                candidate, "benchmarks.tasks.measure", function=workload.function, times=calls
            ),
            leave_out=lambda candidate: candidate.name not in checks,
        )
        for name, check in checks.items():
            results[name]["statements"] = check["statements"]
            if check["digests"] != checks[REFERENCE]["digests"]:
                results[name]["wrong"] = "its answer is not plain Django's"
        return {**description(workload), "calls": calls, "results": results}


def description(workload: Workload) -> dict[str, Any]:
    return {"name": workload.name, "group": workload.group, "title": workload.title, "write": workload.write}


def explain(error: Exception) -> str:
    """One line for the table."""
    if isinstance(error, WorkerGone):
        return f"crashed: {error.summary}"
    if isinstance(error, WorkerError):
        return error.summary
    return f"{type(error).__name__}: {error}"[:200]
