"""Functions whose values are cached, until something that they have read is written."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from types import FunctionType, MethodType
from typing import Any, NamedTuple, TypeVar, overload

from asgiref.sync import iscoroutinefunction, markcoroutinefunction

from ormcache import reasons
from ormcache.cache.keys import digest
from ormcache.cache.tracking import current_tracker
from ormcache.exceptions import InexactArgument, UncacheableValue
from ormcache.pages.arguments import ADVICE, ExactForm, FunctionWrapper
from ormcache.pages.computing import acompute, compute
from ormcache.pages.derivation import Use
from ormcache.pages.faults import Fault
from ormcache.pages.readiness import is_signed
from ormcache.pages.surroundings import surroundings
from ormcache.pages.values import Payload, dump, load, needs_signature

F = TypeVar("F", bound="Callable[..., Any] | classmethod[Any, Any, Any]")

#: What is stored of a value that is nested too deeply: the serializer rejects it
_TOO_DEEP: Any = object()


class _Computed(NamedTuple):
    """A value and what is stored of it, which is made before anything else so that its errors are always raised."""

    value: Any
    payload: Any = None


@overload
def cached(
    *, vary: Any = None, timeout: float | None = None, grace: float | None = None, using: str | None = None
) -> Callable[[F], F]: ...


@overload
def cached(function: F, /) -> F: ...


def cached(
    function: Any = None,
    /,
    *,
    vary: Any = None,
    timeout: float | None = None,
    grace: float | None = None,
    using: str | None = None,
) -> Any:
    """Cache what a function returns, until one of the tables or rows that it has read is written.

    For functions, coroutine functions and methods, with or without parentheses. A value is named by the function, its
    code and its arguments, each by exact value and type, and by the language, the time zone and the site.

    ``vary``: what else decides the value: a value, a tuple of values, or a function that is called with the same
    arguments and returns such. ``timeout``: seconds for which a value may be served at most; None: until a write.
    ``grace``: seconds for which an outdated value may be served while one caller computes; None: never. ``using``: the
    alias of the database whose store has the values; None: the default one.

    The function must have no effect but its value. ``uncached`` is the function itself. Raises TypeError or ValueError
    for what cannot be cached, such as a generator function. A call raises InexactArgument and UncacheableValue.
    """
    if function is None:
        return functools.partial(_wrap, vary=vary, timeout=timeout, grace=grace, using=using)
    return _wrap(function, vary, timeout, grace, using)


def _wrap(function: Any, vary: Any, timeout: float | None, grace: float | None, using: str | None) -> Any:
    if isinstance(function, (classmethod, staticmethod)):
        return type(function)(CachedFunction(function.__func__, vary, timeout, grace, using))
    return CachedFunction(function, vary, timeout, grace, using)


class CachedFunction(FunctionWrapper):
    """What :func:`cached` returns in place of a function. For type checkers, it returns the function."""

    def __init__(
        self, function: Callable[..., Any], vary: Any, timeout: float | None, grace: float | None, using: str | None
    ) -> None:
        """Take the arguments of :func:`cached`. Raises TypeError and ValueError."""
        _check(function)
        functools.update_wrapper(self, function)
        #: the function itself; of a method, it takes the instance as its first argument
        self.uncached = function
        self._function: FunctionType = function  # type: ignore[assignment]  # as was checked
        self._label = f"{function.__module__}.{function.__qualname__}"
        self._signature = inspect.signature(function, follow_wrapped=False)
        self._vary = vary
        self._timeout = _seconds(timeout, "timeout")
        self._grace = _seconds(grace, "grace")
        self._using = using
        self._is_async = iscoroutinefunction(function)
        if self._is_async:
            markcoroutinefunction(self)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Return what is stored for these arguments, or call the function."""
        if self._is_async:
            return self._await(args, kwargs)
        use = self._use(args, kwargs)
        if use is None:
            return self._computed(self._function(*args, **kwargs)).value
        computed = compute(use, lambda: self._computed(self._function(*args, **kwargs)), self._payload_of, self._read)
        return computed.value

    async def _await(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        async def run() -> _Computed:
            return self._computed(await self._function(*args, **kwargs))

        use = self._use(args, kwargs)
        return (await run() if use is None else await acompute(use, run, self._payload_of, self._read)).value

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else MethodType(self, instance)

    def __reduce__(self) -> str:
        return self._function.__qualname__  # pickled by name, as functions are

    def __repr__(self) -> str:
        return f"<cached {self._function!r}>"

    # Names --------------------------------------------------------------------------------------------

    def _use(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Use | None:
        """Return the use that a call with these arguments is; None: it cannot be cached. Raises InexactArgument."""
        around = surroundings()
        if around is None:
            return None
        try:
            bound = self._signature.bind(*args, **kwargs)
        except TypeError:
            return None  # the function says better what is wrong
        bound.apply_defaults()
        key = digest(
            self._own_text().encode("utf-8", "surrogatepass"),
            self._text_of(bound.arguments, "its argument ").encode("utf-8", "surrogatepass"),
            self._text_of({"vary": self._varied(args, kwargs)}, "its ").encode("utf-8", "surrogatepass"),
            around.encode("utf-8", "surrogatepass"),
        )
        return Use("function", self._label, key, self._timeout, self._grace, self._using)

    def _text_of(self, values: dict[str, Any], where: str) -> str:
        try:
            return ExactForm().all(values)
        except Fault as fault:
            raise InexactArgument(self._message(where + fault.path, fault)) from None
        except RecursionError:
            raise InexactArgument(f"{self._label}: {where.strip()} is nested too deeply: {ADVICE}") from None

    @functools.cached_property
    def _origin(self) -> str:
        """The file of a function of a script: there are many of the name ``__main__``."""
        return self._function.__code__.co_filename if self._function.__module__ == "__main__" else ""

    @functools.cached_property
    def _text_without_closure(self) -> str:
        return ExactForm().function(self._function)

    def _own_text(self) -> str:
        """Return the exact text of the function. Raises InexactArgument."""
        if not self._function.__code__.co_freevars:
            return self._origin + self._text_without_closure
        try:
            return self._origin + ExactForm().function(self._function)
        except Fault as fault:
            where = f"the variable {fault.path} of its closure"
            raise InexactArgument(self._message(where, fault)) from None

    def _varied(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        vary = self._vary
        return vary(*args, **kwargs) if callable(vary) else vary

    # Values -------------------------------------------------------------------------------------------

    def _computed(self, value: Any) -> _Computed:
        """Return a value with what is stored of it. Raises UncacheableValue."""
        payload: Payload | Any
        try:
            payload = dump(value)
        except Fault as fault:
            where = "it has returned" if not fault.path else f"…{fault.path} of what it has returned is"
            raise UncacheableValue(self._message(where, fault, joined="")) from None
        except RecursionError:
            payload = _TOO_DEEP
        return _Computed(value, payload)

    def _payload_of(self, computed: _Computed) -> Any:
        """Return what is stored; it is rejected if it needs a signature and has none."""
        tracker = current_tracker()
        if tracker is not None and needs_signature(computed.payload) and not is_signed(self._using):
            tracker.reject(reasons.UNSERIALIZABLE, subject="a field with a type of its own, without SIGN")
        return computed.payload

    def _read(self, payload: Any) -> _Computed:
        """Raises Unreadable."""
        return _Computed(load(payload, is_signed=needs_signature(payload) and is_signed(self._using)))

    def _message(self, where: str, fault: Fault, joined: str = " is") -> str:
        return f"{self._label}: {where}{joined} {fault.what}: {fault.advice}"


def _check(function: Any) -> None:
    """Raise TypeError for what cannot be cached."""
    if isinstance(function, CachedFunction):
        raise TypeError(f"{function!r} is cached already")
    if not isinstance(function, FunctionType):
        raise TypeError(f"ormcache.cached is for functions and methods: define one that calls {function!r}")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise TypeError(f"{function.__qualname__} is a generator function, which returns no value: return a list")


def _seconds(value: float | None, name: str) -> float | None:
    """Return a number of seconds. Raises TypeError and ValueError."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} is a number of seconds or None, not {value!r}")
    if not 0 < value < float("inf"):
        raise ValueError(f"{name} is a number of seconds above 0, not {value!r}")
    return value
