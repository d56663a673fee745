"""Tags, or surrogate keys: what pages in CDNs and reverse proxies are known by, to be purged when a slot is written.

A tag is a short digest of a slot's name, so it is the same on all hosts, and stands for a relation of one database, a
row, or everything in that database (the epoch's). Two slots that happen to have one tag are purged together, which
costs some hits and is never wrong. A page has the tags of the slots that it depends on; a write purges those of the
slots that it marks.

Where a page depends on too many rows, its tags are those of relations, and for each of them another one that every
write to the relation purges. Where a write marks too many rows, it purges what a write to unknown rows does.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable

from ormcache.database.row_slots import RowSlots
from ormcache.purging.queue import EVERYTHING
from ormcache.stores.base import is_row_slot

#: Tags of one page at most: 150 of them are 1400 bytes of headers, and proxies limit all headers together
MOST_OF_PAGE = 150
#: Tags of rows that one write purges at most
MOST_ROWS_OF_WRITE = 100

#: The tag of pages that have too many others; every write purges it
MANY = f"{EVERYTHING}-many"

_LENGTH = 5  # bytes, which are 8 characters


def tag_of(slot: bytes, kind: bytes = b"") -> str:
    """Return the tag of one slot: 8 lower-case letters and digits. ``kind``: makes another tag of it."""
    hashed = hashlib.blake2b(slot, digest_size=_LENGTH, person=b"ormcache tag", salt=kind).digest()
    return base64.b32encode(hashed).decode().lower()


def tags_of_page(slots: Iterable[bytes]) -> list[str]:
    """Return the tags of a page that depends on these slots."""
    found = list(slots)
    tags = dict.fromkeys([EVERYTHING, *map(tag_of, found)])
    if len(tags) > MOST_OF_PAGE:
        of_relations = [slot for slot in found if not is_row_slot(slot)]
        tags = dict.fromkeys([EVERYTHING, *map(tag_of, of_relations), *map(_tag_of_some_rows, of_relations)])
    return list(tags) if len(tags) <= MOST_OF_PAGE else [EVERYTHING, MANY]


def tags_of_write(slots: Iterable[bytes]) -> list[str]:
    """Return the tags that a write purges which marks these slots."""
    found = list(slots)
    rows = [slot for slot in found if is_row_slot(slot)]
    of_relations = [slot for slot in found if not is_row_slot(slot)]
    bulks = [RowSlots(slot).bulk for slot in of_relations]
    if len(rows) > MOST_ROWS_OF_WRITE:
        rows = bulks  # whatever depends on any row of a relation depends on its bulk slot
    return list(dict.fromkeys([*map(tag_of, of_relations), *map(tag_of, rows), *map(_tag_of_some_rows, bulks), MANY]))


def _tag_of_some_rows(bulk: bytes) -> str:
    return tag_of(bulk, b"some rows")
