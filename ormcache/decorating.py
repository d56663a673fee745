"""Context managers that also decorate, coroutines as well as functions."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager, ContextDecorator
from typing import Any, Self, TypeVar

from asgiref.sync import iscoroutinefunction

F = TypeVar("F", bound=Callable[..., Any])


class AnyDecorator(ContextDecorator, AbstractContextManager[None]):
    """A context manager whose class takes no arguments. Each call of what it decorates enters one of its own."""

    def __call__(self, func: F) -> F:
        if not iscoroutinefunction(func):
            return super().__call__(func)

        @functools.wraps(func)
        async def within(*args: Any, **kwargs: Any) -> Any:
            with self._recreate_cm():
                return await func(*args, **kwargs)

        return within  # type: ignore[return-value]  # the same signature, which mypy cannot see through wraps()

    def _recreate_cm(self) -> Self:
        # One decorated function may run in many threads at once.
        return type(self)()
