"""Triggers that record in the outbox what programs write that ormcache does not see."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import OperationalError, connection, connections, transaction

from ormcache.exceptions import UnknownTable
from ormcache.outside.triggers import TriggerState
from tests import environment
from tests.conftest import skip_or_fail
from tests.integration.outside.outbox import outbox, reconnect, triggers
from tests.integration.reading import ENGINE, execute, not_on_sqlite, only_mysql, only_postgresql
from tests.shop.models import Genre

pytestmark = not_on_sqlite


def test_writes_of_others_are_recorded(installed):
    for sql in (
        "INSERT INTO shop_genre (name) VALUES ('one'), ('two')",
        "UPDATE shop_genre SET name = 'three'",
        "DELETE FROM shop_genre",
    ):
        execute(sql, using="plain")

        assert outbox() == ["shop_genre"]


def test_own_writes_are_not(installed):
    Genre.objects.create(name="one")
    Genre.objects.update(name="two")
    Genre.objects.all().delete()

    assert outbox() == []


def test_a_transaction_of_many_statements(installed):
    """PostgreSQL records a table once a transaction, and both once a statement, whatever the number of rows."""
    with connections["plain"].cursor() as cursor:
        cursor.execute("BEGIN")
        for number in range(5):
            cursor.execute("INSERT INTO shop_genre (name) VALUES (%s), ('b'), ('c'), ('d')", [str(number)])
        cursor.execute("COMMIT")

    assert outbox() == ["shop_genre"] * (1 if ENGINE == "postgresql" else 5)


def test_what_is_rolled_back_leaves_nothing(installed):
    with connections["plain"].cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("INSERT INTO shop_genre (name) VALUES ('one')")
        cursor.execute("ROLLBACK")

    assert outbox() == []


def test_a_write_after_a_rollback_to_a_savepoint(installed):
    """The row in the outbox went with the first write, so the second one needs another."""
    with connections["plain"].cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("SAVEPOINT earlier")
        cursor.execute("INSERT INTO shop_genre (name) VALUES ('one')")
        cursor.execute("ROLLBACK TO SAVEPOINT earlier")
        cursor.execute("INSERT INTO shop_genre (name) VALUES ('two')")
        cursor.execute("COMMIT")

    assert outbox() == ["shop_genre"]


def test_a_statement_that_fails_halfway(installed):
    """What comes next in the same session is recorded."""
    execute("INSERT INTO shop_genre (id, name) VALUES (7, 'one')", using="plain")
    outbox()
    with pytest.raises(Exception, match=r"(?i)duplicate"):
        execute("INSERT INTO shop_genre (id, name) VALUES (5, 'two'), (6, 'three'), (7, 'four')", using="plain")
    assert outbox() == []
    execute("INSERT INTO shop_genre (id, name) VALUES (8, 'five')", using="plain")

    assert outbox() == ["shop_genre"]


def test_own_writes_by_raw_sql_and_transactions(installed):
    with transaction.atomic():
        Genre.objects.bulk_create([Genre(name=str(number)) for number in range(20)])
        execute("UPDATE shop_genre SET name = 'x'")
    if ENGINE == "postgresql":
        execute("TRUNCATE shop_genre CASCADE")

    assert outbox() == []


def test_triggers_of_ormcache_change_no_plan(installed):
    """Writes invalidate no more than before, and no custom setting is asked for."""
    database = connection.ormcache.known()

    assert "ormcache_outbox" not in database.plans.closure(frozenset({"shop_genre"}))
    assert "*" not in database.plans.closure(frozenset({"shop_genre"}))
    assert not database.catalog_cache.session_beginning.custom_settings


def test_another_blacklist_is_another_writer(installed, configure):
    """A process that does not publish its writes to a table does not say that it does."""
    connections.close_all()
    configure(BLACKLIST=["shop.Genre"])
    reconnect()
    Genre.objects.create(name="one")

    assert outbox() == ["shop_genre"]
    states = {one.relation: one for one in triggers().status()}
    assert states["shop_author"].reason == "installed under another BLACKLIST or ONLY"


def test_a_connection_that_is_not_cached_is_not_silent(installed, configure):
    """ENABLED False: its writes are published by nobody."""
    configure(ENABLED=False)
    Genre.objects.create(name="one")
    configure(ENABLED=True)

    assert outbox() == ["shop_genre"]


def test_status(installed):
    states = {one.relation: one.state for one in triggers().status()}

    assert states["shop_genre"] is states["shop_author"] is TriggerState.CURRENT
    assert states["shop_book"] is TriggerState.MISSING
    assert "ormcache_outbox" not in states


def test_the_default_is_every_table_that_may_be_cached(configure):
    connections.close_all()
    configure(BLACKLIST=["shop_upper"])
    found = triggers().find([])

    assert "shop_genre" in found
    assert "Shop_Upper" not in found


def test_names_are_those_of_settings():
    assert triggers().find(["shop.Genre"]) == ["shop_genre"]
    assert "shop_book_genres" in triggers().find(["shop.*"])
    assert triggers().find(["shop_g*"]) == ["shop_genre"]
    with pytest.raises(UnknownTable):
        triggers().find(["nowhere"])


def test_installing_again_changes_nothing(installed):
    assert not [change for change in triggers().install(["shop_genre"]) if change.error]
    execute("INSERT INTO shop_genre (name) VALUES ('one')", using="plain")

    assert outbox() == ["shop_genre"]


def test_installing_invalidates_what_was_written_before(queries):
    Genre.objects.create(name="old")
    assert list(Genre.objects.values_list("name", flat=True)) == ["old"]
    execute("UPDATE shop_genre SET name = 'new'", using="plain")
    one = triggers()
    try:
        list(one.install(["shop_genre"]))
        assert list(Genre.objects.values_list("name", flat=True)) == ["new"]
    finally:
        list(one.remove(one.installed()))


def test_installing_does_not_wait_long_for_a_lock(monkeypatch):
    monkeypatch.setattr("ormcache.outside.triggers.MOST_ATTEMPTS", 2)
    monkeypatch.setattr("ormcache.outside.triggers.PAUSE", 0.01)
    monkeypatch.setattr("ormcache.outside.postgresql_triggers.LOCK_TIMEOUT", "50ms")
    with connections["plain"].cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("INSERT INTO shop_genre (name) VALUES ('one')")
        one = triggers()
        changes = list(one.install(["shop_genre"]))
        cursor.execute("ROLLBACK")

    assert [bool(change.error) for change in changes] == [True]
    assert one.installed() == []


@only_postgresql
def test_copy_and_truncate(installed):
    with connections["plain"].cursor() as cursor:
        with cursor.copy("COPY shop_genre (name) FROM STDIN") as copy:
            for number in range(100):
                copy.write_row([str(number)])
        assert outbox() == ["shop_genre"]
        cursor.execute("TRUNCATE shop_genre CASCADE")
    assert "shop_genre" in outbox()


@only_postgresql
def test_truncate_of_the_outbox_too(installed):
    """As ``manage.py flush`` and sqlflush do it."""
    execute("TRUNCATE shop_genre, ormcache_outbox CASCADE", using="plain")

    assert "shop_genre" in outbox()


@only_postgresql
def test_sessions_that_apply_changes_of_other_servers(installed):
    with connections["plain"].cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
        cursor.execute("INSERT INTO shop_genre (name) VALUES ('one')")
        cursor.execute("RESET session_replication_role")

    assert outbox() == ["shop_genre"]


@only_postgresql
def test_triggers_that_were_disabled(installed):
    execute("ALTER TABLE shop_genre DISABLE TRIGGER ALL", using="plain")
    execute("ALTER TABLE shop_genre ENABLE TRIGGER ALL", using="plain")
    states = {one.relation: one for one in triggers().status()}

    assert states["shop_genre"].state is TriggerState.OUTDATED
    list(triggers().install(["shop_genre"]))
    assert {one.relation: one.state for one in triggers().status()}["shop_genre"] is TriggerState.CURRENT


@only_postgresql
def test_partitions_and_other_schemas(ddl):
    ddl("CREATE SCHEMA apart", "DROP SCHEMA apart CASCADE")
    ddl("CREATE TABLE apart.logs (day integer) PARTITION BY RANGE (day)")
    ddl("CREATE TABLE apart.logs_1 PARTITION OF apart.logs FOR VALUES FROM (0) TO (10)")
    one = triggers()
    relations = one.find(["apart.*"])
    assert relations == ["apart.logs", "apart.logs_1"]
    assert not [change for change in one.install(relations) if change.error]
    try:
        execute("INSERT INTO apart.logs VALUES (1)", using="plain")
        assert outbox() == ["apart.logs"]
        execute("INSERT INTO apart.logs_1 VALUES (1)", using="plain")
        assert outbox() == ["apart.logs_1"]
        ddl("CREATE TABLE apart.logs_2 PARTITION OF apart.logs FOR VALUES FROM (10) TO (20)")
        states = {one.relation: one.state for one in triggers().status()}
        assert states["apart.logs_2"] is TriggerState.MISSING
    finally:
        list(triggers().remove(triggers().installed()))


@only_postgresql
def test_a_renamed_table_is_recorded_by_its_name(installed, ddl):
    ddl("ALTER TABLE shop_genre RENAME TO renamed", "ALTER TABLE renamed RENAME TO shop_genre")
    execute("INSERT INTO renamed (name) VALUES ('one')", using="plain")

    assert outbox() == ["renamed"]


@only_postgresql
def test_a_user_without_any_right_to_the_outbox(installed):
    with connections["plain"].cursor() as cursor:
        cursor.execute("CREATE ROLE stranger")
        try:
            cursor.execute("GRANT INSERT, UPDATE ON shop_genre TO stranger")
            cursor.execute("GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO stranger")
            cursor.execute("SET ROLE stranger")
            cursor.execute("INSERT INTO shop_genre (name) VALUES ('one')")
        finally:
            cursor.execute("RESET ROLE")
            cursor.execute("DROP OWNED BY stranger")
            cursor.execute("DROP ROLE stranger")

    assert outbox() == ["shop_genre"]


@only_postgresql
def test_settings_that_are_lost(installed):
    """RESET ALL takes back what the session says: its writes are recorded then, which is harmless."""
    Genre.objects.count()
    execute("RESET ALL")
    Genre.objects.create(name="one")

    assert outbox() == ["shop_genre"]


@only_postgresql
def test_a_pooler_lends_no_name(installed, start_server):
    """PgBouncer gives the session of ormcache to another client: that one's writes are recorded all the same."""
    server = start_server("pgbouncer", behind=environment.current().first("postgresql"))
    settings = connections.settings
    settings["pooled"] = {**settings["default"], "HOST": server.host, "PORT": server.port}
    settings["stranger"] = {**settings["plain"], "HOST": server.host, "PORT": server.port}
    try:
        Genre.objects.using("pooled").create(name="one")
        assert outbox() == ["shop_genre"]
        execute("INSERT INTO shop_genre (name) VALUES ('two')", using="stranger")
        assert outbox() == ["shop_genre"]
    finally:
        for alias in ("pooled", "stranger"):
            connections[alias].close()
            del connections[alias], settings[alias]


