"""What one session has set, and which sessions are alike."""

from __future__ import annotations

import pytest

from ormcache import reasons
from ormcache.session.tracker import Session
from ormcache.session.values import SEVERAL
from ormcache.sql import Effect, analyse

BASE = ("server", "settings")


def after(*statements: str, vendor: str = "postgresql", in_transaction: bool = False, params=None) -> Session:
    """A new session in which these have run."""
    session = Session()
    session.describe(BASE, "read committed")
    for text in statements:
        change = analyse(text, vendor).session
        if change is not None:
            session.record_change(change, params, in_transaction=in_transaction)
    return session


PLAIN = after().fingerprint

DIFFERENT = [
    [],
    ["SET search_path TO a"],
    ["SET search_path TO b"],
    ['SET search_path TO "A"'],
    ["SET search_path TO a, b"],
    ["SET ROLE a"],
    ["SET SESSION AUTHORIZATION a"],
    ["SET SESSION AUTHORIZATION b", "SET ROLE a"],
    ["SET TIME ZONE 'UTC'"],
    ["SET TIME ZONE 'utc '"],
    ["SET a.b = 'x'"],
    ["SET a.b = 'x'", "SET a.c = 'x'"],
    ["SET DateStyle = 'ISO, DMY'"],
]


def test_different_sessions():
    fingerprints = {after(*statements).fingerprint: statements for statements in DIFFERENT}

    assert len(fingerprints) == len(DIFFERENT)
    assert all(after(*statements).bypass_reason is None for statements in DIFFERENT)


def test_placeholders_of_several_statements_in_one_text_count_together():
    text = "INSERT INTO t VALUES (%s, %s); SELECT set_config('a.b', %s, %s); UPDATE t SET x = %s"

    one = after(text, params=[1, 2, "x", False, 3])

    assert one.fingerprint == after("SELECT set_config('a.b', %s, false)", params=["x"]).fingerprint
    assert one.fingerprint != after(text, params=["x", False, "y", False, 3]).fingerprint
    assert after(text, params=["x", False]).bypass_reason == reasons.UNTRACKED_SESSION  # not as many as there are


@pytest.mark.parametrize(
    "one, other",
    [
        (["SET search_path TO b", "SET search_path TO a"], ["SET search_path TO a"]),
        (["SET SCHEMA 'b'", "SET search_path TO a"], ["SET search_path TO a"]),
        (["SET statement_timeout = 1"], []),
        (["SET a.b = 'y'; UPDATE c SET x = 1; SET a.b = 'x'"], ["SET a.b = 'y'", "SET a.b = 'x'"]),
        (["SET LOCAL a.b = 'y'; UPDATE c SET x = 1"], ["SET LOCAL a.b = 'y'"]),
        (["UPDATE c SET x = 1; SET search_path TO b"], ["SET search_path TO b"]),
        (["SET LOCAL lock_timeout = '1s'; UPDATE c SET x = 1"], []),
        (["SET LOCAL TimeZone = 'x'"], []),
        (["SELECT set_config('TimeZone', 'x', true)"], []),
        (["SET a.c = 'x'", "SET a.b = 'x'"], ["SET a.b = 'x'", "SET a.c = 'x'"]),
        (
            ["SELECT set_config('a.b', 'x', false), set_config('a.c', 'y', false) AS c"],
            ["SELECT set_config('a.c', 'y', false)", "SELECT set_config('a.b'::text, 'x', false)"],
        ),
        (["BEGIN", "SELECT 1"], []),
    ],
)
def test_alike_sessions(one, other):
    assert after(*one).fingerprint == after(*other).fingerprint


def test_values_of_parameters_count():
    text = "SELECT set_config('a.b', %s, false)"
    fingerprints = {after(text, params=(value,)).fingerprint for value in ("x", "y", "", 1, None)}

    assert len(fingerprints | {PLAIN}) == 6  # None is the default
    assert after(text, params=(object(),)).bypass_reason == reasons.UNTRACKED_SESSION


def test_a_transaction_takes_back_what_was_set_in_it():
    session = after("SET a.b = 'x'")
    before = session.fingerprint
    for text in ("SET a.b = 'y'", "SET LOCAL TimeZone = 'z'"):
        session.record_change(analyse(text, "postgresql").session, None, in_transaction=True)
    assert session.fingerprint != before
    session.end_transaction(undone=True)
    assert session.fingerprint == before


def test_a_commit_keeps_all_but_what_is_local():
    session = after()
    for text in ("SET a.b = 'y'", "SET LOCAL TimeZone = 'z'"):
        session.record_change(analyse(text, "postgresql").session, None, in_transaction=True)
    session.end_transaction(undone=False)
    assert session.fingerprint == after("SET a.b = 'y'").fingerprint


def test_savepoints():
    session = after("SET a.b = '1'")
    one = session.fingerprint
    session.savepoint("s")
    session.record_change(analyse("SET a.b = '2'", "postgresql").session, None, in_transaction=True)
    two = session.fingerprint
    session.savepoint("s")
    session.record_change(analyse("SET LOCAL a.b = '3'", "postgresql").session, None, in_transaction=True)
    session.roll_back_to("s")
    assert session.fingerprint == two
    session.release("s")
    session.roll_back_to("s")
    assert session.fingerprint == one
    session.record_change(analyse("SET a.b = '2'", "postgresql").session, None, in_transaction=True)
    session.roll_back_to("unknown")
    assert session.fingerprint == two
    session.end_transaction(undone=True)
    assert session.fingerprint == one


@pytest.mark.parametrize("undone", [True, False], ids=["rollback", "commit"])
def test_a_custom_setting_stays_defined(undone):
    """In PostgreSQL it is empty from then on, where it was missing before: a policy can tell the difference."""
    session = after()
    session.record_change(analyse("SET LOCAL a.b = 'x'", "postgresql").session, None, in_transaction=True)
    session.end_transaction(undone=undone)

    assert session.fingerprint != PLAIN


@pytest.mark.parametrize(
    "text, vendor",
    [
        ("SELECT set_config('a' || 'b', 'x', false)", "postgresql"),
        ("SELECT set_config('a.b', 'x', false) FROM t", "postgresql"),
        ("SELECT set_config('a.b', 'x', false) WHERE 1 = 2", "postgresql"),
        ("SELECT 1, set_config('a.b', 'x', false)", "postgresql"),
        ("SELECT set_config('a.b', 'x', 1 > 0)", "postgresql"),
        ("SELECT (SELECT set_config('a.b', 'x', false))", "postgresql"),
        ("SELECT set_config('a.b', set_config('a.c', 'x', false), false)", "postgresql"),
        ("WITH s AS (SELECT set_config('a.b', 'x', false)) SELECT * FROM s", "postgresql"),
        ("UPDATE pg_settings SET setting = 'x' WHERE name = 'a.b'", "postgresql"),
        ("WITH u AS (UPDATE pg_catalog.pg_settings SET setting = 'x' RETURNING 1) SELECT * FROM u", "postgresql"),
        ("SELECT pg_reload_conf()", "postgresql"),
        ("SELECT set_config('a.b', cast('x' AS json)::text, false)", "postgresql"),
        ("DISCARD TEMP", "postgresql"),
        ("SET a = 1; DO 'BEGIN END'", "postgresql"),
        ("SET search_path = a; UPDATE b SET x = 1", "postgresql"),
        ("SET ROLE a; SELECT 1", "postgresql"),
        ("UPDATE a SET x = 1; SELECT 1, set_config('search_path', 'x', false)", "postgresql"),
        ("SELECT set_config('a.b', 'x', 1 > 0); SELECT 1", "postgresql"),
        ("SELECT set_config(%s, %s, false); UPDATE b SET x = 1", "postgresql"),
        ("UPDATE a SET x = set_config('a.b', 'x', false)", "postgresql"),
        ("SET standard_conforming_strings = off", "postgresql"),
        ("SET @@time_zone = @old", "mysql"),
        ("SET time_zone = concat('+00', ':00')", "mysql"),
        ("SET time_zone = (SELECT z FROM zones)", "mysql"),
        ("SET time_zone = '+00:00', collation_connection = @old", "mysql"),
        ("SET GLOBAL sql_mode = '', time_zone = '+00:00'", "mysql"),
        ("SET sql_mode = 'ORACLE'", "mysql"),
        ("SET sql_mode = concat(@@sql_mode, ',ANSI')", "mysql"),
        ("SET NAMES gbk", "mysql"),
        ("USE other", "mysql"),
        ("ATTACH 'x' AS y", "sqlite"),
        ("PRAGMA read_uncommitted = 1", "sqlite"),
        ("PRAGMA writable_schema = 1", "sqlite"),
        ("PRAGMA unheard_of = synchronous", "sqlite"),
        ("PRAGMA unheard_of.x", "sqlite"),
    ],
)
def test_what_cannot_be_followed(text, vendor):
    assert after(text, vendor=vendor).bypass_reason == reasons.UNTRACKED_SESSION


