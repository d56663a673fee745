"""What the tests of the stores share."""

from __future__ import annotations

import contextlib
import faulthandler
import multiprocessing
import os
import pickle
import signal
import socket
import threading
import time
import traceback
import warnings
from collections.abc import Callable
from typing import Any, Self

import pytest

from ormcache.exceptions import StoreUnavailable
from ormcache.stores.base import ROW_SLOT_LENGTH, STAMP, WRITER_LENGTH
from ormcache.stores.embedded.files import MIB, SLOTS_FILE_PER_PLACE, SLOTS_SIZE

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


def row_names(count: int) -> list[bytes]:
    """Names of slots of rows that share no place in an embedded store, of whatever size the tests make it."""
    rows: list[bytes] = []
    taken: set[tuple[int, int]] = set()
    while len(rows) < count:
        row = os.urandom(ROW_SLOT_LENGTH)
        number = int.from_bytes(row, "big")
        places = {(size, number % (size // SLOTS_FILE_PER_PLACE)) for size in (MIB, 2 * MIB, SLOTS_SIZE)}
        if taken.isdisjoint(places):
            rows.append(row)
            taken |= places
    return rows


def unavailable(call: Callable[[], Any]) -> float:
    """Seconds until the call failed."""
    began = time.monotonic()
    with pytest.raises(StoreUnavailable):
        call()
    return time.monotonic() - began


def quickest(call: Callable[[], Any], clock: Clock, past_back_off: bool = True, *, enough: float = 0.0) -> float:
    """Seconds until the call failed, at best: a busy machine may stop this process now and then.

    It is called three times, and more often until it took less than ``enough`` seconds once. Whoever waits twice as
    long as they should never do.
    """
    took: list[float] = []
    while len(took) < 3 or (min(took) >= enough > 0 and len(took) < 20):
        if past_back_off:
            clock.advance(60)
        took.append(unavailable(call))
    return min(took)


def answered(call: Callable[[], Any], clock: Clock) -> Any:
    """Return what a call to a store returns that gives up soon, on a machine so busy that it may have to."""
    for _ in range(20):
        try:
            return call()
        except StoreUnavailable:
            clock.advance(60)
    return call()


class Relay:
    """A port in front of a server: what the server sends goes on in pieces, and only as far as the test allows."""

    def __init__(self, host: str, port: int) -> None:
        self._server = (host, port)
        #: the most bytes that are sent on at once; None: as they come
        self.piece: int | None = None
        self._left: int | None = None  # bytes that are still sent on before what is to happen then; None: nothing is
        self._then: Callable[[], object] = self._cut
        self._goes_on = threading.Event()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(self, *error: object) -> None:
        self.go()
        _shut(self._listening)
        self._threads[0].join()  # accepts no more
        self._cut()
        for thread in self._threads:
            thread.join()
        for one in (self._listening, *self._sockets):
            one.close()

    def hold_after(self, length: int) -> None:
        """Send on so many more bytes of the server, and the others not before :meth:`go`."""
        self._then, self._left = self._goes_on.wait, length

    def go(self) -> None:
        self._goes_on.set()

    def cut_after(self, length: int) -> None:
        """End all connections once so many more bytes of the server have gone through."""
        self._then, self._left = self._cut, length

    def _start(self, target: Callable[..., None], *args: Any) -> None:
        thread = threading.Thread(target=target, args=args)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                server = socket.create_connection(self._server)
                for one in (client, server):
                    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._sockets += [client, server]
                self._start(self._pass_on, client, server, server.sendall)
                self._start(self._pass_on, server, client, lambda data, client=client: self._send_back(client, data))

    def _pass_on(self, source: socket.socket, target: socket.socket, send: Callable[[bytes], None]) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(2**16):
                send(data)
        _shut(target)

    def _send_back(self, client: socket.socket, data: bytes) -> None:
        piece = self.piece or len(data)
        for begin in range(0, len(data), piece):
            part = data[begin : begin + piece]
            if self._left is not None and len(part) >= self._left:
                at, self._left = self._left, None
                client.sendall(part[:at])
                part = part[at:]
                self._then()
            elif self._left is not None:
                self._left -= len(part)
            client.sendall(part)

    def _cut(self) -> None:
        for one in list(self._sockets):  # not those of who connects again at once
            _shut(one)


def _shut(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)


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
