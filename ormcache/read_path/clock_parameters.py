"""Parameters that PostgreSQL reads as a time of its own clock where it expects a date: ``'today'``, ``'now'``."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from typing import Any

from ormcache.cache.keys import exact_text
from ormcache.cache.value_types import PLAIN
from ormcache.sql import reads_clock, reads_clock_anywhere

#: Types whose values never mention the clock; strings are searched before these are looked at
_WITHOUT_STRINGS = PLAIN | {datetime.datetime, datetime.time}


def any_reads_clock(params: Iterable[Any]) -> bool:
    """Return whether PostgreSQL could read one of the parameters as a time of its own clock.

    https://www.postgresql.org/docs/current/datatype-datetime.html#DATATYPE-DATETIME-SPECIAL-VALUES
    """
    return any(map(_reads_clock, params))


def _reads_clock(param: Any) -> bool:
    if isinstance(param, str):
        return reads_clock(param)
    if type(param) in _WITHOUT_STRINGS:
        return False
    if isinstance(param, (list, tuple)):
        return any(map(_reads_clock, param))
    if isinstance(param, dict):
        return any(map(_reads_clock, param.values()))
    wrapped = getattr(param, "obj", getattr(param, "adapted", None))  # the drivers' JSON documents
    # Ranges and the like contain strings; what has no exact form is not cached anyway.
    return reads_clock_anywhere(exact_text((param,))) if wrapped is None else _reads_clock(wrapped)