@pytest.mark.parametrize(
    "text, vendor",
    [
        ("SET standard_conforming_strings = off", "postgresql"),
        ("RESET standard_conforming_strings", "postgresql"),
        ("SELECT set_config(x, 'off', false) FROM t", "postgresql"),
        ("SET sql_mode = 'ANSI_QUOTES'", "mysql"),
        ("SET time_zone = '+00:00', sql_mode = 'ANSI'", "mysql"),
        ("SET SESSION sql_mode = 'STRICT_ALL_TABLES,MSSQL'", "mysql"),
        ("SET @@sql_mode = @old", "mysql"),
        ("SET sql_mode = 4", "mysql"),
        ("SET sql_mode = DEFAULT", "mysql"),
        ("SET character_set_client = sjis", "mysql"),
        ("PRAGMA writable_schema = 1", "sqlite"),
    ],
)
def test_what_makes_texts_unreadable(text, vendor):
    assert after(text, vendor=vendor).is_opaque


@pytest.mark.parametrize(
    "text, vendor",
    [
        ("SET standard_conforming_strings = on", "postgresql"),
        ("SET SEED TO 0.5", "postgresql"),
        ("SET CONSTRAINTS ALL DEFERRED", "postgresql"),
        ("SET TRANSACTION READ ONLY", "postgresql"),
        ("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY", "postgresql"),
        ("RESET statement_timeout", "postgresql"),
        ("DISCARD PLANS", "postgresql"),
        ("DISCARD SEQUENCES", "postgresql"),
        ("SELECT set_config('statement_timeout', '1', false)", "postgresql"),
        ("SET GLOBAL time_zone = '+05:00'", "mysql"),
        ("SET @@global.time_zone = '+05:00'", "mysql"),
        ("SET PERSIST time_zone = '+05:00'", "mysql"),
        ("SET @a = 1, @b := (SELECT 2)", "mysql"),
        ("SET foreign_key_checks = @old, unique_checks = 0", "mysql"),
        ("SET PASSWORD = 'x'", "mysql"),
        ("SET DEFAULT ROLE NONE TO joe", "mysql"),
        ("SET TRANSACTION READ ONLY", "mysql"),
        ("PRAGMA foreign_keys = OFF", "sqlite"),
        ("PRAGMA main.cache_size = 5", "sqlite"),
        ("PRAGMA main.table_info(t)", "sqlite"),
        ("PRAGMA case_sensitive_like", "sqlite"),
    ],
)
def test_what_changes_no_result(text, vendor):
    session = after(text, vendor=vendor)

    assert (session.fingerprint, session.bypass_reason, session.base) == (PLAIN, None, BASE)


