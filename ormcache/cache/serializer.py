"""Serializes the rows of a result and reads them back, equal in value and in type, or not at all.

:mod:`ormcache.cache.layout` describes the bytes. Anyone who can write to the store can have written what is read back:
whatever the bytes are, they give values of the types below, or :exc:`Unreadable`.
"""

from __future__ import annotations

import datetime
import hashlib
import hmac
import struct
import zlib
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any, NamedTuple

from ormcache.cache import value_codec
from ormcache.cache.layout import FEW, UNIFORM, Row
from ormcache.cache.packer import pack
from ormcache.cache.unpacker import unpack
from ormcache.cache.value_types import PLAIN
from ormcache.utils.interruptions import let_through

MAC_LENGTH = 16  # bytes
#: What compressed bytes begin with; the number of bytes before compression follows, big-endian
COMPRESSED = b"z"
_SIZE_LENGTH = 4  # bytes
#: Most bytes of a result before compression, whatever it is compressed to, and most bytes for each compressed byte: a
#: larger result is not compressed, and foreign bytes that claim to be larger are not decompressed
MOST_DECOMPRESSED, MOST_RATIO = 2**23, 16


class Unserializable(Exception):
    """Raised for a value that could not be read back equal in value and type."""


class Unreadable(Exception):
    """Raised for bytes that :func:`encode` did not write under this name: damaged, foreign or forged ones."""


#: Immutable types with an exact form, whatever the value
_IMMUTABLE = PLAIN | {complex}
_CONTAINERS = frozenset({list, tuple, dict, set, frozenset})
_MOMENTS = frozenset({datetime.datetime, datetime.time})
_IMMUTABLE_AND_MOMENTS = _IMMUTABLE | _MOMENTS
_JSON = frozenset({list, dict, type(None)})

# What values without an exact form raise, and what foreign bytes raise. Any other exception comes from outside.
_NO_FORM = (TypeError, ValueError, OverflowError, RecursionError, struct.error)
_BROKEN = (
    TypeError,
    ValueError,
    ArithmeticError,
    LookupError,
    AttributeError,
    StopIteration,
    RecursionError,
    struct.error,
    zlib.error,
)


class Content(NamedTuple):
    """What a result consists of."""

    cells: int  # number of values
    immutable: bool  # whether all of them are
    uniform: bool  # whether all of them are int, or all of them are str


def examine(rows: Sequence[Row] | Row | None) -> Content:
    """Examine each value of a result that is to be stored.

    ``rows`` is what Django's compiler returned, flattened: a list of rows, one row, or None for no row. Raises
    Unserializable if it could not be read back equal in value and type.
    """
    number, immutable = 0, True
    seen: set[type[Any]] = set()
    try:
        for column in _columns(rows):
            number += len(column)
            types = set(map(type, column))
            seen |= types
            if types <= _IMMUTABLE:
                continue
            if types <= _IMMUTABLE_AND_MOMENTS:
                # Checking the zones of all moments takes half as long as checking each value.
                for zone in {cell.tzinfo for cell in column if type(cell) in _MOMENTS}:
                    _check_zone(zone)
            elif types <= _JSON and value_codec.is_json(column):
                immutable = False
            else:
                immutable = _check(column) and immutable
    except _NO_FORM as error:
        let_through(error)
        raise Unserializable(repr(error)) from error
    return Content(number, immutable, seen in UNIFORM)


def encode(rows: Sequence[Row] | Row | None, *, uniform: bool | None = None) -> bytes:
    """Return the bytes of a result: a list of rows, one row, or None for no row. Raises Unserializable.

    ``uniform``: what :func:`examine` has found; None: not known.
    """
    try:
        return pack(rows, uniform)
    except _NO_FORM as error:
        let_through(error)
        raise Unserializable(repr(error)) from error


def _columns(rows: Sequence[Row] | Row | None) -> Iterable[Sequence[Any]]:
    """Return the values of a result by column, because those of one column are mostly of one type."""
    if rows is None:
        return ()
    if type(rows) is tuple:
        return (rows,)
    if type(rows) is not list or not set(map(type, rows)) <= {tuple}:
        raise Unserializable("rows that are not tuples")
    if len(rows) <= FEW:
        return (list(chain.from_iterable(rows)),)
    try:
        return list(zip(*rows, strict=True))
    except ValueError as error:
        raise Unserializable("rows of different lengths") from error


