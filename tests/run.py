"""Run all tests, part by part, and print the closing line of each at the end.

``python tests/run.py [--parts NAME ...] [--early PYTHON] [--coverage] --pythons FULL [OTHER ...]``: interpreters whose
environments have ormcache and its test dependencies. The first one runs everything, the others everything that is not
slow, with a fifth of the examples of generated tests. A part is one pytest process with servers of its own, or two. As
many of them run at the same time as the machine has cores, and one more, because tests wait. ``--early`` names an
interpreter with the regular expressions of Python before 3.11.5, which runs the unit tests alone. ``--coverage``
measures the lines, or branches, that the last interpreter covers, and reports them at the end. ``--quick``: the first
interpreter runs the parts of :data:`QUICK`. What comes after ``--`` is passed to pytest.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent

#: The longest first, so that none of them is still running when all others have ended
PARTS = {
    "postgresql": ["tests/integration", "--engine=postgresql"],
    "sqlite": ["tests/integration", "--engine=sqlite"],
    "mysql": ["tests/integration", "--engine=mysql"],
    "unit": ["tests/unit", "tests/stores", "tests/test_servers.py"],
    "browser": ["tests/browser"],
    "project": ["tests/project", "tests/protocol"],
    "packaging": ["tests/packaging"],
}
#: The engines' parts run this room in a process of its own: its exhaustive searches take several times as long in a
#: process that thousands of other tests have run in
_SEARCHES = "tests/integration/protocol"
#: What the interpreter that runs everything does not repeat: what is slow, and most of the examples of generated tests
LESS = ["-m", "not slow", "--few"]
#: Rooms of the integration tests that `make quick` runs together, in parts of about the same length
_TOGETHER = {
    "faults": ("faults", "session"),
    "pages": ("pages", "outside", "background"),
    "telemetry": ("management", "telemetry", "contrib", "diagnostics"),
    "stores": ("stores", "cache", "catalog", "connection", "database"),
    "protocol": ("protocol", "django", "backends"),
}
_APART = [f"--ignore=tests/integration/{room}" for rooms in _TOGETHER.values() for room in rooms]
#: What is worth running after every change, in an order in which no part ends long after all others
QUICK = {
    "unit": ["tests/unit", "--ignore=tests/unit/sql", "tests/protocol", "tests/project", *LESS],
    "sqlite, others": ["tests/integration", "tests/stores/embedded", *_APART, "--engine=sqlite", *LESS],
    **{
        f"sqlite, {name}": [*(f"tests/integration/{room}" for room in rooms), "--engine=sqlite", *LESS]
        for name, rooms in _TOGETHER.items()
    },
    "sql": ["tests/unit/sql", *LESS],
}
#: How many parts run at the same time: one more than there are cores, because tests wait
AT_ONCE = (os.cpu_count() or 1) + 1
#: The same of the parts of `make quick`, of which some wait more than they compute
AT_ONCE_QUICKLY = (os.cpu_count() or 1) + 2
#: What an early Python runs: what has to do with regular expressions
EARLY = ["tests/unit", "--ignore=tests/unit/cache", *LESS]
#: What neither the interpreter nor Django changes, or what is slow as a whole
ONCE = {"packaging", "project"}
#: What the last interpreter runs alone: the admin's pages of the newest Django
NEWEST = {"browser"}
#: Rooms that speak SQL through others alone: on PostgreSQL and MySQL the interpreter that runs everything suffices
_ABOVE_SQL = (
    *("background", "contrib", "diagnostics", "management", "pages"),
    *("purging", "stores", "telemetry", "testing"),
)
#: Part → what the interpreters after the first leave out of it, besides what is in LESS
LEFT_OUT = {key: [f"--ignore=tests/integration/{room}" for room in _ABOVE_SQL] for key in ("postgresql", "mysql")}
#: Pythons that report lines to a tool cheaply, and not yet branches
LINES_ALONE = ("Python 3.12.", "Python 3.13.")
#: Lines of the coverage report that are shown, its heading included
LEAST_COVERED = 22
#: Pytest's exit status where no test of a part is what was asked for with ``-k``
NONE_SELECTED = 5

VERSIONS = "import platform, django; print(f'Python {platform.python_version()}, Django {django.__version__}')"
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class Result(NamedTuple):
    status: int  # pytest's exit status
    title: str
    closing: str  # pytest's last line
    failures: list[str]  # its lines about tests that failed


def run_part(python: str, title: str, arguments: list[str], prefix: str, *, coverage: bool = False) -> Result:
    """Run pytest, and show its output as it comes."""
    closing, failures = "no output", []
    measuring, environment = measured(title) if coverage else ([], {})
    command = [python, "-m", *measuring, "pytest", *arguments]
    given = os.environ | keeping_bytecode() | environment
    with subprocess.Popen(
        command, cwd=ROOT, env=given, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(f"{prefix}{line}", end="", flush=True)
            plain = COLOUR.sub("", line).strip()
            closing = plain.strip("= ") or closing
            if plain.startswith(("FAILED ", "ERROR ")):
                failures.append(plain)
    return Result(process.returncode, title, closing, failures)


def keeping_bytecode() -> dict[str, str]:
    """Return an environment in which Python keeps what it compiles, below ``build`` where it is to keep none beside it.

    Else each of the hundreds of processes that tests start would compile the whole package.
    """
    if not os.environ.get("PYTHONDONTWRITEBYTECODE"):
        return {}
    return {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(ROOT / "build" / "bytecode")}


def measured(title: str) -> tuple[list[str], dict[str, str]]:
    """How to measure coverage on this Python, and the environment for it.

    Branches, unless Python can tell of lines at next to no cost and not yet of branches: those take half as long again.
    """
    if title.startswith(LINES_ALONE):
        return ["coverage", "run", "-m"], {"COVERAGE_CORE": "sysmon"}
    return ["coverage", "run", "--branch", "-m"], {}


def versions_of(python: str) -> str:
    return subprocess.run([python, "-c", VERSIONS], capture_output=True, text=True, check=True).stdout.strip()


class Task(NamedTuple):
    """A part, or a process of one, on one interpreter."""

    python: str
    part: str
    arguments: list[str]
    coverage: bool = False

    def run(self) -> Result:
        versions = versions_of(self.python)
        title, prefix = f"{versions}: {self.part}", f"{versions.split(',')[0].removeprefix('Python ')} {self.part} | "
        print(f"{prefix}\n{prefix}##### {title}", flush=True)
        return run_part(self.python, title, self.arguments, prefix, coverage=self.coverage)


def tasks(asked: argparse.Namespace, extra: list[str]) -> list[Task]:
    """The parts that were asked for, on all interpreters."""
    found = []
    first, last = asked.pythons[0], asked.pythons[-1]
    for part, arguments in PARTS.items():
        if part not in asked.parts:
            continue
        for python in asked.pythons:
            if (part in ONCE and python != first) or (part in NEWEST and python != last):
                continue
            # What runs on one interpreter alone runs as a whole.
            fewer = [] if python == first or part in NEWEST else [*LESS, *LEFT_OUT.get(part, [])]
            coverage = asked.coverage and python == last
            found += [
                Task(python, title, [*chosen, *fewer, *extra], coverage)
                for title, chosen in processes_of(part, arguments)
            ]
        if part == "unit" and asked.early is not None:
            found.append(Task(asked.early, "unit, early", [*EARLY, *extra]))
    return found


def processes_of(part: str, arguments: list[str]) -> list[tuple[str, list[str]]]:
    """Return the title and pytest's arguments of each process of a part."""
    if "tests/integration" not in arguments:
        return [(part, arguments)]
    searches = [_SEARCHES if one == "tests/integration" else one for one in arguments]
    return [(part, [*arguments, f"--ignore={_SEARCHES}"]), (f"{part}, protocol", searches)]


