"""Lays out a result in bytes, as :mod:`ormcache.cache.layout` describes."""

from __future__ import annotations

import datetime
import json
import struct
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from operator import attrgetter
from typing import Any
from zoneinfo import ZoneInfo

from ormcache.cache import value_codec
from ormcache.cache.layout import (
    AS_INTEGER,
    AS_TEXT,
    BOOL,
    BYTES,
    DATE,
    DATETIME,
    DATETIMES,
    DECIMAL,
    ENCODED,
    FALSE,
    FEW,
    FLOAT,
    HEADER,
    INT,
    JOINED,
    JSON,
    LARGE,
    LETTER_OF,
    LETTER_OF_LARGE,
    LISTED,
    MASKED,
    NO_ROW,
    NOT_IN_STREAM,
    ROW,
    ROWS,
    SEPARATOR,
    SMALL,
    TEMPORAL,
    TEXT,
    TIME,
    TRUE,
    UNIFORM,
    UNIFORM_HEADER,
    UUID,
    ZONED,
    Row,
)

#: Letter → the function that makes an integer or a str of a value
_TO: dict[str, Callable[[Any], Any]] = {
    DATE: datetime.date.toordinal,
    DECIMAL: str,
    DATETIME: datetime.datetime.isoformat,
    TIME: datetime.time.isoformat,
    BYTES: value_codec.to_base64,
    UUID: attrgetter("hex"),
}
_to_json = json.JSONEncoder(ensure_ascii=False, check_circular=False, separators=(",", ":")).encode


class _IntegerTooLarge(Exception):
    """An integer does not fit into eight bytes."""


def pack(rows: Sequence[Row] | Row | None, uniform: bool | None = None) -> bytes:
    """Return the bytes of a result: a list of rows, one row, or None for no row.

    ``uniform``: whether these are rows of one length whose values are all int, or all str; None: not known. Raises
    TypeError, ValueError, RecursionError or struct.error if they would not come back equal in value and type.
    """
    if rows is None:
        return NO_ROW
    if type(rows) is tuple:
        begin, rows = ROW, [rows]
    elif type(rows) is list and (uniform or set(map(type, rows)) <= {tuple}):
        begin = ROWS
    else:
        raise TypeError("rows that are not tuples")
    if uniform is None:
        uniform = bool(rows) and set(map(type, rows[0])) in UNIFORM and _is_uniform(rows)
    if uniform:
        packed = _pack_uniform(begin, rows)
        if packed is not None:
            return packed
    try:
        return _pack(begin, rows, LETTER_OF)
    except _IntegerTooLarge:
        return _pack(begin, rows, LETTER_OF_LARGE)


# Uniform results ----------------------------------------------------------------------


def _is_uniform(rows: Sequence[Row]) -> bool:
    """Return whether all rows have the same length and all values are int, or all are str."""
    return len(set(map(len, rows))) == 1 and set(map(type, chain.from_iterable(rows))) in UNIFORM


def _pack_uniform(begin: bytes, rows: Sequence[Row]) -> bytes | None:
    """Return the bytes of uniform rows; None if an integer is too large, or a text contains the separator."""
    width, number = len(rows[0]), len(rows)
    values: Sequence[Any] = rows[0] if number == 1 else list(chain.from_iterable(rows))
    if len(values) != width * number:
        raise ValueError("rows of different lengths")
    begin = begin.lower()
    if type(values[0]) is str:
        text = SEPARATOR.join(values)
        if text.count(SEPARATOR) != len(values) - 1:
            return None
        return UNIFORM_HEADER.pack(begin, JOINED, width, number) + text.encode("utf-8", "surrogatepass")
    try:
        return UNIFORM_HEADER.pack(begin, SMALL, width, number) + struct.pack(f"<{len(values)}i", *values)
    except struct.error:
        pass
    try:
        return UNIFORM_HEADER.pack(begin, LARGE, width, number) + struct.pack(f"<{len(values)}q", *values)
    except struct.error:
        return None


# Results with letters --------------------------------------------------------------------


def _pack(begin: bytes, rows: Sequence[Row], letter_of: dict[Any, str]) -> bytes:
    """Return the bytes of rows with letters. Raises _IntegerTooLarge."""
    number, width = len(rows), len(rows[0]) if rows else 0
    if set(map(len, rows)) - {width}:
        raise ValueError("rows of different lengths")
    streams = _Streams()
    if not width:
        streams.add_empty_rows(number)  # so that the number of rows is bounded by the number of bytes
    elif number > FEW:
        for column in zip(*rows, strict=True):
            streams.add_column(letter_of.get(frozenset(map(type, column)), ENCODED), column)
    else:
        for value in chain.from_iterable(rows):
            streams.add(letter_of.get(type(value), ENCODED), value)
    return streams.packed(begin, width, number)


