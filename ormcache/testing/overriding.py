"""Switches the cache for a test, whatever the settings say."""

from __future__ import annotations

import functools
import unittest
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, TypeVar

from asgiref.sync import iscoroutinefunction
from django.db import connections

from ormcache import conf
from ormcache.context import switch
from ormcache.context.switch import Mode
from ormcache.exceptions import StaleRead
from ormcache.read_path import shadow
from ormcache.session.connections import cached_connection

T = TypeVar("T", bound=Callable[..., Any])

#: The attribute of a decorated TestCase with its override
_ATTRIBUTE = "_ormcache_override"


class override_cache(AbstractContextManager[None]):  # noqa: N801  # used like a function, as Django's override_settings
    """Switch the cache in this block, or in the decorated function, coroutine or TestCase.

    ``"off"``: every read goes to the database, and nothing is stored. ``"on"``: reads come from the cache, even where
    ``ENABLED`` is False in the settings, and without adaptive bypasses. ``"shadow"``: as ``"on"``, but where a hit
    would be served, the query runs too, and the program gets its rows; if the cache had other rows, the read raises
    :class:`~ormcache.testing.StaleRead`, and so does the end of the block if the program has caught it.

    Writes invalidate in every mode. A mode applies to all threads of the process; the innermost one counts, and
    ``ormcache.disabled()`` takes precedence over it.
    """

    def __init__(self, mode: str) -> None:
        """Raises ValueError for an unknown mode."""
        try:
            self._mode = Mode(mode)
        except ValueError:
            expected = ", ".join(repr(one.value) for one in Mode)
            raise ValueError(f"the cache can be {expected}, not {mode!r}") from None
        self._before: Mode | None = None
        self._found: list[StaleRead] | None = None

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
        forced = switch.is_forced_on()
        self._before = switch.set_mode(to)
        if switch.is_forced_on() != forced and _some_are_disabled():
            conf.reload()

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
        # A decorated function may call itself.
        return type(self)(self._mode.value)

    def _decorate_class(self, cls: Any) -> None:
        """Override the cache from before ``setUpClass`` until after ``tearDownClass``."""
        if not issubclass(cls, unittest.TestCase):
            raise TypeError(
                f"{cls.__qualname__} is not a unittest.TestCase: decorate its methods, or use the mark "
                f"@pytest.mark.ormcache({self._mode.value!r})"
            )
        original = cls.__dict__.get("setUpClass")

        def set_up_class(inner: Any) -> None:
            # A subclass may be decorated too, and then its own override counts.
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
    """Does any database have ENABLED False, so that its connections must read their settings again?"""
    ours = [cached_connection(alias) for alias in connections]
    return any(connection is not None and not connection.ormcache.config.enabled for connection in ours)
