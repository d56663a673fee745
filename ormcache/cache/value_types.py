"""Types of values that the cache knows exactly: one table for the names of entries and for the values in them."""

from __future__ import annotations

import datetime
import decimal
import ipaddress
import uuid
from typing import Any

#: Immutable types whose ``repr()`` is exact: it differs for values that differ, and for equal values of other types
PLAIN: frozenset[type[Any]] = frozenset(
    {
        int,
        str,
        bool,
        type(None),
        float,
        decimal.Decimal,
        datetime.date,
        datetime.timedelta,
        uuid.UUID,
        bytes,
    }
)

#: Tag of a type of IP addresses in stored bytes → the type: immutable, with an exact ``repr()``
ADDRESSES: dict[str, type[Any]] = {
    "a4": ipaddress.IPv4Address,
    "a6": ipaddress.IPv6Address,
    "n4": ipaddress.IPv4Network,
    "n6": ipaddress.IPv6Network,
    "i4": ipaddress.IPv4Interface,
    "i6": ipaddress.IPv6Interface,
}

#: Modules of psycopg 3 and psycopg2 with classes of ranges. By name: neither driver needs to be installed.
PSYCOPG_RANGE, PSYCOPG2_RANGE = "psycopg.types.range", "psycopg2._range"

#: Tag of a class of ranges in stored bytes → (module, class). Each has ``lower``, ``upper`` and ``_bounds``.
RANGES: dict[str, tuple[str, str]] = {
    "r": (PSYCOPG_RANGE, "Range"),
    "ri4": (PSYCOPG_RANGE, "Int4Range"),
    "ri8": (PSYCOPG_RANGE, "Int8Range"),
    "rn": (PSYCOPG_RANGE, "NumericRange"),
    "rd": (PSYCOPG_RANGE, "DateRange"),
    "rt": (PSYCOPG_RANGE, "TimestampRange"),
    "rtz": (PSYCOPG_RANGE, "TimestamptzRange"),
    "2r": (PSYCOPG2_RANGE, "Range"),
    "2rn": (PSYCOPG2_RANGE, "NumericRange"),
    "2rd": (PSYCOPG2_RANGE, "DateRange"),
    "2rt": (PSYCOPG2_RANGE, "DateTimeRange"),
    "2rtz": (PSYCOPG2_RANGE, "DateTimeTZRange"),
}
#: (module, class) of psycopg 3's multiranges, which are sequences of ranges
MULTIRANGE = ("psycopg.types.multirange", "Multirange")
