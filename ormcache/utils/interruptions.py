"""Exceptions that arrive from outside: what they interrupt has not failed, and must not swallow them.

A signal handler runs between any two instructions of the main thread. What it raises (Celery's SoftTimeLimitExceeded,
RQ's JobTimeoutException, the TimeoutError of a program that has set an alarm) comes out of whatever was running then.
Caught here as an error of the store, it would be lost, and the task would go on without its limit. Two rules prevent
that:

* **By type.** An ``except`` clause names the errors of the client, and :data:`UNEXPECTED`: what code raises that meets
  bytes or values that it did not expect. Everything else passes.
* **By origin.** A signal handler may raise a type that a client raises as well: TimeoutError is what a socket raises.
  But Python passes the frame that was interrupted to a signal handler. So a function in a traceback is a signal handler
  if a frame is among its arguments, which is otherwise true of tracing functions alone.

A client may convert an exception that has interrupted it into an error of its own. Then the original is that error's
context, and the original is raised. A context from before the call, which the caller is handling at the time, does not
count: its traceback does not begin inside the call.
"""

from __future__ import annotations

import inspect
from types import FrameType, TracebackType

#: What code raises that meets bytes or values that it did not expect; neither MemoryError nor a base class of it
UNEXPECTED = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    OSError,
    RecursionError,
    TypeError,
    ValueError,
)


def let_through(error: BaseException) -> None:
    """Raise the exception from outside that an error is, or was made of; otherwise return.

    ``error``: caught right around the call that raised it.
    """
    external = external_exception(error)
    if external is not None:
        raise external


def external_exception(error: BaseException) -> BaseException | None:
    """Return the exception from outside that an error is, or was made of; None: the call itself has failed."""
    inside: set[FrameType] = set()
    raised: BaseException | None = error
    while raised is not None:
        frames = _frames(raised.__traceback__)
        if inside and (not frames or frames[0] not in inside):
            return None  # from before the call
        if isinstance(raised, MemoryError) or any(map(_is_signal_handler, frames)):
            return raised
        inside.update(frames)
        raised = raised.__context__
    return None


def _frames(traceback: TracebackType | None) -> list[FrameType]:
    """Return the frames of a traceback, outermost first."""
    frames = []
    while traceback is not None:
        frames.append(traceback.tb_frame)
        traceback = traceback.tb_next
    return frames


def _is_signal_handler(frame: FrameType) -> bool:
    """Return whether the function of this frame was passed a frame, as signal handlers are."""
    code = frame.f_code
    number = code.co_argcount + code.co_kwonlyargcount + bool(code.co_flags & inspect.CO_VARARGS)
    values = frame.f_locals
    for name in code.co_varnames[:number]:
        value = values.get(name)
        if isinstance(value, FrameType) or (
            type(value) is tuple and any(isinstance(item, FrameType) for item in value)
        ):
            return True
    return False