def _check(values: Iterable[Any]) -> bool:
    """Return whether all values are immutable. Raises Unserializable for a value without an exact form."""
    immutable = True
    for value in values:
        cls = type(value)
        if cls in _IMMUTABLE:
            continue
        if cls in _MOMENTS:
            _check_zone(value.tzinfo)
        elif cls in _CONTAINERS:
            value_codec.check_members(value)
            inside = _check(chain.from_iterable(value.items()) if cls is dict else value)
            immutable = immutable and inside and cls in (tuple, frozenset)
        elif cls is memoryview:
            if value.format not in ("B", "c") or value.ndim != 1:
                raise Unserializable("a memoryview of something other than bytes")
            immutable = immutable and value.readonly
        elif cls is bytearray:
            immutable = False
        elif value_codec.is_address(cls):
            continue
        elif value_codec.is_range(cls):
            immutable = _check((value.lower, value.upper)) and immutable
        elif value_codec.is_multirange(cls):
            _check(value)
            immutable = False
        else:
            raise Unserializable(f"{cls.__module__}.{cls.__qualname__}")
    return immutable


def _check_zone(zone: datetime.tzinfo | None) -> None:
    """Raise TypeError or ValueError for a time zone without an exact form."""
    if zone is not None and type(zone) is not datetime.timezone:
        value_codec.encode_zone(zone)


def compress(data: bytes) -> bytes:
    """Return the bytes of a result compressed, or as they are if that is no smaller. :func:`decode` reads both."""
    # Level 1: higher ones take three times as long and save another tenth.
    smaller = COMPRESSED + len(data).to_bytes(_SIZE_LENGTH, "big") + zlib.compress(data, 1)
    return smaller if len(smaller) < len(data) <= _most(smaller) else data


def _most(compressed: bytes) -> int:
    """Return how many bytes these compressed ones may have been."""
    return max(MOST_DECOMPRESSED, MOST_RATIO * len(compressed))


def _decompress(data: bytes) -> bytes:
    """Return the bytes before compression. Raises Unreadable, or zlib.error."""
    begin = 1 + _SIZE_LENGTH
    size = int.from_bytes(data[1:begin], "big")
    if not 0 < size <= _most(data):
        raise Unreadable("larger than any result")
    unpacker = zlib.decompressobj()
    found = unpacker.decompress(data[begin:], size)
    if len(found) != size or unpacker.unconsumed_tail or unpacker.decompress(b"", 1) or not unpacker.eof:
        raise Unreadable("truncated, or not of the size that it says")
    return found


def decode(data: bytes) -> Any:
    """Return what :func:`encode` was given, as new objects at each call. Raises Unreadable for any other bytes."""
    try:
        return unpack(_decompress(data) if data[:1] == COMPRESSED else data)
    except _BROKEN as error:
        let_through(error)
        raise Unreadable(repr(error)) from error


def check_shape(result: Any, width: int, *, many: bool) -> None:
    """Raise Unreadable unless this can be the result of a query of ``width`` columns.

    ``many``: whether that is a list of rows, and not one row or None.
    """
    if many:
        fits = type(result) is list and (not result or len(result[0]) >= width)
    else:
        fits = result is None or (type(result) is tuple and len(result) >= width)
    if not fits:
        raise Unreadable("not the result of such a query")


def mac(key: bytes, name: bytes, data: bytes) -> bytes:
    """Return the MAC of an entry. It covers the entry's name, so that two entries cannot be swapped."""
    return hashlib.blake2b(name + data, key=key, digest_size=MAC_LENGTH).digest()


def verify(key: bytes, name: bytes, signed: bytes) -> bytes:
    """Return the data behind its MAC. Raises Unreadable if the MAC does not match."""
    data = signed[MAC_LENGTH:]
    if not hmac.compare_digest(signed[:MAC_LENGTH], mac(key, name, data)):
        raise Unreadable("the signature does not match")
    return data