@pytest.mark.parametrize(
    "texts, vendor",
    [
        (
            [
                "SET time_zone = 'a'",
                "SET SESSION time_zone = 'a'",
                "SET LOCAL time_zone = 'a'",
                "SET @@time_zone := 'a'",
                "SET @@session.time_zone = 'a'",
                "SET @@local.`time_zone` = 'a'",
                "SET @x = 1, `time_zone` = 'a'",
                "SET foreign_key_checks = 1, SESSION time_zone = 'a'",
                "SET GLOBAL time_zone = 'b', SESSION time_zone = 'a'",
            ],
            "mysql",
        ),
        (["PRAGMA case_sensitive_like = 1", "PRAGMA main.case_sensitive_like(1)"], "sqlite"),
    ],
)
def test_many_ways_to_say_the_same(texts, vendor):
    sessions = [after(text, vendor=vendor) for text in texts]

    assert {session.bypass_reason for session in sessions} == {None}
    assert len({session.fingerprint for session in sessions}) == 1
    assert sessions[0].fingerprint != PLAIN


@pytest.mark.parametrize(
    "texts, vendor",
    [
        (["SET search_path TO 'a, b'", "SELECT set_config('search_path', 'a, b', false)"], "postgresql"),
        (["SET a.b = É", "SET a.b = é"], "postgresql"),
        (["SET app.isolation = 'a'", "SET app.isolation = 'b'"], "postgresql"),
        (["SET NAMES utf8mb4 COLLATE utf8mb4_bin", "SET NAMES utf8mb4"], "mysql"),
        (["SET sql_mode = 'PIPES_AS_CONCAT'", "SET sql_mode = ''"], "mysql"),
        (["SET ROLE a", "SET ROLE b"], "mysql"),
        (["SET a = 1, b = 2", "SET a = 2, b = 1"], "mysql"),
        (["PRAGMA reverse_unordered_selects = 1", "PRAGMA reverse_unordered_selects = 0"], "sqlite"),
    ],
)
def test_values_that_are_not_the_same(texts, vendor):
    sessions = [after(text, vendor=vendor) for text in texts]

    assert {session.bypass_reason for session in sessions} == {None}
    assert len({session.fingerprint for session in sessions} | {PLAIN}) == len(texts) + 1


@pytest.mark.parametrize(
    "text, vendor",
    [
        ("RESET TimeZone", "postgresql"),
        ("RESET ALL", "postgresql"),
        ("SET TimeZone TO DEFAULT", "postgresql"),
        ("SET TIME ZONE LOCAL", "postgresql"),
        ("SET NAMES", "postgresql"),
        ("SET DateStyle = 'ISO'", "postgresql"),  # keeps the order of day and month that was there before
        ("SET SESSION AUTHORIZATION DEFAULT", "postgresql"),
        ("SELECT set_config('TimeZone', NULL, false)", "postgresql"),
        ("SELECT set_config('TimeZone', %s, false)", "postgresql"),
        ("SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ COMMITTED", "postgresql"),
        ("SET time_zone = DEFAULT", "mysql"),
        ("SET CHARACTER SET utf8", "mysql"),
        ("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED", "mysql"),
    ],
)
def test_what_only_the_server_knows(text, vendor):
    session = after(text, vendor=vendor, params=(None,))

    assert (session.base, session.bypass_reason, session.is_opaque) == (None, None, False)


PARAMETERS = [
    ("SELECT set_config(%s, %s, false)", ("a.b", "x")),
    ("SELECT set_config(%s::text, %s::text, %s::boolean)", ["a.b", "x", False]),
    ("SELECT set_config('a.b', %s, %s)", ("x", False)),
    ("SELECT set_config(%(name)s, %(value)s, %(local)s)", {"name": "A.B", "value": "x", "local": False}),
    ("SELECT pg_catalog.set_config(%s, 'y', false) AS one, set_config(%s, %s, false)", ("a.b", "a.b", "x")),
    ("SELECT set_config(CAST(%s AS text), CAST(%s AS varchar), CAST(%s AS boolean))", ("a.b", "x", False)),
    ("SELECT set_config(%s, %s, %s)", ("a.b", "x", "off")),
]


