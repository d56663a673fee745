"""Runs all tests, part by part, and prints the closing line of each at the end.

``python tests/run.py [--parts NAME ...] --pythons FULL [QUICK ...]``: interpreters whose environments have ormcache and
its test dependencies. The first one runs everything, the others everything that is not slow. They run beside each
other, each with servers of its own; a part is one pytest process. What comes after ``--`` goes to pytest.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent

#: What does not depend on the database engine runs once
PARTS = {
    "unit": ["tests/unit", "tests/stores", "tests/test_servers.py"],
    "packaging": ["tests/packaging"],
    "browser": ["tests/browser"],
    "sqlite": ["tests/live", "--engine=sqlite"],
    "postgresql": ["tests/live", "--engine=postgresql"],
    "mysql": ["tests/live", "--engine=mysql"],
}
#: All slow: nothing of it is left for the other interpreters
ONCE = {"packaging"}
#: Pytest's exit status where no test of a part is what was asked for with ``-k``
NONE_SELECTED = 5

VERSIONS = "import platform, django; print(f'Python {platform.python_version()}, Django {django.__version__}')"
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class Result(NamedTuple):
    status: int  # pytest's exit status
    title: str
    closing: str  # pytest's last line
    failures: list[str]  # its lines about tests that failed


def run_part(python: str, title: str, arguments: list[str], prefix: str) -> Result:
    """Run pytest, and show its output as it comes."""
    closing, failures = "no output", []
    with subprocess.Popen(
        [python, "-m", "pytest", *arguments], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(f"{prefix}{line}", end="", flush=True)
            plain = COLOUR.sub("", line).strip()
            closing = plain.strip("= ") or closing
            if plain.startswith(("FAILED ", "ERROR ")):
                failures.append(plain)
    return Result(process.returncode, title, closing, failures)


def run_parts(python: str, parts: list[str], extra: list[str], *, full: bool, alone: bool) -> list[Result]:
    """Run these parts on one interpreter, one after the other. Not ``alone``: each line says on which."""
    versions = subprocess.run([python, "-c", VERSIONS], capture_output=True, text=True, check=True).stdout.strip()
    prefix = "" if alone else f"{versions.split(',')[0].removeprefix('Python ')} | "
    results = []
    for part in parts:
        if part in ONCE and not full:
            continue
        title = f"{versions}: {part}"
        print(f"{prefix}\n{prefix}##### {title}", flush=True)
        chosen = [*PARTS[part], *([] if full else ["-m", "not slow"]), *extra]
        results.append(run_part(python, title, chosen, prefix))
    return results


def main() -> int:
    arguments = sys.argv[1:]
    split = arguments.index("--") if "--" in arguments else len(arguments)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--pythons", nargs="+", required=True, metavar="PYTHON")
    asked = parser.parse_args(arguments[:split])
    extra = arguments[split + 1 :]
    started = time.monotonic()
    alone = len(asked.pythons) == 1
    with ThreadPoolExecutor(len(asked.pythons)) as pool:
        running = [
            pool.submit(run_parts, python, asked.parts, extra, full=number == 0, alone=alone)
            for number, python in enumerate(asked.pythons)
        ]
        results = [result for one in running for result in one.result()]

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
