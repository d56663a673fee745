"""Switching the cache for a test, whatever the settings say."""

from __future__ import annotations

import functools
import unittest
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, TypeVar

from asgiref.sync import iscoroutinefunction
from django.db import connections

from ormcache import conf, shadow, switch
from ormcache.switch import Mode

T = TypeVar("T", bound=Callable[..., Any])

#: Where a decorated TestCase has its override
_ATTRIBUTE = "_ormcache_override"


class override_cache(AbstractContextManager[None]):  # noqa: N801  # used like a function, as Django's override_settings
    """Switch the cache in this block, or in the decorated function, coroutine or TestCase.

    ``"off"``: every read goes to the database, and nothing is kept. ``"on"``: reads come from the cache, also where the
    settings have ``ENABLED`` False, and no query is left alone because it does not pay. ``"shadow"``: as ``"on"``, but
    where a hit would be served, the query runs too and its rows are what the program gets; if the cache had other rows,
    that is a :class:`~ormcache.testing.StaleRead`, raised at the read, and once more at the end of the block if the
    program has caught it.

    Writes are told to the cache in each of them. It holds for all threads of the process; the innermost one counts.
    ``ormcache.disabled()`` goes before it.
    """

    def __init__(self, mode: str) -> None:
        """Raises ValueError for a mode that there is not."""
        try:
            self._mode = Mode(mode)
        except ValueError:
            expected = ", ".join(repr(one.value) for one in Mode)
            raise ValueError(f"the cache can be {expected}, and not {mode!r}") from None
        self._before: Mode | None = None
        self._found: list[shadow.StaleRead] | None = None

    def __enter__(self) -> None:
        self._switch(self._mode)
        if self._mode is Mode.SHADOW:
            self._found = shadow.watch()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._switch(self._before)
        if self._found is not None:
            found, self._found = self._found, None
            shadow.unwatch(found)
            if error is None and found:
                raise found[0]

    def _switch(self, to: Mode | None) -> None:
        forced = switch.forces_on()
        self._before = switch.put(to)
        if switch.forces_on() != forced and _some_are_disabled():
            conf.begin_anew()

    # Decorating -------------------------------------------------------------------------

    def __call__(self, decorated: T) -> T:
        if isinstance(decorated, type):
            self._decorate_class(decorated)
            return decorated
        if iscoroutinefunction(decorated):

            @functools.wraps(decorated)
            async def awaited(*args: Any, **kwargs: Any) -> Any:
                with self._again():
                    return await decorated(*args, **kwargs)

            return awaited  # type: ignore[return-value]  # the same signature, which mypy cannot see through wraps()

        @functools.wraps(decorated)
        def called(*args: Any, **kwargs: Any) -> Any:
            with self._again():
                return decorated(*args, **kwargs)

        return called  # type: ignore[return-value]  # the same

    def _again(self) -> override_cache:
        # What is decorated may be called inside of itself.
        return type(self)(self._mode.value)

    def _decorate_class(self, cls: Any) -> None:
        """From before ``setUpClass`` until after ``tearDownClass``."""
        if not issubclass(cls, unittest.TestCase):
            raise TypeError(
                f"{cls.__qualname__} is no unittest.TestCase: decorate its methods, or use the mark "
                f"@pytest.mark.ormcache({self._mode.value!r})"
            )
        original = cls.__dict__.get("setUpClass")

        def set_up_class(inner: Any) -> None:
            # A subclass may be decorated too, and its own is the one that counts.
            nearest = next(base for base in inner.__mro__ if _ATTRIBUTE in vars(base))
            if nearest is cls:
                inner.enterClassContext(self._again())
            if original is None:
                super(cls, inner).setUpClass()  # type: ignore[misc]  # a TestCase has it
            else:
                original.__func__(inner)

        setattr(cls, _ATTRIBUTE, self)
        cls.setUpClass = classmethod(set_up_class)


def _some_are_disabled() -> bool:
    """Is there a database whose connections have to begin anew to be cached, or to be not?"""
    states = [getattr(connections[alias], "ormcache", None) for alias in connections]
    return any(state is not None and not state.config.enabled for state in states)