@pytest.mark.parametrize("text, params", PARAMETERS, ids=range(len(PARAMETERS)))
def test_set_config_with_parameters(text, params):
    session = after(text, params=params)

    assert session.bypass_reason is None
    assert session.fingerprint == after("SELECT set_config('a.b', %s, false)", params=("x",)).fingerprint
    assert session.fingerprint != after("SELECT set_config('a.b', %s, false)", params=("y",)).fingerprint


@pytest.mark.parametrize(
    "text, params",
    [
        ("SELECT set_config(%s, 'x', false)", None),
        ("SELECT set_config(%s, 'x', false)", SEVERAL),
        ("SET a.b = 'x'", SEVERAL),
        ("SELECT set_config(%s, 'x', false)", (1,)),
        ("SELECT set_config('a.b', 'x', %s)", (1,)),
        ("SELECT set_config('a.b', 'x', %s)", (None,)),
        ("SELECT set_config('a.b', '%s', false), set_config('a.c', %s, false)", ("c", "x")),
        ("SELECT set_config('a.b', $1, false)", None),
        ("SELECT set_config(%(name)s, 'x', false)", {}),
    ],
)
def test_parameters_that_cannot_be_told(text, params):
    assert after(text, params=params).bypass_reason == reasons.UNTRACKED_SESSION


def test_percent_signs_are_what_the_driver_makes_of_them():
    text = "SET a.b = '5%%'"

    assert after(text, params=()).fingerprint == after("SET a.b = '5%'").fingerprint != after(text).fingerprint


@pytest.mark.parametrize("name", ["standard_conforming_strings", "Standard_Conforming_Strings"])
def test_a_parameter_that_names_the_setting_for_quotes(name):
    assert after("SELECT set_config(%s, %s, false)", params=(name, "off")).is_opaque
    assert after("SELECT set_config(%s, %s, false)", params=SEVERAL).is_opaque


@pytest.mark.parametrize("vendor", ["postgresql", "mysql", "sqlite"])
def test_a_temporary_table_has_a_reason_of_its_own(vendor):
    assert after("CREATE TEMPORARY TABLE t (x integer)", vendor=vendor).bypass_reason == reasons.TEMPORARY


def test_discard_all_begins_anew():
    session = after("SET TimeZone = 'x'", "CREATE TEMP VIEW v AS SELECT 1", "DISCARD ALL")

    assert (session.bypass_reason, session.is_opaque, session.base) == (None, False, None)
    session.describe(BASE, "read committed")
    assert session.fingerprint == PLAIN


def test_discard_all_does_not_tell_what_is_unknown():
    for text in ("DO $$ BEGIN END $$; SET a.b = 1", "SELECT set_config('a.' || 'b', 'x', true)"):
        session = after("CREATE TEMPORARY TABLE t (x integer)", text, "DISCARD ALL")

        assert (session.bypass_reason, session.is_opaque) == (reasons.UNTRACKED_SESSION, False)


def test_isolation():
    assert not after().keeps_snapshots()
    assert after("SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE").keeps_snapshots()
    assert after("SET default_transaction_isolation = 'repeatable read'").keeps_snapshots()
    assert after("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", vendor="mysql").keeps_snapshots()
    session = after("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ", in_transaction=True)
    assert session.keeps_snapshots()
    session.end_transaction(undone=False)
    assert not session.keeps_snapshots()


def test_local_means_the_session_in_mysql():
    one = after("SET LOCAL time_zone = '+05:00'", vendor="mysql", in_transaction=True)
    one.end_transaction(undone=False)

    assert one.fingerprint == after("SET time_zone = '+05:00'", vendor="mysql").fingerprint != PLAIN


# The server is asked again ------------------------------------------------------------------------


