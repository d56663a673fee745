"""A session that is led to another database: what it writes there invalidates what others have cached of that one."""

from __future__ import annotations

import pytest
from django.db import connection, connections, transaction
from django.db.backends.signals import connection_created

from tests.integration.reading import execute, only_mysql, only_sqlite
from tests.shop.models import Genre


@pytest.fixture
def other(queries):
    """A read of the genres of the other database through its own alias, cached by now; asserts that it is fresh."""
    Genre.objects.using("second_plain").create(name="old")

    def read(alias: str = "second") -> list[str]:
        return sorted(Genre.objects.using(alias).values_list("name", flat=True))

    assert read() == ["old"]
    with queries(0, using="second"):
        assert read() == ["old"]
    yield read
    assert read() == read("second_plain") != ["old"]


@pytest.fixture
def attached(other):
    execute("ATTACH %s AS other", [str(connections["second"].settings_dict["NAME"])])
    yield
    connection.close()


@only_sqlite
@pytest.mark.parametrize(
    "write",
    [
        "UPDATE other.shop_genre SET name = 'new'",
        "INSERT INTO other.shop_genre (name) SELECT 'new'",
        "DELETE FROM OTHER . shop_genre",
        "CREATE INDEX other.one ON shop_genre (name); DROP INDEX other.one; UPDATE other.shop_genre SET name = 'new'",
    ],
)
def test_a_write_to_an_attached_file(attached, write):
    for statement in write.split(";"):
        execute(statement)


@only_sqlite
def test_a_table_that_only_the_attached_file_has(other):
    with connections["second"].cursor() as cursor:
        cursor.execute("CREATE TABLE only_there (id integer)")
        cursor.execute("CREATE TRIGGER t AFTER INSERT ON only_there BEGIN UPDATE shop_genre SET name = 'new'; END")
    assert other() == ["old"]
    execute("ATTACH %s AS other", [str(connections["second"].settings_dict["NAME"])])
    execute("INSERT INTO only_there VALUES (1)")
    connection.close()
    assert other() == ["new"]
    with connections["second"].cursor() as cursor:
        cursor.execute("DROP TABLE only_there")


@only_sqlite
def test_in_a_transaction(attached):
    with transaction.atomic():
        execute("UPDATE other.shop_genre SET name = 'new'")


@only_sqlite
def test_attached_when_the_connection_is_made(other):
    def attach(connection, **kwargs) -> None:
        if connection.alias == "default":
            with connection.cursor() as cursor:
                cursor.execute("ATTACH %s AS other", [str(connections["second"].settings_dict["NAME"])])

    connection.close()
    connection_created.connect(attach)
    try:
        execute("UPDATE other.shop_genre SET name = 'new'")
    finally:
        connection_created.disconnect(attach)
        connection.close()


@only_sqlite
def test_a_write_to_the_own_file_leaves_the_attached_one(attached, other, queries):
    Genre.objects.create(name="own")
    with queries(0, using="second"):
        assert other() == ["old"]
    execute("UPDATE other.shop_genre SET name = 'new'")


@only_mysql
@pytest.mark.parametrize("back", [True, False])
def test_a_session_that_uses_another_database(other, back):
    execute(f"USE {connections['second'].settings_dict['NAME']}")
    execute("UPDATE shop_genre SET name = 'new'")
    if back:
        execute(f"USE {connections['default'].settings_dict['NAME']}")
    else:
        connection.close()


@only_mysql
def test_back_in_the_own_database_the_other_one_is_left_alone(other, queries):
    execute(f"USE {connections['second'].settings_dict['NAME']}")
    execute(f"USE {connections['default'].settings_dict['NAME']}")
    Genre.objects.create(name="own")
    with queries(0, using="second"):
        assert other() == ["old"]
    Genre.objects.using("second").update(name="new")
