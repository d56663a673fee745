"""The order of a run, and what it writes down about itself."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
from typing import Any

import psutil

from benchmarks import floor, freshness, growth, herd, memory, mixed, phases, startup, web
from benchmarks.candidates import Candidate
from benchmarks.lobsters import load as lobsters
from benchmarks.servers import Bench
from benchmarks.suite import Suite, explain
from benchmarks.worker import WorkerError
from benchmarks.workloads import Workload

FORMAT = 1  # of the results; counted up when a report could no longer read older ones

#: Experiment → the function that makes it
_EXPERIMENTS = {
    "floor": floor.run,
    "freshness": freshness.run,
    "mixed": mixed.run,
    "phases": phases.run,
    "web": web.run,
    "lobsters": lobsters.run,
    "herd": herd.run,
    "memory": memory.run,
    "startup": startup.run,
    "growth-tables": growth.tables,
    "growth-entries": growth.entries,
    "growth-schema": growth.schema,
}


def everything(suite: Suite, workloads: list[Workload], experiments: list[str]) -> dict[str, Any]:
    """The results of all of these, as the report reads them."""
    results: dict[str, Any] = {"workloads": [], "experiments": {}, "failures": {}}
    for number, workload in enumerate(workloads, 1):
        suite.say(f"{workload.title} ({number} of {len(workloads)})")
        try:
            results["workloads"].append(suite.measure(workload))
        except WorkerError as error:  # of plain Django, without which nothing can be compared
            results["failures"][workload.name] = explain(error)
    for name in experiments:
        suite.say(f"experiment: {name}")
        try:
            results["experiments"][name] = _EXPERIMENTS[name](suite)
        except web.WrkMissing:
            raise
        except Exception as error:  # the others are still worth their time
            results["failures"][name] = explain(error)
        suite.release()
    return results


def circumstances(bench: Bench, candidates: list[Candidate], options: dict[str, Any]) -> dict[str, Any]:
    """Machine, versions, date, load and options: what a reader needs to judge the figures."""
    return {
        "format": FORMAT,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "options": options,
        "load": os.getloadavg(),
        "machine": {
            "system": f"{platform.system()} {platform.release()}",
            "architecture": platform.machine(),
            "cpu": _cpu(),
            "cores": os.cpu_count(),
            "memory": psutil.virtual_memory().total,
        },
        "versions": {"Python": platform.python_version(), **_distributions(candidates), **bench.versions()},
        "candidates": [{"name": one.name, "title": one.title, "blacklist": one.blacklist} for one in candidates],
    }


def _cpu() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or "unknown"


def _distributions(candidates: list[Candidate]) -> dict[str, str]:
    found = {}
    for name in dict.fromkeys(name for one in candidates for name in one.distributions):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