def test_what_was_asked_inside_a_transaction_does_not_outlive_it():
    for undone in (True, False):
        session = after()
        session.savepoint("s")
        session.record_change(analyse("SET LOCAL TIME ZONE LOCAL", "postgresql").session, None, in_transaction=True)
        assert session.base is None
        session.describe(("inside",), "read committed")
        session.record_change(analyse("SET app.a = 1", "postgresql").session, None, in_transaction=True)
        assert session.base is not None
        session.roll_back_to("s")
        assert session.base is None
        session.record_change(analyse("SET LOCAL app.a = 1", "postgresql").session, None, in_transaction=True)
        session.describe(("inside",), "read committed")
        session.end_transaction(undone=undone)
        assert session.base is None
        session.describe(BASE, "read committed")
        session.savepoint("s")
        session.end_transaction(undone=undone)
        assert session.base == BASE


def test_defaults_that_were_asked_for_inside_a_transaction_that_has_set_nothing_else():
    session = after()
    session.record_change(analyse("RESET ALL", "postgresql").session, None, in_transaction=True)
    session.describe(("inside",), "read committed")
    session.end_transaction(undone=True)
    assert session.base is None


def test_the_level_of_an_open_transaction_is_not_the_one_that_the_server_tells_for_the_next():
    session = Session()
    session.describe(BASE, "serializable")
    session.record_change(
        analyse("SET default_transaction_isolation = 'read committed'", "postgresql").session, None, in_transaction=True
    )
    session.describe(BASE, "read committed")
    assert session.keeps_snapshots()
    session.end_transaction(undone=False)
    session.describe(BASE, "read committed")
    assert not session.keeps_snapshots()


def test_no_rollback_brings_a_role_back():
    session = after("SET SESSION AUTHORIZATION a")
    session.record_change(analyse("SET ROLE b", "postgresql").session, None, in_transaction=True)
    assert (session.base, session.bypass_reason) == (BASE, None)
    session.end_transaction(undone=True)
    assert session.base is None
    assert after("SET ROLE b", "SET SESSION AUTHORIZATION a").bypass_reason == reasons.UNTRACKED_SESSION


# Behind PgBouncer -----------------------------------------------------------------------------------


def pooled(*statements: str, in_transaction: bool = False) -> Session:
    session = Session()
    session.describe(BASE, "read committed", pooled=True)
    for text in statements:
        session.record_change(analyse(text, "postgresql").session, None, in_transaction=in_transaction)
    return session


@pytest.mark.parametrize(
    "text",
    [
        "SET a.b = 'x'",
        "RESET ALL",
        "DISCARD ALL",
        "SET ROLE a",
        "SET search_path TO a",
        "SELECT set_config('a.b', 'x', false)",
        "SET default_transaction_isolation = 'serializable'",
    ],
)
@pytest.mark.parametrize("in_transaction", [True, False])
def test_what_is_left_on_a_session_that_others_have_next(text, in_transaction):
    assert pooled(text, in_transaction=in_transaction).bypass_reason == reasons.UNTRACKED_SESSION


def test_what_a_pooler_brings_back():
    assert pooled("SET TimeZone = 'UTC'", "SET NAMES 'utf8'").bypass_reason is None
    assert pooled("SET LOCAL a.b = 'x'", in_transaction=True).bypass_reason is None


def test_what_was_set_before_the_pooler_was_seen():
    session = Session()
    session.record_change(analyse("SET ROLE a", "postgresql").session, None, in_transaction=False)
    session.describe(BASE, "read committed", pooled=True)
    assert session.bypass_reason == reasons.UNTRACKED_SESSION


# Pools ----------------------------------------------------------------------------------------------


class Connection:
    """A driver's connection, or what a pool of SQLAlchemy's hands out around one."""

    def __init__(self, inner=None):
        if inner is not None:
            self.dbapi_connection = inner


