"""The layout of a result in bytes: headers, letters and forms.

There are three streams, which the standard library reads at once: integers, floats, and one text that is split at null
characters. One letter, of a closed table, says of what type a value is; what no stream can hold is JSON (see
:mod:`ormcache.cache.value_codec`). Of a few rows each value has a letter, of many rows each column. Where all values
are int, or all are str, there are no letters. :mod:`ormcache.cache.packer` writes this layout and
:mod:`ormcache.cache.unpacker` reads it.
"""

from __future__ import annotations

import datetime
import decimal
import struct
import uuid
from typing import Any

Row = tuple[Any, ...]

#: Most rows of a result in which each value has a letter of its own; of more rows each column has one
FEW = 4

#: The whole of a result that is None
NO_ROW = b"N"
# How a result begins: with one row or a list of rows, whose values have letters or are all of one type
ROW, ROWS, UNIFORM_ROW, UNIFORM_ROWS = b"R", b"L", b"r", b"l"
UNIFORM_BEGINNINGS = {UNIFORM_ROW: ROW, UNIFORM_ROWS: ROWS}
#: The forms of integers, by their letters in :mod:`struct`: of four or eight bytes
SMALL, LARGE = b"i", b"q"
#: The forms of texts: joined by null characters, or a list in JSON where some of them contain one
JOINED, LISTED = b"0", b"j"
SEPARATOR = "\0"

#: Header of a uniform result: beginning, form, values in a row, rows. One stream follows.
UNIFORM_HEADER = struct.Struct("<ccHI")
#: Header of any other result: beginning, forms of integers and texts, values in a row, rows, letters, bytes of the
#: masks, integers, floats, texts, bytes of the text. Letters, masks, integers, floats, text and JSON follow,
#: little-endian.
HEADER = struct.Struct("<cccHIIIIIII")

# Letters. A lower-case one belongs to a column that has None among its values: a mask, a byte a row, says where.
INT, TEXT, FLOAT, BOOL, NONE = "I", "S", "F", "B", "N"
ENCODED = "X"  # anything else, encoded by :mod:`ormcache.cache.value_codec`
JSON = "J"  # lists, dicts and None that JSON represents exactly
ZONED = "Z"  # datetimes of one time zone with a name: ten bytes of each among the masks, the zone's name in JSON
TRUE, FALSE = "1", "0"  # single values
DATE, DECIMAL, DATETIME, TIME, BYTES, UUID = "A", "D", "T", "M", "Y", "U"
#: Type of values in a stream → its letter
LETTERS: dict[type[Any], str] = {
    int: INT,
    str: TEXT,
    float: FLOAT,
    bool: BOOL,
    decimal.Decimal: DECIMAL,
    datetime.date: DATE,
    datetime.datetime: DATETIME,
    datetime.time: TIME,
    bytes: BYTES,
    uuid.UUID: UUID,
}
#: Types that may stand together in a column of JSON
_COMBINED_JSON = ({list}, {dict}, {list, dict}, {list, type(None)}, {dict, type(None)}, {list, dict, type(None)})
#: Type of a value → its letter, and frozenset of the types in a column → the letter of the column
LETTER_OF: dict[Any, str] = {
    **LETTERS,
    type(None): NONE,
    frozenset({type(None)}): NONE,
    list: JSON,
    dict: JSON,
    **{frozenset(types): JSON for types in _COMBINED_JSON},
    **{frozenset({cls}): letter for cls, letter in LETTERS.items()},
    **{frozenset({cls, type(None)}): letter.lower() for cls, letter in LETTERS.items()},
}
#: The same for a result whose integers do not all fit into eight bytes
LETTER_OF_LARGE = {key: ENCODED if letter in "Ii" else letter for key, letter in LETTER_OF.items()}
#: Letters of columns with a mask
MASKED = frozenset(letter.lower() for letter in (*LETTERS.values(), ZONED)) | {NONE}
#: Letters of values in the stream of integers, and in that of texts
AS_INTEGER, AS_TEXT = frozenset({INT, DATE}), frozenset({TEXT, DECIMAL, DATETIME, TIME, BYTES, UUID})
DATETIMES = frozenset({DATETIME, DATETIME.lower()})
#: Letters of columns that are not in a stream of plain values
NOT_IN_STREAM = frozenset({JSON, ZONED, ZONED.lower(), ENCODED})
TEMPORAL = frozenset({DATETIME, TIME, DATETIME.lower(), TIME.lower()})

INTEGERS, STRINGS = {int}, {str}
#: The types of the values of a uniform result
UNIFORM = (INTEGERS, STRINGS)
