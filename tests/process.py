"""Another process of the same site: runs one function, and stops at named points on the way.

The fixture ``other_process`` is the test's side of it. Run as a program, this module is the other side: it reads one
line of JSON that says what to do, then one line for each point to go on from, and answers in lines of JSON.
"""

from __future__ import annotations

import functools
import importlib
import json
import os
import queue
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from typing import Any

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
START_TIMEOUT = 60.0  # seconds; importing Django on a busy machine takes a few


class OtherProcessError(Exception):
    """The function raised, in the other process; carries its traceback."""


class OtherProcess:
    """One function on its way in a process of its own."""

    def __init__(self, function: str, args: Sequence[Any], kwargs: dict[str, Any], stops: Sequence[str]) -> None:
        self._answers: queue.Queue[dict[str, Any]] = queue.Queue()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.process"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        threading.Thread(target=self._listen, daemon=True).start()
        self._say({"function": function, "args": list(args), "kwargs": kwargs, "stops": list(stops)})

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait_for(self, stop: str, timeout: float = START_TIMEOUT) -> None:
        """Until it stands at this point."""
        answer = self._answer(timeout)
        if "result" in answer:
            raise OtherProcessError(f"the function returned {answer['result']!r} before it came to {stop!r}")
        assert answer["stopped"] == stop, f"it stands at {answer['stopped']!r}, not at {stop!r}"

    def go(self) -> None:
        """On from where it stands."""
        self._say({})

    def result(self, timeout: float = START_TIMEOUT) -> Any:
        """What the function returned, as JSON carries it (tuples are lists), or OtherProcessError if it raised."""
        answer = self._answer(timeout)
        assert "result" in answer, f"it stands at {answer['stopped']!r}; let it go() on first"
        self._process.wait(timeout)
        return answer["result"]

    def kill(self) -> None:
        """SIGKILL: no ``finally``, no exit handler."""
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        self.kill()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()

    def _say(self, message: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message) + "\n")
        self._process.stdin.flush()

    def _answer(self, timeout: float) -> dict[str, Any]:
        try:
            answer = self._answers.get(timeout=timeout)
        except queue.Empty:
            raise TimeoutError(f"no answer from process {self.pid} in {timeout} s") from None
        if "error" in answer:
            raise OtherProcessError(answer["error"])
        return answer

    def _listen(self) -> None:
        assert self._process.stdout is not None
        try:
            for line in self._process.stdout:
                self._answers.put(json.loads(line))
        except ValueError:
            pass  # closed meanwhile
        self._answers.put({"error": "the process ended without an answer; see its output above"})


# The other side ---------------------------------------------------------------

_stops: frozenset[str] = frozenset()
_turn = threading.Lock()  # one thread at a time stands at a point


def stop(name: str) -> None:
    """Stand here until the test says go, if it asked for a stop of this name."""
    if name not in _stops:
        return
    with _turn:
        _answer(stopped=name)
        sys.stdin.readline()


def stop_around(name: str) -> None:
    """Make ``"before:package.module.Class.method"`` (or ``after:``) a point, whoever calls that function."""
    when, _, path = name.partition(":")
    *owners, attribute = path.split(".")
    owner = resolve(".".join(owners))
    function = getattr(owner, attribute)

    @functools.wraps(function)
    def stopping(*args: Any, **kwargs: Any) -> Any:
        if when == "before":
            stop(name)
        result = function(*args, **kwargs)
        if when == "after":
            stop(name)
        return result

    setattr(owner, attribute, stopping)


def resolve(path: str) -> Any:
    """The module, class or function of this dotted name."""
    parts = path.split(".")
    for length in range(len(parts), 0, -1):
        name = ".".join(parts[:length])
        try:
            found = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is None or not (name == error.name or name.startswith(f"{error.name}.")):
                raise  # it is there, and imports something that is not
            continue
        return functools.reduce(getattr, parts[length:], found)
    raise ModuleNotFoundError(path)


def _answer(**message: Any) -> None:
    _replies.write(json.dumps(message) + "\n")
    _replies.flush()


def main() -> None:
    global _stops, _replies
    # What the function prints must not mix with the answers.
    _replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    asked = json.loads(sys.stdin.readline())
    _stops = frozenset(asked["stops"])
    try:
        import django

        django.setup()
        for name in asked["stops"]:
            if ":" in name:
                stop_around(name)
        function: Callable[..., Any] = resolve(asked["function"])
        _answer(result=function(*asked["args"], **asked["kwargs"]))
    except BaseException:  # whatever ends the function is the answer
        _answer(error=traceback.format_exc())


_replies: Any = None

if __name__ == "__main__":
    # As `tests.process`, not `__main__`: functions import `stop` from there.
    importlib.import_module("tests.process").main()
