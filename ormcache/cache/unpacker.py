"""Reads a result from bytes, as :mod:`ormcache.cache.layout` describes.

The bytes may come from anyone who can write to the store. Nothing is made that is larger than the bytes that are there
for it; foreign bytes can have any values of the known types, and name no class, call nothing and set no attribute.
"""

from __future__ import annotations

import datetime
import decimal
import json
import struct
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ormcache.cache import value_codec
from ormcache.cache.layout import (
    AS_INTEGER,
    AS_TEXT,
    BOOL,
    BYTES,
    DATE,
    DATETIME,
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
    MASKED,
    NO_ROW,
    NONE,
    ROW,
    ROWS,
    SEPARATOR,
    STRINGS,
    TEXT,
    TIME,
    TRUE,
    UNIFORM_BEGINNINGS,
    UNIFORM_HEADER,
    UNIFORM_ROW,
    UUID,
    ZONED,
    Row,
)
from ormcache.cache.value_codec import STATE_LENGTH, ValueDecoder

#: Letter → the function that makes the value of an integer or a str again
_FROM: dict[str, Callable[[Any], Any]] = {
    DATE: datetime.date.fromordinal,
    DECIMAL: decimal.Decimal,
    DATETIME: datetime.datetime.fromisoformat,
    TIME: datetime.time.fromisoformat,
    BYTES: value_codec.from_base64,
    UUID: value_codec.uuid_from_hex,
}

_from_json = json.JSONDecoder().decode


def unpack(data: bytes) -> Any:
    """Return the result that was packed: a list of rows, one row, or None.

    Foreign bytes raise TypeError, ValueError, ArithmeticError, LookupError, AttributeError, StopIteration,
    RecursionError or struct.error, or give some result of the known types.
    """
    begin = data[:1]
    if begin in UNIFORM_BEGINNINGS:
        return _unpack_uniform(data)
    if data == NO_ROW:
        return None
    begin, size, form, width, number, lettered, masked, integral, floating, cut, length = HEADER.unpack_from(data)
    if number > len(data) or (begin == ROW and number != 1) or begin not in (ROW, ROWS):
        raise ValueError("not as many rows as the header says")
    at = HEADER.size
    letters = data[at : at + lettered].decode("ascii")
    at += lettered
    masks = data[at : at + masked]
    at += masked
    integers = struct.unpack_from(f"<{integral}{_size(size)}", data, at) if integral else ()
    at += (8 if size == LARGE else 4) * integral
    floats = struct.unpack_from(f"<{floating}d", data, at) if floating else ()
    at += 8 * floating
    texts = _split(data[at : at + length], form, cut) if cut else ()
    at += length
    others = _from_json(data[at:].decode("utf-8", "surrogatepass")) if at < len(data) else []
    if type(others) is not list:
        raise TypeError("not a list")
    rows: list[Row]
    if not width:
        if masked != number:
            raise ValueError("rows of nothing")
        rows = [()] * number
    elif number > FEW:
        if lettered != width:
            raise ValueError("not as many columns as the header says")
        rows = list(zip(*_columns(letters, number, masks, integers, floats, texts, others), strict=True))
    else:
        rows = _grouped(_values(letters, masks, integers, floats, texts, others), width)
        if len(rows) != number:
            raise ValueError("not as many rows as the header says")
    return rows[0] if begin == ROW else rows


def _unpack_uniform(data: bytes) -> Any:
    """Return a uniform result."""
    begin, form, width, number = UNIFORM_HEADER.unpack_from(data)
    values: Sequence[Any]
    if form == JOINED:
        values = _split(data[UNIFORM_HEADER.size :], form, width * number)
    else:
        values = struct.unpack_from(f"<{width * number}{_size(form)}", data, UNIFORM_HEADER.size)
    if begin == UNIFORM_ROW:
        if number != 1:
            raise ValueError("more than one row")
        return tuple(values)
    return _grouped(values, width)


