"""A process that is one candidate and runs functions of the suite when told to.

The suite writes a line of JSON for each call, ``{"function": "benchmarks.tasks.measure", "arguments": {…}}``, and reads
a line with ``result`` or ``error``. What a function prints goes to the standard error stream.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
import traceback
from pkgutil import resolve_name
from typing import Any

from benchmarks.candidates import VARIABLE

CALL_TIMEOUT = 900.0  # seconds; the largest growth experiment fills 100,000 entries in one call


class WorkerError(Exception):
    """A function raised in the worker. The last line is the error, the rest its traceback."""

    @property
    def summary(self) -> str:
        return str(self).strip().splitlines()[-1][:200]


class WorkerGone(WorkerError):
    """The process ended, or did not answer in time and was killed."""


class Worker:
    """The suite's side."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker"],
            env=os.environ | environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        self._answers: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._said: list[str] = []  # the end of what it wrote to its error stream
        threading.Thread(target=self._listen, daemon=True).start()
        self._overhearing = threading.Thread(target=self._overhear, daemon=True)
        self._overhearing.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def call(self, function: str, /, **arguments: Any) -> Any:
        """The function's result as JSON carries it. Raises WorkerError."""
        self.begin(function, **arguments)
        return self.finish()

    def begin(self, function: str, /, **arguments: Any) -> None:
        """Start a call and do not wait; :meth:`finish` does."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"function": function, "arguments": arguments}) + "\n")
            self._process.stdin.flush()
        except OSError as error:
            raise WorkerGone(self._last_words()) from error

    def finish(self) -> Any:
        try:
            answer = self._answers.get(timeout=CALL_TIMEOUT)
        except queue.Empty:
            self.close()
            raise WorkerGone(f"no answer in {CALL_TIMEOUT:.0f} s") from None
        if answer is None:
            raise WorkerGone(self._last_words())
        if "error" in answer:
            raise WorkerError(answer["error"])
        return answer["result"]

    def close(self) -> None:
        self._process.kill()
        self._process.wait()

    def _last_words(self) -> str:
        try:
            ended = f"the process ended with {self._process.wait(5)}"
        except subprocess.TimeoutExpired:
            ended = "the process closed its output"
        self._overhearing.join(5)
        return "\n".join([ended, *self._said[-20:]])

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._answers.put(json.loads(line))
        self._answers.put(None)

    def _overhear(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._said = [*self._said[-100:], line.rstrip()]


def environment_for(settings: dict[str, Any]) -> dict[str, str]:
    """What makes a new process that candidate."""
    return {
        VARIABLE: json.dumps(settings),
        "DJANGO_SETTINGS_MODULE": "benchmarks.settings",
        "PYTHONHASHSEED": "0",  # one source of differences between rounds less
    }


def main() -> None:
    # What is printed must not mix with the answers.
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    import django

    django.setup()
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            answer = {"result": resolve_name(asked["function"])(**asked["arguments"])}
            text = json.dumps(answer)
        except Exception:
            text = json.dumps({"error": traceback.format_exc()})
        replies.write(text + "\n")
        replies.flush()


if __name__ == "__main__":
    main()
