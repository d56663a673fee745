"""Tags: a page has one in common with every write that may change it."""

from __future__ import annotations

import re
from itertools import product

from ormcache.cache.stamps import Stamps
from ormcache.catalog import EPOCH
from ormcache.catalog.row_keys import KeyColumn, KeyKind
from ormcache.database.slots import Slots
from ormcache.database.tags import MANY, MOST_OF_PAGE, MOST_ROWS_OF_WRITE, tag_of, tags_of_page, tags_of_write
from ormcache.purging.queue import EVERYTHING

ID = KeyColumn("id", KeyKind.INTEGER)


def slots_of(identity: bytes = b"database") -> Slots:
    return Slots(Stamps(None, identity), None)  # type: ignore[arg-type]  # no store is asked


def page_of(slots: Slots, *relations: str) -> set[str]:
    """Of a page that depends on relations as a whole."""
    return set(tags_of_page([slots.epoch, *map(slots.name, relations)]))


def page_of_rows(slots: Slots, relation: str, keys: range) -> set[str]:
    rows = slots.rows.slots(relation)
    return set(tags_of_page([slots.epoch, rows.bulk, *map(rows.rows_by(ID), keys)]))


def write_to(slots: Slots, *relations: str) -> set[str]:
    return set(tags_of_write(slots.names(frozenset(relations))))


def write_to_rows(slots: Slots, relation: str, keys: range) -> set[str]:
    marked = frozenset(map(slots.rows.slots(relation).rows_by(ID), keys))
    return set(tags_of_write(slots.names_by_row(frozenset({relation}), {relation: marked})))


def test_a_tag_is_short_and_the_same_everywhere() -> None:
    assert tag_of(b"a slot") == "ubgxyaqq"  # of every version: hosts are not updated all at once
    assert all(re.fullmatch("[a-z2-7]{8}", tag) for tag in page_of(slots_of(), "a") - {EVERYTHING})
    assert page_of(slots_of(), "a") == page_of(slots_of(), "a")
    assert page_of(slots_of(b"one"), "a") & page_of(slots_of(b"other"), "a") == {EVERYTHING}


def test_pages_of_whole_relations() -> None:
    slots = slots_of()

    assert page_of(slots, "a", "b") & write_to(slots, "b", "c")
    assert page_of(slots, "a") & write_to_rows(slots, "a", range(1))
    assert not page_of(slots, "a") & write_to(slots, "b")
    assert not page_of(slots, "a") & write_to_rows(slots, "b", range(1))
    assert page_of(slots) & write_to(slots, EPOCH)
    assert page_of_rows(slots, "a", range(3)) & write_to(slots, EPOCH)


def test_pages_of_rows() -> None:
    slots = slots_of()

    assert page_of_rows(slots, "a", range(3)) & write_to(slots, "a")
    assert page_of_rows(slots, "a", range(3)) & write_to_rows(slots, "a", range(2, 4))
    assert not page_of_rows(slots, "a", range(3)) & write_to_rows(slots, "a", range(3, 4))
    assert not page_of_rows(slots, "a", range(3)) & write_to_rows(slots, "b", range(3))


def test_too_many_rows() -> None:
    """Of the page, of the write, or of both: what they have in common is never nothing."""
    slots = slots_of()
    few, many = range(1), range(MOST_OF_PAGE + 1)
    assert len(many) > MOST_ROWS_OF_WRITE
    for read, written in product((few, many), (few, many)):
        page, write = page_of_rows(slots, "a", read), write_to_rows(slots, "a", written)
        assert len(page) <= MOST_OF_PAGE
        assert len(write) <= MOST_ROWS_OF_WRITE + 10
        assert page & write, (read, written)
        assert not page & write_to_rows(slots, "b", written), (read, written)
    assert page_of_rows(slots, "a", many) & write_to(slots, "a")


def test_too_many_relations() -> None:
    slots = slots_of()
    page = page_of(slots, *(f"r{number}" for number in range(MOST_OF_PAGE)))

    assert page == {EVERYTHING, MANY}
    assert page & write_to(slots, "r3")
    assert page & write_to(slots, "another")  # one tag for everything
