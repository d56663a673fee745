"""What is wrong with an argument or a value, and where in it."""

from __future__ import annotations

from typing import Any, Self


class Fault(Exception):
    """Raised inside of a value for a part of it that cannot be named exactly, or stored.

    ``what`` that part is, and ``advice``: what to do instead. :attr:`path` leads to it.
    """

    def __init__(self, what: str, advice: str) -> None:
        super().__init__(what, advice)
        self.what = what
        self.advice = advice
        #: the steps to the part, as one writes them in Python: ``[0]['author'].name``
        self.path = ""

    def within(self, step: str) -> Self:
        """Put a step before the path: the part lies in a larger one."""
        self.path = step + self.path
        return self

    def described(self) -> str:
        """Return a sentence on the part, for people."""
        return f"{self.path} is {self.what}: {self.advice}"


def type_of(value: Any) -> str:
    """Return the name of a value's type for a message, with its module unless it is one of Python's own."""
    cls = type(value)
    return cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"