@only_mysql
def test_a_session_whose_clock_stands_still(installed):
    """Statements of one moment are two statements, and the first one may be invalidated before the second one."""
    with connections["plain"].cursor() as cursor:
        cursor.execute("SET timestamp = 1700000000.5")
        cursor.execute("INSERT INTO shop_genre (name) VALUES ('one')")
        cursor.execute("INSERT INTO shop_genre (name) VALUES ('two')")
        cursor.execute("SET timestamp = DEFAULT")

    assert outbox() == ["shop_genre"] * 2


@only_mysql
def test_a_function_that_goes_on_after_a_failure(installed, ddl):
    """Its statements are of one moment, and the row in the outbox went with the first one of them."""
    ddl(
        "CREATE FUNCTION try_twice() RETURNS integer MODIFIES SQL DATA BEGIN"
        " DECLARE CONTINUE HANDLER FOR SQLEXCEPTION BEGIN END;"
        " INSERT INTO shop_genre (id, name) VALUES (1, 'a'), (1, 'b');"
        " INSERT INTO shop_genre (id, name) VALUES (2, 'c');"
        " RETURN 1; END",
        "DROP FUNCTION try_twice",
    )
    execute("DO try_twice()", using="plain")

    assert Genre.objects.using("plain").filter(pk=2).exists()
    assert outbox() == ["shop_genre"]


@only_mysql
def test_a_renamed_table_is_seen_by_status(installed, ddl):
    ddl("RENAME TABLE shop_genre TO renamed", "RENAME TABLE renamed TO shop_genre")
    states = {one.relation: one for one in triggers().status()}

    assert states["renamed"].reason == "of a table that had another name"


def test_clients_of_other_languages(installed):
    """psql and mariadb, which are written in C."""
    settings = connections["plain"].settings_dict
    sql = "INSERT INTO shop_genre (name) VALUES ('by another client')"
    if ENGINE == "postgresql":
        command = ["psql", "-q", "-d", settings["NAME"], "-c", sql]
        environ = {"PGHOST": settings["HOST"], "PGPORT": str(settings["PORT"]), "PGUSER": settings["USER"]}
    else:
        command = ["mariadb", "-h", settings["HOST"], "-P", str(settings["PORT"]), "-u", settings["USER"]]
        command += ["--skip-ssl", "-e", sql, settings["NAME"]]
        environ = {"MYSQL_PWD": settings["PASSWORD"]}
    if shutil.which(command[0]) is None:
        skip_or_fail(f"{command[0]} is not installed")
    subprocess.run(command, env=os.environ | environ, check=True)

    assert outbox() == ["shop_genre"]


# The command ------------------------------------------------------------------------------


