"""Import, ``django.setup()`` and the first query of a fresh process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

from benchmarks.candidates import Candidate
from benchmarks.suite import Suite

PROGRAM = """
import json, time
began, cpu = time.perf_counter(), time.process_time()
import django
django.setup()
imported = time.perf_counter()
from benchmarks import calls
calls.get()
print(json.dumps({
    "wall": time.perf_counter() - began,
    "imports": imported - began,
    "application": time.process_time() - cpu,
    "calls": 1,
}))
"""


def run(suite: Suite) -> dict[str, Any]:
    return suite.by_turns(suite.size.startup_rounds, lambda candidate: _slice(suite, candidate))


def _slice(suite: Suite, candidate: Candidate) -> dict[str, Any]:
    environment = os.environ | suite.environment(candidate)
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError((done.stderr.strip() or "no output").splitlines()[-1])
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer
