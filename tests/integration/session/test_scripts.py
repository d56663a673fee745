"""Sessions in which anything was set, in any order: those that are told to be alike get the same answers.

The scripts are generated. After every statement the server is asked, on the driver's own connection, what is set by
then; whatever two sessions have been told to be alike, in one script or in two, must have been told the same.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from django.db import connection
from django.db.utils import Error
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.examples import examples
from tests.integration.reading import execute, only_mysql, only_postgresql, only_sqlite

Step = tuple[str, Any]

many = settings(
    deadline=None,
    max_examples=examples(150),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)


class Told:
    """What the server has said of sessions, by what the cache takes for the same session."""

    def __init__(self, ask: Callable[[], Any]) -> None:
        self._ask = ask
        self._answers: dict[bytes, tuple[Any, list[Step]]] = {}
        self.shared = 0  # how often two sessions were told to be alike
        self.unfollowed = 0

    def run(self, script: list[Step]) -> None:
        connection.close()
        connection.ensure_connection()
        done: list[Step] = []
        self._compare(done)
        for sql, params in script:
            done.append((sql, params))
            try:
                execute(sql, params)
            except Error:
                pass
            if not is_broken():
                self._compare(done)

    def _compare(self, done: list[Step]) -> None:
        state = connection.ormcache
        if state.session_bypass_reason() is not None:
            self.unfollowed += 1
            return
        name = state.prefix(state.known())
        answer = self._ask()
        before, by = self._answers.setdefault(name, (answer, list(done)))
        assert before == answer, f"taken for one session:\n{show(by)}\n{before}\n\n{show(done)}\n{answer}"
        self.shared += by != done


def show(script: list[Step]) -> str:
    return "\n".join(f"    {sql}  {params or ''}" for sql, params in script)


def is_broken() -> bool:
    info = getattr(connection.connection, "info", None)
    return info is not None and int(info.transaction_status) == 3


def raw(sql: str) -> Any:
    """Past Django, and so past the cache."""
    with connection.connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchone()


def steps(statements: st.SearchStrategy[Step]) -> st.SearchStrategy[list[Step]]:
    return st.lists(statements, min_size=1, max_size=14)


# PostgreSQL -----------------------------------------------------------------------------------

ZONES = ["UTC", "Asia/Tokyo", "no such zone"]
PATHS = ["one", '"One"', "two, one", '"$user", public', "'two, one'", "nowhere, two", "pg_catalog, one", "''"]
USERS = ["scripts_ann", "'scripts_bob'"]
VALUES = {
    "TimeZone": [f"'{zone}'" for zone in ZONES],
    "search_path": PATHS,
    "DateStyle": ["ISO", "'SQL, DMY'", "German", "YMD", "'ISO, MDY'"],
    "app.a": ["'x'", "'y'", "''", "x"],
    'app."B"': ["'x'", "7"],
    "extra_float_digits": ["0", "-3"],
    "bytea_output": ["escape", "'hex'"],
    "role": [*USERS, "none"],
}
SCOPES = ["", "", "SESSION ", "LOCAL "]


def assignment(dice: Random, names: list[str]) -> Step:
    name = dice.choice(names)
    value = dice.choice([*VALUES[name], "DEFAULT"])
    return f"SET {dice.choice(SCOPES)}{name} {dice.choice(['=', 'TO'])} {value}", None


def call(dice: Random, names: list[str]) -> Step:
    parts, params = [], []

    def argument(value: Any, spelled: str) -> str:
        if dice.random() < 0.5:
            return spelled
        params.append(value)
        return dice.choice(["%s", "%s::text"]) if isinstance(value, str) else "%s"

    for _ in range(dice.choice([1, 1, 2])):
        name = dice.choice(names)
        value = dice.choice(VALUES[name]).strip("'")
        local = dice.random() < 0.5
        plain = name.replace('"', "")
        one = argument(plain, f"'{plain}'"), argument(value, f"'{value}'"), argument(local, str(local).lower())
        parts.append(f"set_config({', '.join(one)})")
    return f"SELECT {', '.join(parts)}", params or None


def several(dice: Random, names: list[str]) -> Step:
    """One text of several statements; one that fails takes all of them back."""
    parts = []
    for _ in range(dice.choice([2, 2, 3])):
        kind = dice.randrange(8)
        if kind < 3:
            parts.append(assignment(dice, names))
        elif kind < 6:
            parts.append(call(dice, names))
        else:
            parts.append((dice.choice(["SELECT 1", "SELECT 1", "SELECT 1 / 0", "RESET ALL", "SELECT %s"]), None))
    params = [value for sql, given in parts for value in (given or ([1] if "%s" in sql else []))]
    return "; ".join(sql for sql, _ in parts), params or None


FIXED = [
    "SET TIME ZONE LOCAL",
    "SET TIME ZONE 'Asia/Tokyo'",
    "SET LOCAL TIME ZONE INTERVAL '-08:00' HOUR TO MINUTE",
    "SET SCHEMA 'one'",
    "SET LOCAL SCHEMA 'two'",
    "SET SESSION AUTHORIZATION scripts_ann",
    "SET LOCAL SESSION AUTHORIZATION scripts_bob",
    "SET SESSION AUTHORIZATION DEFAULT",
    "SET ROLE NONE",
    "RESET ROLE",
    "RESET TimeZone",
    "RESET app.a",
    "RESET search_path",
    "RESET ALL",
    "DISCARD ALL",
    "DISCARD PLANS",
    "SET app.a = 'z'; SELECT 1",
    "SELECT set_config('app.a', NULL, false)",
    "SELECT set_config('app.a', 'q', false) FROM generate_series(1, 0)",
    "DO $$ BEGIN PERFORM set_config('app.a', 'in a block', false); END $$",
    "DO $$ BEGIN PERFORM set_config('app.b', 'in a block', true); END $$",
]


def script_of(dice: Random) -> list[Step]:
    """A few settings, set again and again in transactions that are open where they have to be."""
    names = dice.sample(sorted(VALUES), dice.choice([1, 2]))
    found: list[Step] = []
    savepoints: list[str] | None = None  # of the open transaction
    for _ in range(dice.randint(6, 20)):
        kind = dice.randrange(10)
        if kind < 3:
            found.append(assignment(dice, names))
        elif kind < 5:
            found.append(call(dice, names))
        elif kind < 6:
            found.append((dice.choice(FIXED), None))
        elif kind < 7:
            found.append(several(dice, names))
        else:
            text, savepoints = control(dice, savepoints)
            found.append((text, None))
    return found


def control(dice: Random, savepoints: list[str] | None) -> tuple[str, list[str] | None]:
    """A statement about transactions, and the savepoints of the one that is open after it."""
    if savepoints is None:
        return "BEGIN", []
    words = ["SAVEPOINT", "SAVEPOINT", "ROLLBACK TO", "RELEASE", "COMMIT", "ROLLBACK"]
    word = dice.choice(words if savepoints else ["SAVEPOINT", "SAVEPOINT", "COMMIT", "ROLLBACK"])
    if word in ("COMMIT", "ROLLBACK"):
        chain = dice.choice(["", "", " AND CHAIN"])
        return word + chain, [] if chain else None
    if word == "SAVEPOINT":
        name = dice.choice(["one", "two"])
        return f"{word} {name}", [*savepoints, name]
    name = dice.choice(savepoints)
    at = len(savepoints) - savepoints[::-1].index(name)
    return f"{word} {name}", savepoints[: at - (word == "RELEASE")]


TRUTH = """
    SELECT current_user, session_user, current_schemas(false), current_setting('app.a', true),
           current_setting('app.b', true), current_setting('TimeZone'), current_setting('DateStyle'),
           current_setting('extra_float_digits'), current_setting('bytea_output'), current_setting('search_path')
"""


@pytest.fixture
def schemas(ddl):
    """What the scripts speak of, and defaults of the database that are not those of the server."""
    for schema in ("one", '"One"', "two", "scripts_ann"):
        ddl(f"CREATE SCHEMA {schema}", f"DROP SCHEMA {schema} CASCADE")
    for role in ("scripts_ann", "scripts_bob"):
        ddl(f"CREATE ROLE {role}", f"DROP ROLE {role}")
        ddl(f'GRANT USAGE ON SCHEMA one, "One" TO {role}', f"DROP OWNED BY {role}")
    database = connection.settings_dict["NAME"]
    for name, value in (("TimeZone", "Europe/Paris"), ("search_path", "two, public"), ("app.a", "of the database")):
        ddl(f"ALTER DATABASE {database} SET {name} = {value!r}".replace("'two, public'", "two, public"))
    ddl("SELECT 1", f"ALTER DATABASE {database} RESET ALL")


@only_postgresql
def test_scripts_of_postgresql(schemas):
    told = Told(answer_of_postgresql)

    @many
    @given(st.randoms(use_true_random=True))  # well mixed scripts; none of them could be made simpler anyway
    def check(dice: Random) -> None:
        told.run(script_of(dice))

    check()
    # Most of them can be followed, and many of them are alike.
    print(told.shared, told.unfollowed, len(told._answers))
    assert told.shared > examples(100)


def answer_of_postgresql() -> Any:
    answer = raw(TRUTH)
    path = connection.ormcache.resolution_context().path
    if path is not None:
        looked_up = list(dict.fromkeys(name.lower() for name in answer[2]))
        found = list(dict.fromkeys(name for name in path if name in looked_up))
        assert found == looked_up, f"{path} is not {answer[2]}"
    user = connection.ormcache.session.user
    assert user in (None, answer[0])
    return answer


# MySQL ----------------------------------------------------------------------------------------

MYSQL = {
    "time_zone": ["'+00:00'", "'+05:00'", "DEFAULT", "@zone", "concat('+0', '3:00')"],
    "group_concat_max_len": ["100", "200", "DEFAULT", "50 + 50"],
    "div_precision_increment": ["2", "DEFAULT"],
    "lc_time_names": ["'de_DE'", "en_US", "'nobody'"],
    "sql_mode": ["''", "'PIPES_AS_CONCAT,STRICT_TRANS_TABLES'", "'ANSI_QUOTES'", "TRADITIONAL", "DEFAULT"],
    "collation_connection": ["utf8mb4_bin", "latin1_swedish_ci"],
    "character_set_results": ["utf8mb4", "latin1"],
    "character_set_client": ["utf8mb4", "latin1"],
    "max_statement_time": ["0", "100"],
}
TARGETS = st.sampled_from(["{}", "SESSION {}", "LOCAL {}", "@@{}", "@@session.{}", "@@local.{}", "`{}`"])
NAMING = ["NAMES utf8mb4", "NAMES utf8mb4 COLLATE utf8mb4_bin", "NAMES DEFAULT", "CHARACTER SET utf8mb4"]


@st.composite
def parts(draw: Any) -> str:
    kind = draw(st.integers(0, 9))
    if kind == 0:
        return draw(st.sampled_from(NAMING))
    if kind == 1:
        return draw(st.sampled_from(["@zone = '+07:00'", "@zone := '+08:00'", "GLOBAL group_concat_max_len = 1000000"]))
    name = draw(st.sampled_from(sorted(MYSQL)))
    return f"{draw(TARGETS).format(name)} = {draw(st.sampled_from(MYSQL[name]))}"


MYSQL_TEXTS = st.one_of(
    st.lists(parts(), min_size=1, max_size=3).map(lambda found: ("SET " + ", ".join(found), None)),
    st.lists(parts(), min_size=1, max_size=3).map(lambda found: ("SET " + ", ".join(found), None)),
    st.sampled_from(["'+00:00'", "'+05:00'"]).map(lambda zone: ("SET time_zone = %s", [zone.strip("'")])),
    st.sampled_from([("START TRANSACTION", None), ("COMMIT", None), ("ROLLBACK", None), ("SAVEPOINT one", None)]),
    st.sampled_from([("ROLLBACK TO one", None), ("SET STATEMENT max_statement_time = 1 FOR SELECT 1", None)]),
)
MYSQL_TRUTH = (
    "SELECT "
    + ", ".join(f"@@{name}" for name in sorted(MYSQL) if name != "max_statement_time")
    + (", @@character_set_connection")
)


@only_mysql
def test_scripts_of_mysql():
    told = Told(lambda: raw(MYSQL_TRUTH))

    @many
    @given(steps(MYSQL_TEXTS))
    def check(script: list[Step]) -> None:
        told.run(script)

    try:
        check()
    finally:
        connection.close()
        execute("SET GLOBAL group_concat_max_len = 1048576")
    print(told.shared, told.unfollowed, len(told._answers))
    assert told.shared > examples(100)


# SQLite ---------------------------------------------------------------------------------------

PRAGMAS = {
    "reverse_unordered_selects": ["0", "1", "on"],
    "full_column_names": ["0", "1"],
    "short_column_names": ["0", "1"],
    "trusted_schema": ["0", "yes"],
    "count_changes": ["0", "1"],
    "case_sensitive_like": ["0", "1"],
    "foreign_keys": ["0", "1"],
    "cache_size": ["100", "2000"],
}


@st.composite
def pragmas(draw: Any) -> Step:
    name = draw(st.sampled_from(sorted(PRAGMAS)))
    value = draw(st.sampled_from(PRAGMAS[name]))
    schema = draw(st.sampled_from(["", "", "main."]))
    return f"PRAGMA {schema}{name}" + draw(st.sampled_from(["", " = {}", "({})"])).format(value), None


SQLITE_TEXTS = st.one_of(
    pragmas(),
    pragmas(),
    st.sampled_from([("BEGIN", None), ("COMMIT", None), ("ROLLBACK", None), ("PRAGMA read_uncommitted = 1", None)]),
)


def answer_of_sqlite() -> Any:
    own = connection.connection
    asked = [name for name in PRAGMAS if name not in ("case_sensitive_like", "foreign_keys", "cache_size")]
    values = [own.execute(f"PRAGMA {name}").fetchone() for name in asked]
    return (*values, own.execute("SELECT 'a' LIKE 'A'").fetchone())


@only_sqlite
def test_scripts_of_sqlite():
    told = Told(answer_of_sqlite)

    @many
    @given(steps(SQLITE_TEXTS))
    def check(script: list[Step]) -> None:
        told.run(script)

    check()
    print(told.shared, told.unfollowed, len(told._answers))
    assert told.shared > examples(100)
