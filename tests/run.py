"""Runs all tests, part by part, and prints the closing line of each at the end.

``python tests/run.py [--parts NAME ...] --pythons FULL [QUICK ...]``: interpreters whose environments have ormcache and
its test dependencies. The first one runs everything, the others everything that is not slow. What comes after ``--``
goes to pytest.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import time
from pathlib import Path

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


def run_part(python: str, arguments: list[str]) -> tuple[int, str]:
    """Run pytest, show its output as it comes, and return its exit status and its closing line."""
    closing = "no output"
    with subprocess.Popen(
        [python, "-m", "pytest", *arguments], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            closing = COLOUR.sub("", line).strip().strip("= ") or closing
    return process.returncode, closing


def main() -> int:
    arguments = sys.argv[1:]
    split = arguments.index("--") if "--" in arguments else len(arguments)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--pythons", nargs="+", required=True, metavar="PYTHON")
    asked = parser.parse_args(arguments[:split])
    extra = arguments[split + 1 :]
    started = time.monotonic()
    results = []
    for python in asked.pythons:
        versions = subprocess.run([python, "-c", VERSIONS], capture_output=True, text=True, check=True).stdout.strip()
        first = python == asked.pythons[0]
        for part in asked.parts:
            if part in ONCE and not first:
                continue
            title = f"{versions}: {part}"
            print(f"\n##### {title}", flush=True)
            status, closing = run_part(python, [*PARTS[part], *([] if first else ["-m", "not slow"]), *extra])
            results.append((status, title, closing))

    print(f"\n##### All parts, {time.monotonic() - started:.0f} s")
    passed = {0, NONE_SELECTED} if extra else {0}
    width = max(len(title) for _, title, _ in results)
    for status, title, closing in results:
        print(f"{'FAILED' if status not in passed else 'ok':6}  {title:{width}}  {closing}")
    return 0 if all(status in passed for status, _, _ in results) and any(not status for status, _, _ in results) else 1


if __name__ == "__main__":
    sys.exit(main())
