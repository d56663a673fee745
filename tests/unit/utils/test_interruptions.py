"""What arrives from outside is told from what a call raises by itself."""

from __future__ import annotations

import ctypes
import functools
import signal
import threading
from collections.abc import Callable
from typing import Any

import pytest

from ormcache.utils.interruptions import external_exception


class Limit(Exception):
    """As Celery's and RQ's: an Exception."""


class Handler:
    def method(self, signum: int, frame: object) -> None:
        raise Limit

    def __call__(self, *args: object) -> None:
        raise TimeoutError


def _handle(signum: int, frame: object) -> None:
    raise Limit


def _handle_by_keyword(what: str, signum: int, frame: object, *, more: int = 0) -> None:
    _raise()


def _raise() -> None:
    raise TimeoutError


@pytest.fixture
def interrupt() -> Any:
    before = signal.getsignal(signal.SIGUSR1)

    def run(handler: Any, call: Callable[[], object] = lambda: None) -> None:
        signal.signal(signal.SIGUSR1, handler)
        signal.raise_signal(signal.SIGUSR1)
        call()

    yield run
    signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize(
    "handler",
    [_handle, Handler().method, Handler(), functools.partial(_handle_by_keyword, "x"), lambda *args: _raise()],
    ids=["function", "method", "object", "partial", "lambda"],
)
def test_what_a_handler_raises(interrupt: Any, handler: Any) -> None:
    with pytest.raises((Limit, TimeoutError)) as raised:
        interrupt(handler)
    assert external_exception(raised.value) is raised.value


def test_what_a_client_makes_of_it(interrupt: Any) -> None:
    def client() -> None:
        try:
            interrupt(_handle)
        except Limit:
            raise ConnectionError("timed out") from None

    with pytest.raises(ConnectionError) as raised:
        client()
    assert type(external_exception(raised.value)) is Limit


def test_what_the_caller_is_handling_is_none_of_it(interrupt: Any) -> None:
    """A task whose limit has passed cleans up, and the store is away: it is."""

    try:
        interrupt(_handle)
    except Limit:
        with pytest.raises(TimeoutError) as raised:
            _raise()
        assert type(raised.value.__context__) is Limit
        # As if it had been caught inside of the call: without the frames of its caller.
        assert external_exception(raised.value.with_traceback(raised.tb.tb_next)) is None


def test_what_a_call_raises_by_itself() -> None:
    with pytest.raises(TimeoutError) as raised:
        _raise()
    assert external_exception(raised.value) is None


def test_no_memory_is_nobodys_failure() -> None:
    error = MemoryError()
    assert external_exception(error) is error


def test_what_another_thread_raises_here_is_recognized_by_its_type() -> None:
    """As RQ does where there are no signals: no frame says where it comes from."""
    with pytest.raises(Limit) as raised:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(threading.get_ident()), ctypes.py_object(Limit))
        for _ in range(1000):
            pass
    assert external_exception(raised.value) is None
