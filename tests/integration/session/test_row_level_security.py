"""Row level security: who somebody is, and what the application has set, decides which rows are answered."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection, connections, models, transaction

from ormcache import reasons
from tests.integration.reading import execute, in_thread, model_of, only_postgresql, stats
from tests.shop.models import Author

pytestmark = only_postgresql

Note = model_of("notes", owner=models.CharField(max_length=20))


def owners() -> list[str]:
    return list(Note.objects.order_by("pk").values_list("owner", flat=True))


@pytest.fixture
def secured(ddl):
    """Row-level security by a setting of the application and by role, on the table ``notes``."""
    ddl("CREATE TABLE notes (id integer, owner text)", "DROP TABLE notes")
    execute("INSERT INTO notes VALUES (1, 'ann'), (2, 'bob')")
    execute("ALTER TABLE notes ENABLE ROW LEVEL SECURITY")
    for role in ("ann", "bob"):
        ddl(f"CREATE ROLE {role}_role", f"DROP ROLE {role}_role")
        ddl(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}_role", f"DROP OWNED BY {role}_role")
    ddl(
        "CREATE POLICY own ON notes USING (owner = coalesce(nullif(current_setting('app.user', true), ''),"
        " replace(current_user, '_role', '')))"
    )
    connection.close()


@pytest.mark.parametrize(
    "become",
    [
        "SET ROLE {}_role",
        "SET SESSION AUTHORIZATION {}_role",
        "SELECT set_config('role', '{}_role', false)",
        "SET SESSION ROLE '{}_role'",
    ],
)
def test_roles_under_row_level_security_never_share(secured, queries, become):
    for counted in (None, 0):
        for user in ("ann", "bob"):
            execute(become.format(user))
            with queries(counted):
                assert owners() == [user]


def test_users_of_a_custom_setting_never_share(secured, queries):
    execute("SET ROLE ann_role")
    for counted in (None, 0):
        for user in ("ann", "bob"):
            with connection.cursor() as cursor:
                cursor.execute("SELECT set_config('app.user', %s, false)", [user])
            with queries(counted):
                assert owners() == [user]
    with transaction.atomic():
        execute("SET LOCAL app.\"user\" = 'ann'")
        assert owners() == ["ann"]
    assert owners() == ["bob"]


def test_a_role_that_a_new_authorization_takes_away(secured):
    for _ in range(2):
        connection.close()
        execute("SET SESSION AUTHORIZATION ann_role")
        assert owners() == ["ann"]
        connection.close()
        execute("SET ROLE bob_role")
        execute("SET SESSION AUTHORIZATION ann_role")
        assert owners() == ["ann"]
        connection.close()
        execute("SET SESSION AUTHORIZATION ann_role")
        with contextlib.suppress(Exception):
            execute("SET ROLE bob_role")
        assert owners() == ["ann"]


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT set_config('app.' || 'user', 'bob', false)",
        "WITH s AS (SELECT set_config('app.user', 'bob', false)) SELECT * FROM s",
        "UPDATE shop_author SET name = set_config('app.user', 'bob', false)",
        "INSERT INTO shop_genre (name) SELECT set_config('app.user', 'bob', false)",
        "DO $$ BEGIN PERFORM set_config('app.user', 'bob', false); END $$",
        "SET app.\"user\" = 'bob'; SELECT 1",
        "SELECT 1; SELECT set_config('app.user', 'bob', false)",
        "SELECT become_bob()",
        "SELECT become_bob_too()",
        "COPY (SELECT set_config('app.user', 'bob', false)) TO '/dev/null'",
        "EXPLAIN ANALYZE SELECT set_config('app.user', 'bob', false)",
        "VALUES (set_config('app.user', 'bob', false))",
        "SELECT name FROM become_bob_view",
        "SELECT name FROM shop_author ORDER BY (SELECT set_config('app.user', 'bob', false))",
    ],
)
def test_a_setting_made_in_passing(secured, ddl, statement):
    ddl(
        "CREATE FUNCTION become_bob() RETURNS text LANGUAGE sql AS $$ SELECT set_config('app.user', 'bob', false) $$",
        "DROP FUNCTION become_bob() CASCADE",
    )
    ddl(
        "CREATE FUNCTION become_bob_too() RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN become_bob(); END $$",
        "DROP FUNCTION become_bob_too()",
    )
    ddl(
        "CREATE VIEW become_bob_view AS SELECT set_config('app.user', 'bob', false) AS name",
        "DROP VIEW become_bob_view",
    )
    Author.objects.create(name="A")
    connection.close()
    execute("SET ROLE ann_role")
    assert owners() == ["ann"]
    connection.close()

    execute("GRANT ALL ON shop_author, shop_genre, become_bob_view TO ann_role")
    execute("GRANT ALL ON SEQUENCE shop_genre_id_seq TO ann_role")
    if "COPY" not in statement:
        execute("SET ROLE ann_role")
    execute(statement)
    execute("SET ROLE ann_role")

    assert owners() == ["bob"]


def test_a_setting_made_by_the_drivers_copy(secured, ddl):
    ddl(
        "CREATE FUNCTION become_bob() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN PERFORM set_config('app.user', 'bob', false); RETURN NEW; END $$",
        "DROP FUNCTION become_bob() CASCADE",
    )
    ddl("CREATE TRIGGER become BEFORE INSERT ON shop_genre FOR EACH ROW EXECUTE FUNCTION become_bob()")
    ddl("GRANT ALL ON shop_genre TO ann_role")
    ddl("GRANT ALL ON SEQUENCE shop_genre_id_seq TO ann_role")
    for text in ("COPY (SELECT set_config('app.user', 'bob', false)) TO STDOUT", "COPY shop_genre (name) FROM STDIN"):
        connection.close()
        execute("SET ROLE ann_role")
        assert owners() == ["ann"]
        with connection.cursor() as cursor, cursor.copy(text) as copying:
            if "FROM" in text:
                copying.write_row(["x"])
            else:
                list(copying)
        assert owners() == ["bob"]


# Users that take turns -----------------------------------------------------------------------------

CALLS = [
    ("SELECT set_config('app.user', %s, {local})", lambda user: [user]),
    ("SELECT set_config(%s, %s, {local})", lambda user: ["app.user", user]),
    ("SELECT set_config(%s::text, %s::text, {local}) AS who, set_config('app.other', 'x', {local})",
     lambda user: ["App.User", user]),
    ("SELECT set_config(%(name)s, %(user)s, {local})", lambda user: {"name": "app.user", "user": user}),
    ("SET {word} app.\"user\" = %s", lambda user: [user]),
]  # fmt: skip


@pytest.mark.parametrize("text, params", CALLS, ids=range(len(CALLS)))
def test_users_by_parameters(secured, queries, text, params):
    execute("SET ROLE ann_role")
    for counted in (None, 0, 0):
        for user in ("ann", "bob"):
            execute(text.format(local="false", word=""), params(user))
            with queries(counted):
                assert owners() == [user]


@pytest.mark.parametrize("text, params", CALLS, ids=range(len(CALLS)))
def test_users_of_a_transaction(secured, queries, text, params):
    execute("SET ROLE ann_role")
    for counted in (None, None, 0, 0):
        for user in ("bob", "ann"):
            with transaction.atomic():
                execute(text.format(local="true", word="LOCAL"), params(user))
                with queries(counted):
                    assert owners() == [user]
        with queries(counted):
            assert owners() == ["ann"]  # by role


@pytest.mark.parametrize("local", ["SET LOCAL ROLE {}_role", "SELECT set_config('role', '{}_role', true)"])
def test_roles_of_a_transaction(secured, queries, local):
    for counted in (None, 0):
        for user in ("ann", "bob"):
            with transaction.atomic():
                execute(local.format(user))
                with queries(counted):
                    assert owners() == [user]
        with queries(counted):
            assert owners() == ["ann", "bob"]  # of a superuser


def test_an_authorization_of_a_transaction(secured):
    for _ in range(2):
        for user in ("ann", "bob"):
            with transaction.atomic():
                execute(f"SET LOCAL SESSION AUTHORIZATION {user}_role")
                assert owners() == [user]
            assert owners() == ["ann", "bob"]


@pytest.fixture(params=["role", "custom", "call"])
def become(request) -> Iterator[object]:
    """Who it is from here on, until the transaction takes it back."""
    text = {
        "role": "SET ROLE {}_role",
        "custom": "SET app.\"user\" = '{}'",
        "call": "SELECT set_config('app.user', '{}', false)",
    }[request.param]
    return lambda user: execute(text.format(user))


def test_a_user_that_is_taken_back(secured, become):
    execute("SET ROLE ann_role")
    become("ann")
    for _ in range(2):
        with transaction.atomic():
            become("bob")
            assert owners() == ["bob"]
            transaction.set_rollback(True)
        assert owners() == ["ann"]


def test_a_user_that_a_savepoint_takes_back(secured, become):
    execute("SET ROLE ann_role")
    for _ in range(2):
        with transaction.atomic():
            become("ann")
            with contextlib.suppress(ZeroDivisionError), transaction.atomic():
                become("bob")
                with transaction.atomic():
                    become("ann")
                    assert owners() == ["ann"]
                become("bob")
                assert owners() == ["bob"]
                raise ZeroDivisionError
            assert owners() == ["ann"]
            with transaction.atomic():
                become("bob")
            assert owners() == ["bob"]
        assert owners() == ["bob"]
        become("ann")
        assert owners() == ["ann"]


def test_savepoints_of_one_name(secured, become):
    """A released one is no more, and its name means the one around it."""
    execute("SET ROLE ann_role")
    become("bob")
    assert owners() == ["bob"]
    with transaction.atomic():
        become("ann")
        execute("SAVEPOINT s")
        become("bob")
        execute("SAVEPOINT s")
        execute("RELEASE SAVEPOINT s")
        execute("ROLLBACK TO SAVEPOINT s")
        assert owners() == ["ann"]


def test_a_commit_that_is_a_rollback(secured, become):
    """PostgreSQL commits nothing of a transaction in which a statement has failed, and the driver does not say so."""
    execute("SET ROLE ann_role")
    become("bob")
    assert owners() == ["bob"]
    become("ann")
    with transaction.atomic():
        become("bob")
        with contextlib.suppress(Exception):
            execute("SELECT 1 / 0")
    assert owners() == ["ann"]


def test_a_setting_that_a_failed_statement_has_defined(secured, ddl):
    ddl("CREATE POLICY none ON notes USING (current_setting('app.third', true) IS NULL)")
    execute("SET ROLE ann_role")
    assert owners() == ["ann", "bob"]
    connection.close()
    execute("SET ROLE ann_role")
    with contextlib.suppress(Exception):
        execute("SELECT set_config('app.third', 'x', true), set_config('TimeZone', 'no such zone', false)")
    assert owners() == ["ann"]


def test_a_setting_that_was_set_once_is_empty_and_not_missing(secured, ddl, queries):
    ddl("CREATE POLICY none ON notes USING (current_setting('app.third', true) IS NULL)")
    for counted in (None, 0):
        connection.close()
        execute("SET ROLE ann_role")
        with queries(counted):
            assert owners() == ["ann", "bob"]
        with transaction.atomic():
            execute("SET LOCAL app.third = 'x'")
        with queries(counted):
            assert owners() == ["ann"]


def test_a_setting_that_was_set_by_something_that_cannot_be_read(secured, ddl):
    """DISCARD ALL does not make it missing again."""
    ddl("CREATE POLICY none ON notes USING (current_setting('app.third', true) IS NULL)")
    execute("DO $$ BEGIN SET app.third = 'x'; END $$")
    execute("DISCARD ALL")
    assert in_thread(owners_after_discard_all) == ["ann", "bob"]
    execute("SET ROLE ann_role")
    assert owners() == ["ann"]


def owners_after_discard_all() -> list[str]:
    execute("DISCARD ALL")
    return owners_of_ann()


def test_a_statement_that_runs_when_it_is_fetched(secured):
    execute("SET ROLE ann_role")
    for user in ("ann", "bob"):
        with transaction.atomic():
            execute('SET LOCAL app."user" = %s', [user])
            assert owners() == [user]
    with transaction.atomic(), connection.chunked_cursor() as cursor:
        cursor.execute("SELECT set_config('app.user', 'bob', true)")
        assert owners() == ["ann"]
        cursor.fetchall()
        assert owners() == ["bob"]


def test_what_was_set_while_the_cache_was_off(secured, configure, monkeypatch):
    monkeypatch.setitem(connection.settings_dict["OPTIONS"], "assume_role", "ann_role")
    connection.ensure_connection()
    configure(ENABLED=False)
    execute("SELECT set_config('app.user', 'bob', false)")
    configure(ENABLED=True)
    assert in_thread(owners) == ["ann"]
    assert owners() == owners() == ["bob"]  # the first one is the one that finds the cache on
    connection.close()


def owners_of_ann() -> list[str]:
    execute("SET ROLE ann_role")
    return owners()


def test_statements_with_several_parameters_each(secured):
    """It is not known with which of them it ran last, or whether it ran at all."""
    execute("SET ROLE ann_role")
    before = stats()["bypassed"].get(reasons.UNTRACKED_SESSION, 0)
    with connection.cursor() as cursor:
        cursor.executemany("SELECT set_config('app.user', %s, false)", [["ann"], ["bob"]])
    assert owners() == ["bob"]
    connection.close()
    execute("SET ROLE ann_role")
    with connection.cursor() as cursor:
        cursor.executemany("SET app.\"user\" = 'bob'", [])
    assert owners() == ["ann"]
    assert stats()["bypassed"][reasons.UNTRACKED_SESSION] == before + 2


# What a session begins with ---------------------------------------------------------------


@pytest.fixture
def begins(secured, ddl):
    """``begins("ann")``: what sessions of the database have for ``app.user`` from then on; None: nothing."""
    database = connection.settings_dict["NAME"]
    given, options = connection.settings_dict, connection.settings_dict["OPTIONS"]
    given["OPTIONS"] = {**options, "assume_role": "ann_role"}
    ddl("SELECT 1", f'ALTER DATABASE {database} RESET app."user"')
    connection.close()

    def set_default(user: str | None, using: str = "plain") -> None:
        if using == "default":
            execute("RESET ROLE")
        set_to = 'RESET app."user"' if user is None else f"SET app.\"user\" = '{user}'"
        execute(f"ALTER DATABASE {database} {set_to}", using=using)
        if using == "default":
            execute("SET ROLE ann_role")

    yield set_default
    connection.close()
    given["OPTIONS"] = options


def test_sessions_that_begin_with_another_user(begins, queries):
    begins("bob")
    assert owners() == ["bob"]
    in_thread(lambda: begins("ann", using="default"))

    for _ in range(2):
        assert owners() == ["bob"]  # an open session keeps what it began with
        assert in_thread(owners) == ["ann"]
    connection.close()
    for _ in range(3):
        assert owners() == ["ann"]
        connection.close()


def test_a_remembered_session_that_no_other_would_begin_with(begins, queries):
    """A thread without a connection is answered for the session that the next one would begin with."""
    begins("bob")

    def page() -> list[str]:
        try:
            return owners()
        finally:
            connections["default"].close()

    with ThreadPoolExecutor(1) as thread, ThreadPoolExecutor(1) as other:
        for _ in range(3):
            assert thread.submit(page).result() == other.submit(page).result() == ["bob"]
        connection.ensure_connection()
        in_thread(lambda: begins("ann", using="default"))
        assert owners() == owners() == ["bob"]  # stored anew, by who is shown it rightfully
        for _ in range(3):
            assert thread.submit(page).result() == ["ann"]
        for _ in range(3):
            assert other.submit(page).result() == ["ann"]


def test_a_default_that_is_gone_when_the_session_is_asked(begins, other_process):
    begins("bob")
    process = other_process.start(
        "tests.integration.session.test_row_level_security.owners_as_ann",
        stops=["before:ormcache.catalog.postgresql.identify"],
    )
    process.wait_for("before:ormcache.catalog.postgresql.identify")
    begins(None)
    process.go()

    assert process.result() == ["bob"]
    assert owners() == ["ann"]


def owners_as_ann() -> list[str]:
    connection.settings_dict["OPTIONS"] = {**connection.settings_dict["OPTIONS"], "assume_role": "ann_role"}
    connection.close()
    return owners()


def test_code_that_reads_another_setting_from_now_on(begins, ddl):
    """The sessions that are open are asked for it."""
    execute("ALTER TABLE notes DISABLE ROW LEVEL SECURITY", using="plain")
    database = connection.settings_dict["NAME"]
    ddl("SELECT 1", f"ALTER DATABASE {database} RESET app.other")
    execute(f"ALTER DATABASE {database} SET app.other = 'bob'", using="plain")
    connection.close()
    connection.ensure_connection()
    owners()
    execute(f"ALTER DATABASE {database} RESET app.other", using="plain")
    in_thread(owners)
    execute("RESET ROLE")
    execute("DROP POLICY own ON notes")
    execute("CREATE POLICY own ON notes USING (owner = coalesce(current_setting('app.other', true), 'ann'))")
    execute("ALTER TABLE notes ENABLE ROW LEVEL SECURITY")
    execute("SET ROLE ann_role")

    for _ in range(2):
        assert owners() == ["bob"]
        assert in_thread(owners) == ["ann"]


def test_a_policy_that_reads_a_setting_of_no_account(secured, queries):
    execute("DROP POLICY own ON notes")
    execute("CREATE POLICY own ON notes USING (owner = current_setting('application_name'))")
    execute("SET ROLE ann_role")
    for user in ("ann", "bob", "ann"):
        execute(f"SET application_name = '{user}'")
        assert owners() == [user]
    before = stats()["bypassed"].get(reasons.SESSION_FUNCTION, 0)
    owners()
    assert stats()["bypassed"][reasons.SESSION_FUNCTION] == before + 1


@pytest.mark.parametrize(
    "text, params",
    [
        ("SELECT set_config(%s, %s, %s)", lambda user: ["app.user", user, False]),
        (
            "SELECT set_config(%(name)s, %(value)s, %(local)s)",
            lambda user: {"name": "app.user", "value": user, "local": False},
        ),
        ("SELECT set_config(CAST(%s AS text), %s::text, %s)", lambda user: ["app.user", user, "off"]),
    ],
)
def test_tenants_that_are_set_by_parameters_keep_their_hits(secured, queries, text, params):
    execute("SET ROLE ann_role")
    for counted in (None, 0):
        for user in ("ann", "bob"):
            execute(text, params(user))
            with queries(counted):
                assert owners() == [user]
    assert connection.ormcache.session.bypass_reason is None