def run(*args: str) -> str:
    out = io.StringIO()
    call_command("ormcache", "triggers", *args, "--using", "default", stdout=out)
    return out.getvalue()


def test_the_command():
    try:
        assert "1 installed" in run("install", "shop.Genre")
        text = run("status", "shop.Genre", "shop.Author")
        assert re.search(r"shop_genre +current", text)
        assert re.search(r"shop_author +missing", text)
        assert json.loads(run("status", "shop.Genre", "--json"))["databases"][0]["tables"] == [
            {"relation": "shop_genre", "state": "current", "reason": ""}
        ]
    finally:
        assert "1 removed" in run("remove")
    assert "current" not in run("status")


def test_a_name_that_nothing_has():
    with pytest.raises(CommandError, match=r"nowhere: no table that can have triggers\. Nothing was changed"):
        run("install", "nowhere")


def test_a_table_that_cannot_be_locked(monkeypatch):
    def fail(self, relation, table, writer):
        raise OperationalError("locked")

    monkeypatch.setattr(
        f"ormcache.outside.triggers.{'MySQL' if ENGINE == 'mysql' else 'PostgreSQL'}Triggers.install", fail
    )
    with pytest.raises(CommandError, match="as before:\nshop_genre: locked"):
        run("install", "shop.Genre")


def test_without_the_outbox(monkeypatch):
    monkeypatch.setattr("ormcache.outside.triggers.find_outbox", lambda *args: None)
    with pytest.raises(CommandError, match="add 'ormcache' to INSTALLED_APPS"):
        run("install", "shop.Genre")
