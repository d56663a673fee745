"""What a driver was taught to make of values, for one connection or for the process, is told apart."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection, connections, models
from django.db.backends.signals import connection_created
from django.db.models.expressions import RawSQL

from ormcache import reasons
from ormcache.session import converters
from tests.integration.reading import ENGINE, execute, in_thread, only_postgresql, only_sqlite, stats
from tests.shop.models import Author


@pytest.fixture
def taught() -> Iterator[Callable[[Callable[[Any], None]], None]]:
    """``taught(teach)``: every connection is, from now on; ``teach`` gets the DB-API connection."""
    receivers = []

    def begin(teach: Callable[[Any], None]) -> None:
        def receiver(connection: Any, **kwargs: Any) -> None:
            if connection.alias == "default":
                teach(connection.connection)

        receivers.append(receiver)
        connection_created.connect(receiver)
        connection.close()

    yield begin
    for receiver in receivers:
        connection_created.disconnect(receiver)
    connections.close_all()


@pytest.fixture
def options() -> Iterator[Callable[..., None]]:
    """``options(server_side_binding=True)``: of the alias, from the next connection on."""
    given, before = connection.settings_dict, connection.settings_dict["OPTIONS"]

    def put(**changes: Any) -> None:
        given["OPTIONS"] = {**before, **changes}
        connection.close()

    yield put
    connection.close()
    given["OPTIONS"] = before


def number() -> Any:
    """A numeric value as the driver hands it out."""
    query = Author.objects.annotate(x=RawSQL("1.5", (), output_field=models.TextField()))
    return query.values_list("x", flat=True)[0]


def bypassed() -> int:
    return stats()["bypassed"].get(reasons.CONVERTERS, 0)


@only_postgresql
def test_loaders_of_a_connection(taught, queries):
    from psycopg.types.numeric import FloatLoader

    Author.objects.create(name="A")
    assert number() == number() == Decimal("1.5")
    taught(lambda made: made.adapters.register_loader("numeric", FloatLoader))
    assert type(number()) is float
    with queries(0):
        assert type(number()) is float


@only_postgresql
def test_what_every_connection_is_taught_anew_is_described_once(taught, monkeypatch):
    """``django.contrib.postgres`` does so for hstore and citext: each connection has dicts of its own."""
    from psycopg.types.numeric import FloatLoader

    adapters = []

    def teach(made: Any) -> None:
        made.adapters.register_loader("numeric", FloatLoader)
        adapters.append(made.adapters)

    taught(teach)
    Author.objects.count()
    described = []
    describe = converters._describe_dict
    monkeypatch.setattr(converters, "_describe_dict", lambda items: described.append(items) or describe(items))
    connection.close()
    connection.connect()
    assert described == []
    first, second = (one._loaders for one in adapters)
    assert first == second
    assert all(mine is not another for mine, another in zip(first, second, strict=True))


@only_postgresql
def test_loaders_that_come_while_a_connection_is_open(queries):
    from psycopg.types.numeric import FloatLoader

    Author.objects.create(name="A")
    assert type(number()) is type(number()) is Decimal
    connection.connection.adapters.register_loader("numeric", FloatLoader)
    assert type(number()) is float
    with queries(0):
        assert type(number()) is float
    with connection.cursor() as cursor:
        cursor.adapters.register_loader("numeric", FloatLoader)  # of this cursor alone
    connection.close()
    connection.ensure_connection()
    with queries(0):
        assert type(number()) is Decimal


@only_postgresql
def test_code_of_the_project_shares_nothing(taught, queries):
    from psycopg.types.numeric import FloatLoader

    class Loader(FloatLoader):
        def load(self, data: Any) -> Any:
            return -super().load(data)

    Author.objects.create(name="A")
    assert number() == number() == Decimal("1.5")
    taught(lambda made: made.adapters.register_loader("numeric", Loader))
    before = bypassed()
    for turn in (1, 2):
        assert number() == -1.5
        assert bypassed() == before + turn


@only_postgresql
def test_parameters_that_the_server_binds(options, queries):
    Author.objects.create(name="A")

    def kind() -> Any:
        query = Author.objects.annotate(x=RawSQL("%s + 1", (0.5,), output_field=models.TextField()))
        return type(query.values_list("x", flat=True)[0])

    for _ in range(2):
        options(server_side_binding=False)
        assert kind() is Decimal
        options(server_side_binding=True)
        assert kind() is float


@only_postgresql
def test_the_same_in_another_process(other_process, queries):
    Author.objects.create(name="A")
    assert number() == number() == Decimal("1.5")
    assert other_process("tests.integration.session.test_converters.hits") == 1


def hits() -> int:
    number()
    return int(stats()["hits"])


@only_sqlite
def test_texts_as_bytes(taught, queries):
    Author.objects.create(name="A")

    def name() -> Any:
        query = Author.objects.annotate(x=RawSQL("name", (), output_field=models.TextField()))
        return query.values_list("x", flat=True)[0]

    for _ in range(2):
        assert name() == "A"
    connection.connection.text_factory = bytes
    for _ in range(2):
        assert name() == b"A"
    connection.connection.text_factory = lambda data: data.decode() + "!"
    before = bypassed()
    assert name() == "A!"
    assert bypassed() == before + 1
    connection.close()
    assert name() == "A"


@only_sqlite
def test_converters_of_the_process(queries):
    """Also for connections that are still to be made."""
    Author.objects.create(name="A")
    execute("CREATE TABLE prices (price money)", using="plain")
    execute("INSERT INTO prices VALUES (1)", using="plain")

    def price() -> Any:
        query = Author.objects.annotate(x=RawSQL("(SELECT price FROM prices)", (), output_field=models.TextField()))
        return query.values_list("x", flat=True)[0]

    try:
        for _ in range(3):
            Author.objects.count()
            in_thread(Author.objects.count)
            connection.close()
        with queries(0):
            Author.objects.count()
        sqlite3.register_converter("money", lambda data: Decimal(data.decode()))
        before = bypassed()
        Author.objects.count()
        assert bypassed() == before + 1
        del sqlite3.converters["MONEY"]
        with queries(0):
            Author.objects.count()
    finally:
        sqlite3.converters.pop("MONEY", None)
        connection.close()
        execute("DROP TABLE prices", using="plain")


@only_sqlite
def test_types_that_are_detected(options):
    Author.objects.create(name="A")

    def flag() -> Any:
        query = Author.objects.annotate(x=RawSQL('1 AS "x [bool]", 1', (), output_field=models.TextField()))
        return query.values_list("pk")[0]

    for _ in range(2):
        options()
        flag()
        options(detect_types=0)
        flag()
    digests = set()
    for detected in (0, 1, None):
        options(**({} if detected is None else {"detect_types": detected}))
        connection.ensure_connection()
        digests.add(connection.ormcache.session.converters.digest)
    assert len(digests) == 3


@pytest.mark.skipif(ENGINE != "mysql", reason="only MySQL has it")
def test_conversions_of_mysql(options, queries):
    from django.db.backends.mysql.base import django_conversions
    from MySQLdb.constants import FIELD_TYPE

    Author.objects.create(name="A")
    for _ in range(2):
        options()
        assert number() == Decimal("1.5")
        options(conv={**django_conversions, FIELD_TYPE.NEWDECIMAL: float})
        assert type(number()) is float
    with queries(0):
        assert type(number()) is float
    before = bypassed()
    options(conv={**django_conversions, FIELD_TYPE.NEWDECIMAL: lambda data: -float(data)})
    assert number() == number() == -1.5
    assert bypassed() == before + 2
    options()
    assert number() == Decimal("1.5")
