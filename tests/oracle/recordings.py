"""Recorded statements: how they are written down, distilled, and read again.

A recording, one JSON object a line, has every text that a run of the suite sent, with what ormcache planned at that
moment. Distilled, it has one text for each shape and what the database said of it, small enough to be kept beside the
tests: ``recorded/<vendor>-<Django version>.xz``. The rows of a later version are those that no earlier one has.
"""

from __future__ import annotations

import json
import lzma
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "recorded"

_SAVEPOINT = re.compile(r'(["`])s\d+_x(\d+)\1')
_SUITE = re.compile(r"(?:test_)?suite_[a-z0-9_]+?_(default|other)")
_LIST = re.compile(r"%s(?:, %s){2,}")
_ROWS = re.compile(r"(\((?:%s|, |DEFAULT|NULL)*\))(?:, \1){2,}")

# What one text may have in the place of another's without being of another shape: names, values, and lists of them.
_QUOTED = re.compile(r'"[^"]*"|`[^`]*`')
_LITERAL = re.compile(r"'[^']*'")
_NUMBER = re.compile(r"\b\d+(?:\.\d+)?\b")
_NAME_LIST = re.compile(r"Q(?:\.Q)*(?:, Q(?:\.Q)*)+")
_REPEATED = re.compile(r"(\S.{3,}?)(?:(?:, | AND | OR | )\1)+")


@dataclass(frozen=True)
class Recorded:
    vendor: str
    sql: str
    formatted: bool  # with the placeholders of the DB-API, "%" doubled
    #: what the text itself made the database read; None: it was not seen, or it writes
    direct: frozenset[str] | None
    #: was it seen to write, or to lock for it?
    wrote: bool


def normalized(text: str) -> str:
    """Without what differs from run to run, and with lists of parameters and rows of them cut to two."""
    text = _SAVEPOINT.sub(r"\1s1_x1\1", text)
    text = _SUITE.sub(r"suite_\1", text)
    return _ROWS.sub(r"\1, \1", _LIST.sub("%s, %s", text))


def shape(text: str) -> str:
    text = _NUMBER.sub("N", _LITERAL.sub("S", _QUOTED.sub("Q", text)))
    return _REPEATED.sub(r"\1", _NAME_LIST.sub("Q", text))


def notes(recording: Path) -> Iterator[dict[str, Any]]:
    with recording.open() as file:
        for line in file:
            yield json.loads(line)


def from_notes(lines: Iterable[dict[str, Any]]) -> list[Recorded]:
    """Each text once, with all that was seen of it. (SQLite tells nothing of a text that it has compiled before.)"""
    found: dict[str, Recorded] = {}
    for note in lines:
        sql, wrote = note["sql"], bool(note.get("written"))
        direct = frozenset(note["direct"]) if note.get("direct") is not None else None
        if sql in found:
            known = found[sql].direct
            direct = known if direct is None else direct | (known or frozenset())
            wrote = wrote or found[sql].wrote
        found[sql] = Recorded(note["vendor"], sql, not note["plain"], direct, wrote)
    return list(found.values())


def distilled(recorded: Iterable[Recorded], known: Iterable[Recorded] = ()) -> list[Recorded]:
    """The shortest text of each shape that none of the known ones has."""
    found: dict[tuple[str, bool, bool], Recorded] = {}
    there = {_kind(one) for one in known}
    for one in sorted(recorded, key=lambda one: (len(one.sql), one.sql)):
        found.setdefault(_kind(one), one)
    return [one for key, one in found.items() if key not in there]


def _kind(one: Recorded) -> tuple[str, bool, bool]:
    return shape(one.sql), one.direct is None, one.wrote


def write(path: Path, recorded: Iterable[Recorded]) -> None:
    rows = sorted(
        (one.sql, one.formatted, None if one.direct is None else sorted(one.direct), one.wrote) for one in recorded
    )
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_bytes(lzma.compress(text.encode(), preset=9 | lzma.PRESET_EXTREME))


def read(path: Path) -> list[Recorded]:
    vendor = path.name.partition("-")[0]
    rows = map(json.loads, lzma.decompress(path.read_bytes()).decode().splitlines())
    return [
        Recorded(vendor, sql, formatted, None if direct is None else frozenset(direct), wrote)
        for sql, formatted, direct, wrote in rows
    ]


def kept(vendor: str) -> list[Recorded]:
    """All that is kept beside the tests of one vendor."""
    return [one for path in sorted(FOLDER.glob(f"{vendor}-*.xz")) for one in read(path)]
