"""Many schemas with tables of the same names: what one tenant writes is nobody else's matter."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection, models, transaction

from tests.integration.reading import execute, in_thread, model_of, only_postgresql
from tests.integration.schema import World, made, plan_of

pytestmark = only_postgresql

MOST = 50

Note = model_of("notes", text=models.TextField())
Counter = model_of("counters", n=models.IntegerField())


@pytest.fixture
def tenants(queries: Any) -> Iterator[World]:
    """Each has ``notes``, and ``counters`` that a trigger keeps. What they share is in ``public``."""
    with made(queries) as world:
        statements = [
            (
                "CREATE FUNCTION count_notes() RETURNS trigger LANGUAGE plpgsql AS"
                " $$ BEGIN UPDATE counters SET n = n + 1; RETURN NULL; END $$"
            )
        ]
        for number in range(MOST):
            statements += [
                f"CREATE SCHEMA t{number}",
                f"CREATE TABLE t{number}.notes (id integer, text text)",
                f"CREATE TABLE t{number}.counters (id integer, n integer)",
                f"INSERT INTO t{number}.notes VALUES (1, 'of {number}')",
                f"INSERT INTO t{number}.counters VALUES (1, {number})",
                f"CREATE TRIGGER counting AFTER UPDATE ON t{number}.notes FOR EACH ROW EXECUTE FUNCTION count_notes()",
            ]
        execute("; ".join(statements), using="plain")
        connection.close()
        yield world


def enter(number: int, using: str = "default") -> None:
    execute(f"SET search_path TO t{number}, public", using=using)


def seen(number: int, using: str = "default") -> tuple[list[Any], list[Any]]:
    enter(number, using)
    return (
        list(Note.objects.using(using).order_by("id").values_list("text", flat=True)),
        list(Counter.objects.using(using).order_by("id").values_list("n", flat=True)),
    )


def test_nobody_sees_rows_of_another(tenants):
    for _ in range(2):
        for number in range(MOST):
            assert seen(number) == ([f"of {number}"], [number])


def test_a_write_is_seen_by_its_tenant(tenants):
    for number in range(MOST):
        seen(number)
    for number in (0, 7, MOST - 1):
        enter(number)
        execute("UPDATE notes SET text = 'new'")
        assert seen(number) == (["new"], [number + 1]) == seen(number, "plain")
        assert in_thread(lambda number=number: seen(number)) == (["new"], [number + 1])


def test_a_write_leaves_the_others_alone(tenants):
    for number in range(MOST):
        seen(number)
    enter(7)
    execute("UPDATE notes SET text = 'new'")
    for number in range(MOST):
        with tenants.queries(1 if number != 7 else 3) as reached:  # SET search_path
            if number == 7:
                assert seen(number) == (["new"], [8])
            else:
                assert seen(number) == ([f"of {number}"], [number]), reached


def test_a_write_in_a_transaction_leaves_the_others_alone(tenants):
    for number in (1, 2):
        seen(number)
    enter(1)
    with transaction.atomic():
        execute("UPDATE notes SET text = 'new'")
    with tenants.queries(1):
        assert seen(2) == (["of 2"], [2])
    assert seen(1) == (["new"], [2])


def test_qualified_names_reach_across(tenants):
    for number in (1, 2, 3):
        seen(number)
    enter(1)
    execute("UPDATE t2.notes SET text = 'new'")  # its trigger looks for counters along the path of the session

    assert seen(1) == seen(1, "plain") == (["of 1"], [2])
    assert seen(2) == seen(2, "plain") == (["new"], [2])
    assert seen(3) == seen(3, "plain")


def test_a_tenant_that_has_no_such_table_of_its_own(tenants):
    """What its path leads to is another schema's."""
    execute("CREATE TABLE public.notes (id integer, text text)")
    execute("CREATE SCHEMA bare")
    execute("INSERT INTO public.notes VALUES (1, 'of all')")
    connection.close()

    def read(using: str = "default") -> list[Any]:
        execute("SET search_path TO bare, public", using=using)
        return list(Note.objects.using(using).values_list("text", flat=True))

    assert read() == read() == ["of all"]
    connection.close()
    execute("UPDATE public.notes SET text = 'new'")
    assert read() == ["new"]
    # From here on the name means another table to the same session.
    execute("CREATE TABLE bare.notes (id integer, text text)")
    assert read() == read("plain") == []


def test_a_schema_that_the_user_may_not_look_into_is_passed_over(tenants):
    execute("CREATE ROLE guest")
    execute("GRANT USAGE ON SCHEMA t2 TO guest")
    execute("GRANT ALL ON ALL TABLES IN SCHEMA t1, t2 TO guest")
    connection.close()

    def read(using: str = "default") -> list[Any]:
        connection.close()
        execute("SET search_path TO t1, t2", using=using)
        execute("SET ROLE guest", using=using)
        rows = list(Note.objects.using(using).values_list("text", flat=True))
        execute("RESET ROLE", using=using)
        return rows

    assert read() == read() == ["of 2"]
    enter(2)
    execute("UPDATE notes SET text = 'new'")
    assert read() == read("plain") == ["new"]
    connection.close()
    execute("GRANT USAGE ON SCHEMA t1 TO guest")
    assert read() == read("plain") == ["of 1"]


def test_views_are_fixed_where_they_were_made(tenants):
    """A view keeps to the tables that its names meant when it was made, whatever path its reader has."""
    execute("SET search_path TO t1")
    execute("CREATE VIEW t3.v AS SELECT * FROM notes")
    connection.close()
    view = model_of('t3"."v', text=models.TextField())

    def read(using: str = "default") -> list[Any]:
        execute("SET search_path TO t2", using=using)
        return list(view.objects.using(using).values_list("text", flat=True))

    assert read() == read() == ["of 1"]
    enter(1)
    execute("UPDATE notes SET text = 'new'")
    assert read() == read("plain") == ["new"]


def test_a_plan_names_the_tenants_own(tenants):
    enter(7)

    assert plan_of("SELECT * FROM notes").relations == {"t7.notes"}
    assert plan_of("UPDATE notes SET text = 'x'").written == {"t7.notes", "t7.counters"}