class _Streams:
    """Collects the values of one result by stream."""

    def __init__(self) -> None:
        self._letters: list[str] = []
        self.masks = bytearray()
        self._integers: list[int] = []
        self._floats: list[float] = []
        self._texts: list[str] = []
        self._others: list[Any] = []

    def add_empty_rows(self, number: int) -> None:
        """Add rows without columns, none of which is free."""
        self.masks += bytes(number)

    def add(self, letter: str, value: Any) -> None:
        """Add a value; ``letter`` follows from its type."""
        if letter == BOOL:
            letter = TRUE if value else FALSE
        elif letter == INT:
            self._integers.append(value)
        elif letter == TEXT:
            self._texts.append(value)
        elif letter == FLOAT:
            self._floats.append(value)
        elif letter == JSON and value_codec.is_json((value,)):
            self._others.append(value)
        elif letter == DATETIME and (zone := _zone_of((value,))):
            letter = ZONED
            self.masks += value_codec.datetime_state(value)
            self._others.append(zone)
        elif letter in (ENCODED, JSON) or (letter in TEMPORAL and not _is_iso((value,))):
            letter = ENCODED
            self._others.append(value_codec.encode_value(value))
        elif letter in AS_TEXT:
            self._texts.append(_TO[letter](value))
        elif letter in AS_INTEGER:
            self._integers.append(_TO[letter](value))
        self._letters.append(letter)

    def add_column(self, letter: str, column: Sequence[Any]) -> None:
        """Add the values of a column; ``letter`` follows from their types."""
        zone = None
        if letter in DATETIMES:
            present = column if letter == DATETIME else [value for value in column if value is not None]
            zone = _zone_of(present)
        if letter == JSON and value_codec.is_json(column):
            self._others.append(column)
        elif zone is not None:
            if present is column:
                letter = ZONED
            else:
                letter = ZONED.lower()
                self.masks += bytes([value is not None for value in column])
            self.masks += b"".join(map(value_codec.datetime_state, present))
            self._others.append(zone)
        elif letter in (JSON, ENCODED) or (letter in TEMPORAL and not _is_iso(column)):
            letter = ENCODED
            self._others.append(list(map(value_codec.encode_value, column)))
        self._letters.append(letter)
        if letter in NOT_IN_STREAM:
            return
        values: Iterable[Any] = column
        if letter in MASKED:
            self.masks += bytes([value is not None for value in column])
            values = [value for value in column if value is not None]
            letter = letter.upper()
        if letter in _TO:
            values = map(_TO[letter], values)
        if letter in AS_TEXT:
            self._texts += values
        elif letter in AS_INTEGER:
            self._integers += values
        elif letter == FLOAT:
            self._floats += values
        elif letter == BOOL:
            self.masks += bytes(values)

    def packed(self, begin: bytes, width: int, number: int) -> bytes:
        """Return the bytes of the result. Raises _IntegerTooLarge."""
        masks, integers, floats, texts, others = self.masks, self._integers, self._floats, self._texts, self._others
        form, text = JOINED, SEPARATOR.join(texts)
        if texts and text.count(SEPARATOR) != len(texts) - 1:
            form, text = LISTED, _to_json(texts)
        size = SMALL
        try:
            packed = struct.pack(f"<{len(integers)}i", *integers)
        except struct.error:
            try:
                size, packed = LARGE, struct.pack(f"<{len(integers)}q", *integers)
            except struct.error as error:
                raise _IntegerTooLarge from error
        data = text.encode("utf-8", "surrogatepass")
        counts = len(self._letters), len(masks), len(integers), len(floats), len(texts), len(data)
        return b"".join(
            (
                HEADER.pack(begin, size, form, width, number, *counts),
                "".join(self._letters).encode(),
                masks,
                packed,
                struct.pack(f"<{len(floats)}d", *floats) if floats else b"",
                data,
                _to_json(others).encode("utf-8", "surrogatepass") if others else b"",
            )
        )


def _is_iso(moments: Sequence[Any]) -> bool:
    """Return whether ISO 8601 represents these exactly: it has offsets, but neither zones nor ``fold``."""
    known = None
    for moment in moments:
        if moment is None:
            continue
        if moment.fold:
            return False
        zone = moment.tzinfo
        if zone is not known:
            if zone is not None and not (type(zone) is datetime.timezone and value_codec.has_default_name(zone)):
                return False
            known = zone
    return True


def _zone_of(moments: Sequence[Any]) -> str | None:
    """Return the key of the one ZoneInfo that all of these datetimes have; None if there is none."""
    zone = moments[0].tzinfo
    if type(zone) is not ZoneInfo or any(moment.tzinfo is not zone for moment in moments):
        return None
    name = value_codec.encode_zone(zone)
    return name if type(name) is str else None
