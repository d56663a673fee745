"""What is remembered of a session's temporary tables."""

from __future__ import annotations

from ormcache.session.temporary_tables import TemporaryTables


def test_a_table_that_the_open_transaction_has_dropped_can_come_back_until_it_commits():
    """Also by a rollback to a savepoint that was not seen."""
    tables = TemporaryTables().create("t", drops_on_commit=False).drop(frozenset({"t"}), in_transaction=True)
    assert (tables.names, tables.present) == ({"t"}, frozenset())
    assert tables.commit().names == frozenset()


def test_a_table_that_is_dropped_in_autocommit_is_gone():
    tables = TemporaryTables().create("t", drops_on_commit=False).drop(frozenset({"t"}), in_transaction=False)
    assert (tables.names, tables.are_distinct) == (frozenset(), True)


def test_two_tables_of_one_folded_name_are_never_told_apart_again():
    tables = TemporaryTables().create("t", drops_on_commit=False).create("t", drops_on_commit=True)
    assert tables.commit().names == {"t"}
    assert not tables.commit().are_distinct
