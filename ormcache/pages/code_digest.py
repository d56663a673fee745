"""A digest of a function's own code: a function that a deploy has changed is not served values of the one before."""

from __future__ import annotations

from functools import lru_cache
from types import CodeType
from typing import Any

from ormcache.cache.keys import digest


@lru_cache(maxsize=1024)
def code_digest(code: CodeType) -> bytes:
    """Return 16 bytes that differ for code that differs: its bytes, names and constants, and the code within it.

    The same source has another digest under another version of Python. Functions that it calls are not part of it.
    """
    return digest(
        code.co_name.encode(),
        repr((code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)).encode(),
        code.co_code,
        getattr(code, "co_exceptiontable", b""),  # which PyPy does not have
        repr((code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)).encode(),
        *map(_constant, code.co_consts),
    )


def _constant(value: Any) -> bytes:
    if type(value) is CodeType:
        return b"code" + code_digest(value)
    if type(value) is tuple:
        return b"tuple" + digest(*map(_constant, value))
    if type(value) is frozenset:  # whose order differs from process to process
        return b"frozenset" + digest(*sorted(map(_constant, value)))
    if type(value) is slice:
        return b"slice" + digest(*map(_constant, (value.start, value.stop, value.step)))
    return f"{type(value).__name__} {value!r}".encode("utf-8", "surrogatepass")
