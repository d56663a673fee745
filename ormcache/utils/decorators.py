"""Context managers that also decorate functions and coroutines."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager, ContextDecorator
from typing import Any, Self, TypeVar

from asgiref.sync import iscoroutinefunction

F = TypeVar("F", bound=Callable[..., Any])


class AnyDecorator(ContextDecorator, AbstractContextManager[None]):
    """A base of context managers that take no arguments. Each call of a decorated function enters a new one."""

    def __call__(self, func: F) -> F:
        if not iscoroutinefunction(func):
            return super().__call__(func)

        @functools.wraps(func)
        async def within(*args: Any, **kwargs: Any) -> Any:
            with self._recreate_cm():
                return await func(*args, **kwargs)

        return within  # type: ignore[return-value]  # wraps() hides from mypy that the signature is the same

    def _recreate_cm(self) -> Self:
        # A decorated function may run in many threads at once.
        return type(self)()