def _values(
    letters: str,
    masks: bytes,
    integers: Sequence[int],
    floats: Sequence[float],
    texts: Sequence[str],
    others: list[Any],
) -> list[Any]:
    """Return one value for each letter."""
    at = 0
    values: list[Any] = []
    add = values.append
    integer, number, text, other = (iter(stream).__next__ for stream in (integers, floats, texts, others))
    decoder = ValueDecoder()
    for letter in letters:
        if letter == INT:
            add(integer())
        elif letter == TEXT:
            add(text())
        elif letter == NONE:
            add(None)
        elif letter in AS_TEXT:
            add(_FROM[letter](text()))
        elif letter == TRUE:
            add(True)
        elif letter == FALSE:
            add(False)
        elif letter == FLOAT:
            add(number())
        elif letter in AS_INTEGER:
            add(_FROM[letter](integer()))
        elif letter == JSON:
            add(other())
        elif letter == ZONED:
            values += decoder.decode_datetimes(masks[at : at + STATE_LENGTH], 1, other())
            at += STATE_LENGTH
        elif letter == ENCODED:
            add(decoder.decode(other()))
        else:
            raise ValueError("an unknown letter")
    return values


def _columns(
    letters: str,
    number: int,
    masks: bytes,
    integers: Sequence[int],
    floats: Sequence[float],
    texts: Sequence[str],
    others: list[Any],
) -> list[Sequence[Any]]:
    """Return the values of each column of so many rows."""
    mask_at = integer_at = float_at = text_at = 0
    other = iter(others).__next__
    decoder = ValueDecoder()
    columns: list[Sequence[Any]] = []
    for letter in letters:
        values: Sequence[Any]
        kind, mask, present = letter, b"", number
        if letter in MASKED:
            mask = masks[mask_at : mask_at + number]
            mask_at += number
            kind, present = letter.upper(), len(mask) - mask.count(0)
            if len(mask) != number:
                raise ValueError("no mask for all rows")
        if kind in AS_TEXT:
            values = texts[text_at : text_at + present]
            text_at += present
        elif kind in AS_INTEGER:
            values = integers[integer_at : integer_at + present]
            integer_at += present
        elif kind == FLOAT:
            values = floats[float_at : float_at + present]
            float_at += present
        elif kind == BOOL:
            values = list(map(bool, masks[mask_at : mask_at + present]))
            mask_at += present
        elif kind == JSON:
            values = other()
            if type(values) is not list:
                raise TypeError("not a list")
        elif kind == ZONED:
            end = mask_at + present * STATE_LENGTH
            values = decoder.decode_datetimes(masks[mask_at:end], present, other())
            mask_at = end
        elif kind == ENCODED:
            values = list(map(decoder.decode, other()))
        elif kind == NONE:
            values = ()
        else:
            raise ValueError("an unknown letter")
        if len(values) != present:
            raise ValueError("fewer values than rows")
        if kind in _FROM:
            values = list(map(_FROM[kind], values))
        columns.append(_with_gaps(values, mask) if mask else values)
    return columns


def _with_gaps(values: Sequence[Any], mask: bytes) -> list[Any]:
    """Return the values with None wherever the mask has a zero."""
    value = iter(values).__next__
    return [value() if is_present else None for is_present in mask]


def _split(data: bytes, form: bytes, number: int) -> Sequence[str]:
    """Return the texts of a stream. Raises ValueError or TypeError unless there are so many."""
    text = data.decode("utf-8", "surrogatepass")
    if form == JOINED:
        if text.count(SEPARATOR) != number - 1:
            raise ValueError("not as many texts as the header says")
        return text.split(SEPARATOR)
    texts: list[str] = _from_json(text)
    if type(texts) is not list or len(texts) != number or set(map(type, texts)) != STRINGS:
        raise TypeError("not all texts are str")
    return texts


def _size(form: bytes) -> str:
    """Return the letter of integers of this form in :mod:`struct`."""
    return "q" if form == LARGE else "i"


def _grouped(values: Iterable[Any], width: int) -> list[Row]:
    """Return the values in rows of this width. Raises ValueError if they do not fill the last one."""
    value = [iter(values)] * width
    return list(zip(*value, strict=True))