@pytest.mark.parametrize("proxied", [False, True])
def test_a_pool_hands_out_what_was_left(proxied):
    inner = Connection()
    session = after("SET a.b = 'x'")
    fingerprint = session.fingerprint
    session.record_change(analyse("SET a.b = 'y'", "postgresql").session, None, in_transaction=True)
    session.leave(Connection(inner) if proxied else inner, undone=True)

    assert Session.take(Connection(inner) if proxied else inner).fingerprint == fingerprint
    assert Session.take(inner) is not session


def test_a_pool_of_a_database_that_takes_nothing_back():
    connection = Connection()
    session = after("SET time_zone = 'x'", vendor="mysql", in_transaction=True)
    session.leave(connection, undone=False)

    assert Session.take(connection).fingerprint == after("SET time_zone = 'x'", vendor="mysql").fingerprint


# The search path ------------------------------------------------------------------------------------


def started(*statements: str, params=None, in_transaction: bool = False) -> Session:
    """A session that begins with PostgreSQL's own search path, as the user Joe."""
    session = Session()
    session.describe(BASE, "read committed", path='"$user", public', user="Joe")
    for text in statements:
        session.record_change(analyse(text, "postgresql").session, params, in_transaction=in_transaction)
    return session


@pytest.mark.parametrize(
    "statements, path",
    [
        ([], ("joe", "public")),
        (["SET search_path TO a"], ("a",)),
        (['SET search_path = A, "B", \'C\', "d""e"'], ("a", "b", "c", 'd"e')),
        (["SET search_path TO 'a, b'"], ("a, b",)),
        (["SET search_path TO ''"], ()),
        (["SET SCHEMA 'x'"], ("x",)),
        (["SELECT set_config('search_path', ' A ,\"B\" , c', false)"], ("a", "b", "c")),
        (["SELECT set_config('search_path', '', false)"], ()),
        (["SELECT set_config('search_path', 'a b', false)"], None),
        (["SELECT set_config('search_path', 'a,', false)"], None),
        (["SET search_path TO a", "RESET search_path"], None),
        (["SET search_path TO DEFAULT"], None),
        (["SET search_path TO pg_temp, a"], None),
        (["SET search_path TO " + 64 * "a"], None),
        (["SET ROLE ann"], ("ann", "public")),
        (["SET ROLE 'Ann'", 'SET search_path TO "$user"'], ("ann",)),
        (["SET ROLE NONE"], None),
        (["SET ROLE NONE", "SET search_path TO a"], ("a",)),
        (["SET SESSION AUTHORIZATION ann"], ("ann", "public")),
        (["SET SESSION AUTHORIZATION ann", "SET ROLE bob"], ("bob", "public")),
        (["SELECT set_config('role', 'ann', false)"], ("ann", "public")),
        (["SET search_path TO a", "SELECT set_config('b' || 'c', 'x', false)"], None),
        (["SET search_path TO a", "RESET ALL"], None),
        (["SET LOCAL search_path TO a"], ("joe", "public")),
    ],
)
def test_the_search_path(statements, path):
    assert started(*statements).path == path


@pytest.mark.parametrize(
    "text, params, path",
    [
        ("SET search_path TO %s, public", ("A",), ("a", "public")),
        ("SET search_path TO %s", ("a, b",), ("a, b",)),
        ("SET search_path TO %s", (["a", "b"],), None),
        ("SELECT set_config('search_path', %s, false)", ("tenant1, public",), ("tenant1", "public")),
        ("SELECT set_config(%s, %s, %s)", ("Search_Path", "a", False), ("a",)),
    ],
)
def test_a_search_path_in_parameters(text, params, path):
    assert started(text, params=params).path == path


def test_the_search_path_in_a_transaction():
    session = started("SET search_path TO a")
    session.record_change(analyse("SET LOCAL search_path TO b", "postgresql").session, None, in_transaction=True)
    session.savepoint("s")
    session.record_change(analyse("SET search_path TO c", "postgresql").session, None, in_transaction=True)
    assert session.path == ("c",)
    session.roll_back_to("s")
    assert session.path == ("b",)
    session.end_transaction(undone=False)
    assert session.path == ("a",)


