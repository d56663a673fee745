"""What the tests of the stores share."""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import pickle
import signal
import time
import traceback
import warnings
from collections.abc import Callable
from typing import Any

import pytest

from ormcache.stores.base import STAMP, WRITER_LENGTH, StoreUnavailable

HANGS = 40  # seconds after which a forked process is given up


class Clock:
    """A clock that moves when the test says so."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


def stamp() -> bytes:
    return STAMP + os.urandom(16)


def writer() -> bytes:
    return os.urandom(WRITER_LENGTH)


def name() -> bytes:
    """A name that no other test uses, with bytes in it that text protocols choke on."""
    return b"\x00\r\n \xff" + os.urandom(16)


def names(count: int) -> list[bytes]:
    return [name() for _ in range(count)]


def eventually(check: Callable[[], Any], within: float = 10.0) -> Any:
    """The first true answer of ``check``; fails when there is none in time."""
    deadline = time.monotonic() + within
    while True:
        answer = check()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"not within {within} seconds"
        time.sleep(0.01)


def unavailable(call: Callable[[], Any]) -> float:
    """Seconds until the call failed."""
    began = time.monotonic()
    with pytest.raises(StoreUnavailable):
        call()
    return time.monotonic() - began


def quickest(call: Callable[[], Any], clock: Clock, past_back_off: bool = True) -> float:
    """Seconds until the call failed, at best of three: a busy machine may stop this process now and then."""
    took = []
    for _ in range(3):
        if past_back_off:
            clock.advance(60)
        took.append(unavailable(call))
    return min(took)


class Child:
    """A function in a forked process."""

    def __init__(self, function: Callable[..., Any], *args: Any) -> None:
        self._reading, writing = os.pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of forking where there are threads: that is tested
            self.pid = os.fork()
        if self.pid:
            os.close(writing)
            return
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            faulthandler.register(signal.SIGALRM, chain=True)  # says where it stands, then ends it
            signal.alarm(HANGS)
            try:
                answer = (True, function(*args))
            except BaseException:  # whatever it is, it is this process that ends here
                answer = (False, traceback.format_exc())
            with os.fdopen(writing, "wb") as pipe:
                pickle.dump(answer, pipe)
        finally:
            os._exit(0)

    def result(self) -> Any:
        with os.fdopen(self._reading, "rb") as pipe:
            answer = pipe.read()
        os.waitpid(self.pid, 0)
        assert answer, f"process {self.pid} ended without an answer, or hung and wrote to stderr where"
        done, value = pickle.loads(answer)
        assert done, value
        return value

    def killed(self) -> None:
        """Wait for the end of a process that has been, or will be, killed."""
        os.close(self._reading)
        os.waitpid(self.pid, 0)


class Partner:
    """A forked process that runs functions when it is told to.

    For what must be seen between two processes that both have their files open: a fork closes them.
    """

    def __init__(self, **functions: Callable[..., Any]) -> None:
        self._asking, asked = multiprocessing.Pipe()

        def serve() -> None:
            while True:
                function, args = asked.recv()
                if function is None:
                    return
                try:
                    asked.send((True, functions[function](*args)))
                except BaseException:  # whatever it is, it is the answer
                    asked.send((False, traceback.format_exc()))

        self._child = Child(serve)
        self.pid = self._child.pid

    def __call__(self, function: str, *args: Any) -> Any:
        self._asking.send((function, args))
        assert self._asking.poll(HANGS), f"process {self.pid} does not answer"
        done, value = self._asking.recv()
        assert done, value
        return value

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        self._child.killed()

    def end(self) -> None:
        self._asking.send((None, ()))
        self._child.result()
