"""Another process of the same site: runs one function, and stops at named points on the way.

The fixture ``other_process`` is the test's side of it. The other side is forked from a process that has set Django up,
imported :data:`PRELOADED` and done nothing else, because importing everything anew takes most of such a test's time:
:class:`Nursery`. It reads one line of JSON that says what to do, then one line for each point to go on from. It answers
in lines of JSON.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import queue
import select
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from typing import Any

from tests import environment

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
#: What nearly all functions need that run in another process; with pytest, which takes most of the time
PRELOADED = "tests.integration.calls"
START_TIMEOUT = 60.0  # seconds; importing Django on a busy machine takes a few


class OtherProcessError(Exception):
    """The function raised, in the other process; carries its traceback."""


class Forked:
    """A process that is no child of this one, in the words of :class:`subprocess.Popen`."""

    def __init__(self, pid: int, stdin: int, stdout: int) -> None:
        self.pid = pid
        self.stdin, self.stdout = os.fdopen(stdin, "w", buffering=1), os.fdopen(stdout)
        self._descriptor = os.pidfd_open(pid)

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):  # it has ended
            signal.pidfd_send_signal(self._descriptor, signal.SIGKILL)

    def wait(self, timeout: float | None = None) -> None:
        ended, _, _ = select.select([self._descriptor], [], [], timeout)
        if not ended:
            raise subprocess.TimeoutExpired("a forked process", timeout or 0)

    def __del__(self) -> None:
        os.close(self._descriptor)


class Nursery:
    """A process that has set Django up, and forks a child for each request. One for each run of pytest or worker."""

    def __init__(self) -> None:
        ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket = ours
        command = [sys.executable, "-m", "tests.process", str(its.fileno())]
        # What the test of now has configured is for its own children, and not for those of later tests.
        unconfigured = {name: value for name, value in os.environ.items() if name != environment.OVERRIDES}
        self._process = subprocess.Popen(command, cwd=ROOT, pass_fds=[its.fileno()], env=unconfigured)
        its.close()

    def fork(self) -> Forked:
        """Fork a child with this process's environment, working directory and stderr."""
        its_stdin, stdin = os.pipe()
        stdout, its_stdout = os.pipe()
        request = json.dumps({"environment": dict(os.environ), "folder": os.getcwd()}).encode()
        socket.send_fds(self._socket, [request], [its_stdin, its_stdout, 2])
        os.close(its_stdin)
        os.close(its_stdout)
        return Forked(int(self._socket.recv(32)), stdin, stdout)

    def close(self) -> None:
        self._socket.close()
        self._process.wait()


_nursery: Nursery | None = None


def new_process() -> Forked | subprocess.Popen[str]:
    global _nursery
    if not hasattr(os, "pidfd_open"):  # Linux has it
        command = [sys.executable, "-m", "tests.process"]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        return subprocess.Popen(command, cwd=ROOT, **pipes, text=True, bufsize=1)
    if _nursery is None:
        _nursery = Nursery()
    return _nursery.fork()


def close_nursery() -> None:
    global _nursery
    if _nursery is not None:
        _nursery.close()
        _nursery = None


class OtherProcess:
    """One function on its way in a process of its own."""

    def __init__(self, function: str, args: Sequence[Any], kwargs: dict[str, Any], stops: Sequence[str]) -> None:
        self._answers: queue.Queue[dict[str, Any]] = queue.Queue()
        self._process = new_process()
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
                with contextlib.suppress(BrokenPipeError):
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


def keep_to_this_run() -> None:
    """Have this process leave notes for others only where those of this run of the tests find them."""
    from ormcache.telemetry import other_stores

    folder = environment.current().own_folder / environment.NOTES
    folder.mkdir(exist_ok=True)
    other_stores.shared_folder = lambda: folder  # type: ignore[attr-defined]


def configure(overrides: str) -> None:
    """Put what a test has configured into the settings, before anything has read them."""
    from django.conf import settings

    for values in settings.DATABASES.values():
        if "ORMCACHE" in values:
            values["ORMCACHE"].update(json.loads(overrides))


def run_child() -> None:
    global _stops, _replies

    # What the function prints must not mix with the answers.
    _replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    asked = json.loads(sys.stdin.readline())
    _stops = frozenset(asked["stops"])
    try:
        configure(os.environ.get(environment.OVERRIDES, "{}"))
        keep_to_this_run()
        for name in asked["stops"]:
            if ":" in name:
                stop_around(name)
        function: Callable[..., Any] = resolve(asked["function"])
        _answer(result=function(*asked["args"], **asked["kwargs"]))
    except BaseException:  # whatever ends the function is the answer
        _answer(error=traceback.format_exc())


def _end() -> None:
    """End in an orderly way, but without taking the interpreter apart, which takes longer than most tests."""
    threading._shutdown()
    atexit._run_exitfuncs()
    _replies.flush()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def fork_on_request(descriptor: int) -> None:
    """Fork a child for each request that comes in by this socket, until it is closed."""
    importlib.import_module(PRELOADED)
    gc.freeze()  # children share the memory of what is there, and need not go through it
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # children that have ended are no zombies
    requests = socket.socket(fileno=descriptor)
    while True:
        message, descriptors, _, _ = socket.recv_fds(requests, 2**20, 3)
        if not message:
            return
        child = os.fork()
        if child == 0:
            requests.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for target, received in enumerate(descriptors):
                os.dup2(received, target)
                os.close(received)
            request = json.loads(message)
            os.environ.clear()
            os.environ.update(request["environment"])
            os.chdir(request["folder"])
            run_child()
            _end()
        for received in descriptors:
            os.close(received)
        requests.send(str(child).encode())


def main() -> None:
    import django

    django.setup()
    if len(sys.argv) > 1:
        fork_on_request(int(sys.argv[1]))
    else:
        run_child()


_replies: Any = None

if __name__ == "__main__":
    # As `tests.process`, not `__main__`: functions import `stop` from there.
    importlib.import_module("tests.process").main()