def run_everything(asked: argparse.Namespace, extra: list[str]) -> list[Result]:
    """Run the parts that were asked for, a few at the same time."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(Task.run, tasks(asked, extra)))


def run_quickly(python: str, extra: list[str]) -> list[Result]:
    """Run the parts of :data:`QUICK`, a few at the same time."""
    with ThreadPoolExecutor(AT_ONCE_QUICKLY) as pool:
        running = [
            pool.submit(run_part, python, f"quick: {part}", [*arguments, *extra], f"{part} | ")
            for part, arguments in QUICK.items()
        ]
        return [one.result() for one in running]


def report_coverage(python: str) -> None:
    """Print the total, and the modules that are covered least. Processes that tests start are not measured."""
    subprocess.run([python, "-m", "coverage", "combine", "--quiet"], cwd=ROOT, check=False)
    command = [python, "-m", "coverage", "report", "--skip-covered", "--sort=cover"]
    report = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout.splitlines()
    print("\n##### Coverage: the modules that are covered least, and the total")
    print("\n".join([*report[:LEAST_COVERED], *report[-3:]]))


def main() -> int:
    arguments = sys.argv[1:]
    split = arguments.index("--") if "--" in arguments else len(arguments)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--pythons", nargs="+", required=True, metavar="PYTHON")
    parser.add_argument("--early", metavar="PYTHON")
    parser.add_argument("--coverage", action="store_true")
    parser.add_argument("--quick", action="store_true")
    asked = parser.parse_args(arguments[:split])
    extra = arguments[split + 1 :]
    started = time.monotonic()
    if asked.quick:
        results = run_quickly(asked.pythons[0], extra)
    else:
        results = run_everything(asked, extra)
        if asked.coverage:
            report_coverage(asked.pythons[-1])

    print(f"\n##### All parts, {time.monotonic() - started:.0f} s")
    passed = {0, NONE_SELECTED} if extra else {0}
    width = max(len(result.title) for result in results)
    for result in results:
        print(f"{'FAILED' if result.status not in passed else 'ok':6}  {result.title:{width}}  {result.closing}")
        for failure in result.failures:
            print(f"        {failure}")
    statuses = {result.status for result in results}
    return 0 if statuses <= passed and 0 in statuses else 1


if __name__ == "__main__":
    sys.exit(main())