def test_the_search_path_after_it_was_asked_again():
    session = started("SET search_path TO a", "RESET search_path")
    session.describe(BASE, "read committed", path="x, y", user="Joe")
    assert session.path == ("x", "y")


def test_other_databases_have_no_search_path():
    assert after().path is None
    assert Session().path is None


# Statements that fail -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, params, bypass_reason",
    [
        ("SET TimeZone = 'nowhere'", None, None),
        ("SET a.b = 'x'", None, None),  # which was there before
        ("SET a.c = 'x'", None, reasons.UNTRACKED_SESSION),
        (
            "SELECT set_config('TimeZone', 'nowhere', false), set_config('a.c', 'x', true)",
            None,
            reasons.UNTRACKED_SESSION,
        ),
        ("SELECT set_config(%s, 'x', true)", ("a.b",), None),
        ("SELECT set_config(%s, 'x', true)", ("a.c",), reasons.UNTRACKED_SESSION),
        ("SELECT set_config(%s, 'x', true)", SEVERAL, reasons.UNTRACKED_SESSION),
        ("DO $$ BEGIN END $$; SET a.c = 'x'", None, reasons.UNTRACKED_SESSION),
    ],
)
def test_a_statement_that_fails_may_define_a_custom_setting(text, params, bypass_reason):
    session = after("SET a.b = 'x'")
    before = session.fingerprint
    session.record_failure(analyse(text, "postgresql").session, params)

    assert (session.bypass_reason, session.fingerprint) == (bypass_reason, before)


@pytest.mark.parametrize(
    "text, effect",
    [
        ("SET GLOBAL time_zone = '+05:00'", Effect.SCHEMA),
        ("SET @@global.sql_mode = ''", Effect.SCHEMA),
        ("SET PERSIST init_connect = 'SET @a = 1'", Effect.SCHEMA),
        ("SET SESSION wait_timeout = 1, GLOBAL time_zone = '+05:00'", Effect.SCHEMA),
        ("SET DEFAULT ROLE ALL TO ann", Effect.SCHEMA),
        ("SET GLOBAL TRANSACTION ISOLATION LEVEL SERIALIZABLE", Effect.SCHEMA),
        ("SET GLOBAL wait_timeout = 1", Effect.HARMLESS),
        ("SET @global = 1", Effect.HARMLESS),
        ("SET time_zone = '+05:00'", Effect.SESSION),
        ("SET @@session.time_zone = '+05:00', @x = 1", Effect.SESSION),
    ],
)
def test_what_other_sessions_of_mysql_begin_with(text, effect):
    """It is remembered as long as the schema is unchanged, and so is a change of the schema."""
    statement = analyse(text, "mysql")
    assert statement.effect is effect


def test_custom_settings_that_a_session_began_with():
    def begun(customs, *texts, pooled=False):
        session = Session()
        session.describe((), "read committed", pooled=pooled)
        for text in texts:
            session.record_change(analyse(text, "postgresql").session, None, in_transaction=False)
        session.set_customs(customs)
        return session

    assert begun({"a.b": "x"}).fingerprint != begun({"a.b": "y"}).fingerprint != begun({"a.b": None}).fingerprint
    assert begun({"a.b": "x"}).copy().fingerprint == begun({"a.b": "x"}).fingerprint
    # What statements have set is followed by itself, whenever the server is asked.
    before, later = begun({"a.b": None}), begun({"a.b": None})
    for session in (before, later):
        session.record_change(analyse("SET a.b = 'x'", "postgresql").session, None, in_transaction=False)
    later.set_customs({"a.b": "x"})
    assert later.fingerprint == before.fingerprint
    # Of a pooler's other sessions nobody knows what they began with.
    assert begun({"a.b": ""}, pooled=True).bypass_reason is None
    assert begun({"a.b": "x"}, pooled=True).bypass_reason == reasons.UNTRACKED_SESSION
