"""The columns that identify rows: which ones the catalog finds, and what keeps a column from being one."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connections

from ormcache.catalog.mysql_row_keys import FOLDING
from ormcache.catalog.row_keys import KeyColumn, KeyKind, RowKeys
from tests.integration.reading import ENGINE, execute, only_mysql, only_postgresql, only_sqlite
from tests.integration.schema import World, made, plan_of


@pytest.fixture
def world(queries: Any) -> Iterator[World]:
    with made(queries) as world:
        yield world


def keys_of(table: str, besides: str = "") -> RowKeys | None:
    """What the catalog says of a table's rows. ``besides``: more relations that the statement names."""
    resolver = plan_of(f"SELECT * FROM {table} {besides}").catalog.resolver_for()
    (relation,) = resolver.find((None, table.lower()))
    return resolver.row_keys(relation)


def described(table: str) -> str:
    """The same for people: the primary key, its other columns; unique ones with a star, no plain writes with a dash."""
    keys = keys_of(table)
    if keys is None:
        return "none"
    assert keys.primary is None or keys.primary in keys.columns
    assert keys.unique <= keys.columns.keys() - {keys.primary}
    assert all(name == column.name for name, column in keys.columns.items())
    others = sorted(name + "*" * (name in keys.unique) for name in keys.columns.keys() - {keys.primary})
    return " ".join([f"[{keys.primary or ''}]", *others, *([] if keys.has_plain_writes else ["-"])])


def text_column(table: str, column: str) -> KeyColumn:
    keys = keys_of(table)
    assert keys is not None
    return keys.columns[column]


def assert_described(world: World, definitions: dict[str, str]) -> None:
    """A table ``t`` of each of these definitions, with the statements behind it, is described like that."""
    found = {}
    for definition in definitions:
        world.make(*f"CREATE TABLE t {definition}".split("; "))
        found[definition] = described("t")
        world.make(f"DROP TABLE t{' CASCADE' if ENGINE == 'postgresql' else ''}")
    assert found == definitions


# Models of Django's ---------------------------------------------------------------------


def test_models_of_django(world):
    """The tables of migrations, with keys of the kinds that most projects have."""
    assert described("shop_author") == "[id] email*"
    assert described("shop_book") == "[id] author_id uuid*"
    assert described("shop_book_genres") == "[id] book_id genre_id"
    assert described("shop_restaurant") == "[place_ptr_id]"


# SQLite -----------------------------------------------------------------------------------


TABLES_OF_SQLITE = {
    "primary keys": {
        "(id integer PRIMARY KEY, name text)": "[id]",
        "(id integer NOT NULL PRIMARY KEY AUTOINCREMENT)": "[id]",
        "(name text, id int NOT NULL PRIMARY KEY)": "[id]",
        "(id varchar(20) NOT NULL PRIMARY KEY)": "[id]",
        "(id text, x, PRIMARY KEY (id)) WITHOUT ROWID": "[id]",
        "(id text PRIMARY KEY) STRICT": "[id]",
        "(id int PRIMARY KEY)": "[] id*",  # can be NULL
        "(id text PRIMARY KEY)": "[] id*",
        "(id integer PRIMARY KEY DESC)": "[] id*",  # no other name of the row's number
        "(id integer, x integer, PRIMARY KEY (id, x))": "none",
        "(id integer REFERENCES a, x integer, PRIMARY KEY (id, x))": "[] id",
    },
    "kinds of columns": {
        "(id numeric NOT NULL PRIMARY KEY)": "none",
        "(id decimal(5, 2) UNIQUE, x real UNIQUE, y blob UNIQUE, z UNIQUE, day date UNIQUE, ok bool UNIQUE)": "none",
        '(id bigint UNIQUE, x "unsigned big int" UNIQUE, y char(32) UNIQUE, z clob UNIQUE)': "[] id* x* y* z*",
    },
    "unique columns": {
        "(id integer PRIMARY KEY, x text UNIQUE, y text, z text, UNIQUE (y), UNIQUE (y, z))": "[id] x* y*",
        "(id integer PRIMARY KEY, x text); CREATE UNIQUE INDEX i ON t (x DESC)": "[id] x*",
        "(id integer PRIMARY KEY, x text); CREATE INDEX i ON t (x)": "[id]",
        "(id integer PRIMARY KEY, x text); CREATE UNIQUE INDEX i ON t (x) WHERE (x > 5)": "[id]",
        "(id integer PRIMARY KEY, x text); CREATE UNIQUE INDEX i ON t (lower(x))": "[id]",
        "(id integer PRIMARY KEY, x text); CREATE UNIQUE INDEX i ON t (x, id)": "[id]",
    },
    "generated columns": {
        "(id integer PRIMARY KEY, x int UNIQUE, y int AS (x + 1) UNIQUE, z int AS (x) STORED UNIQUE)": "[id] x*",
    },
    "foreign keys": {
        "(id integer PRIMARY KEY, x integer REFERENCES a, y text UNIQUE REFERENCES b (name))": "[id] x y*",
        "(id integer PRIMARY KEY, x integer, y integer, FOREIGN KEY (x, y) REFERENCES a (id, ref))": "[id] x y",
        "(id integer PRIMARY KEY REFERENCES a)": "[id]",
    },
    "names": {
        '("Id" integer PRIMARY KEY, "A b" text UNIQUE, [c] text UNIQUE, `d` text UNIQUE)': "[id] a b* c* d*",
        "(id integer PRIMARY KEY, \"é\" text UNIQUE, 'É' text)": "none",
        '(id integer PRIMARY KEY, "é" text UNIQUE, e text, CHECK (e > 1), CHECK (e < 9))': "[id] é*",
        '(id integer PRIMARY KEY, "\u212a" text, k text UNIQUE)': "none",
    },
    "rows that take the place of others": {
        "(id integer PRIMARY KEY ON CONFLICT REPLACE)": "[id] -",
        "(id integer PRIMARY KEY, x text UNIQUE ON CONFLICT IGNORE)": "[id] x* -",
        "(id integer PRIMARY KEY, x text NOT NULL ON CONFLICT REPLACE DEFAULT 'x')": "[id] -",
    },
    "collations": {
        "(id text COLLATE nocase NOT NULL PRIMARY KEY, x text COLLATE RTRIM UNIQUE)": "[id] x*",
        '(id integer PRIMARY KEY, x text COLLATE "binary" UNIQUE)': "[id] x*",
        "(id integer PRIMARY KEY, x text, UNIQUE (x COLLATE nocase))": "[id] x*",
        "(id integer PRIMARY KEY, x text COLLATE nocase, UNIQUE (x COLLATE binary))": "[id]",
        "(id text COLLATE nocase PRIMARY KEY, x) WITHOUT ROWID": "none",
        "(id text COLLATE nocase NOT NULL, PRIMARY KEY (id COLLATE binary))": "none",
    },
}


@only_sqlite
@pytest.mark.parametrize("subject", TABLES_OF_SQLITE)
def test_tables_of_sqlite(world, subject):
    assert_described(world, TABLES_OF_SQLITE[subject])


@only_sqlite
def test_a_collation_of_the_program(world):
    """It may take any texts for equal."""
    connections["plain"].ensure_connection()
    connections["plain"].connection.create_collation("own", lambda one, other: 0)
    execute(
        "CREATE TABLE t (id integer PRIMARY KEY, x text COLLATE own UNIQUE, y int COLLATE own UNIQUE)", using="plain"
    )

    assert described("t") == "[id] y*"


@only_sqlite
def test_columns_of_sqlite(world):
    execute(
        "CREATE TABLE t (id integer PRIMARY KEY, x text UNIQUE, y int NOT NULL UNIQUE, z int DEFAULT 5 UNIQUE,"
        " n int DEFAULT NULL UNIQUE, c text COLLATE nocase UNIQUE)",
        using="plain",
    )
    keys = keys_of("t")

    bounds = {"lowest": -(2**63), "highest": 2**63 - 1}
    assert list(keys.columns.values()) == [
        KeyColumn("id", KeyKind.INTEGER, **bounds, is_nullable=False, is_null_by_default=False),
        KeyColumn("x", KeyKind.TEXT),
        KeyColumn("y", KeyKind.INTEGER, **bounds, is_nullable=False, is_null_by_default=False),
        KeyColumn("z", KeyKind.INTEGER, **bounds, is_null_by_default=False),
        KeyColumn("n", KeyKind.INTEGER, **bounds),
        KeyColumn("c", KeyKind.TEXT, ascii_only=True, folds=True, collation="nocase"),
    ]
    assert keys.references == {}
    assert keys.other_names_of_primary == {"rowid", "oid", "_rowid_"}


# PostgreSQL ---------------------------------------------------------------------------------

_KEY = "id integer PRIMARY KEY"


TABLES_OF_POSTGRESQL = {
    "primary keys": {
        f"({_KEY}, name text)": "[id]",
        "(id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY)": "[id]",
        "(id uuid DEFAULT gen_random_uuid() PRIMARY KEY)": "[id]",
        "(id varchar(20) PRIMARY KEY)": "[id]",
        "(id integer PRIMARY KEY DEFERRABLE)": "none",
        "(id integer, x integer, PRIMARY KEY (id, x))": "none",
        "(id integer, x text, PRIMARY KEY (id) INCLUDE (x))": "[id]",
        "(id integer REFERENCES a, x integer, PRIMARY KEY (id, x))": "[] id",
    },
    "kinds of columns": {
        "(id smallint UNIQUE, x bigint UNIQUE, y text UNIQUE, z varchar UNIQUE)": "[] id* x* y* z*",
        "(id char(4) UNIQUE, x numeric UNIQUE, y float UNIQUE, z date UNIQUE, w bytea UNIQUE, n name UNIQUE)": "none",
        "(id small UNIQUE, x mood UNIQUE, y integer[] UNIQUE, z boolean UNIQUE, w inet UNIQUE)": "none",
    },
    "collations": {
        '(x text COLLATE "C" UNIQUE, y text COLLATE "und-x-icu" UNIQUE, z text COLLATE s.ci UNIQUE)': "[] x* y*",
    },
    "unique columns": {
        f"({_KEY}, x text UNIQUE, y text, z text, UNIQUE (y), UNIQUE (y, z))": "[id] x* y*",
        f"({_KEY}, x text UNIQUE DEFERRABLE INITIALLY DEFERRED, y text UNIQUE NULLS NOT DISTINCT)": "[id] y*",
        f"({_KEY}, x text, UNIQUE (x) INCLUDE (id))": "[id] x*",
        f"({_KEY}, x text); CREATE UNIQUE INDEX u ON t (x); ALTER TABLE t ADD UNIQUE USING INDEX u": "[id] x*",
        f"({_KEY}, x text); CREATE UNIQUE INDEX ON t (x)": "[id]",
        f"({_KEY}, x text); CREATE INDEX ON t (x)": "[id]",
        f"({_KEY}); ALTER TABLE t ADD UNIQUE (id)": "[id]",
        f"({_KEY}, x text, EXCLUDE USING btree (x WITH =))": "[id]",
    },
    "generated columns": {
        f"({_KEY}, x integer UNIQUE, y integer GENERATED ALWAYS AS (x + 1) STORED UNIQUE)": "[id] x*",
    },
    "foreign keys": {
        f"({_KEY}, x integer REFERENCES a, y integer UNIQUE REFERENCES b)": "[id] x y*",
        f"({_KEY}, x integer, y integer, FOREIGN KEY (x, y) REFERENCES two)": "[id] x y",
        "(id integer PRIMARY KEY REFERENCES a, ref integer REFERENCES t)": "[id] ref",
    },
    "names": {
        '("Id" integer PRIMARY KEY, "A b" text UNIQUE, "é" text UNIQUE)': "[id] a b* é*",
        '("Id" integer PRIMARY KEY, "ID" text)': "none",
        '(id integer PRIMARY KEY, "É" text, "é" text)': "none",
        '(id integer PRIMARY KEY, x text UNIQUE, k text, "\u212a" text)': "none",
    },
    "rows that are in other relations, or not seen by everybody": {
        f"({_KEY}) PARTITION BY RANGE (id)": "none",
        "PARTITION OF parts FOR VALUES FROM (1) TO (5)": "none",
        f"({_KEY}) INHERITS (a)": "none",
        f"({_KEY}); CREATE TABLE child () INHERITS (t)": "none",
        f"({_KEY}); ALTER TABLE t ENABLE ROW LEVEL SECURITY": "none",
        f"({_KEY}); CREATE POLICY p ON t USING (true)": "none",
    },
    "rows that are not stored as they are written": {
        f"({_KEY}); CREATE TRIGGER r BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION react()": "[id] -",
        f"({_KEY}); CREATE TRIGGER r BEFORE UPDATE OF id ON t FOR EACH ROW EXECUTE FUNCTION react()": "[id] -",
        f"({_KEY}); CREATE TRIGGER r BEFORE DELETE ON t FOR EACH ROW EXECUTE FUNCTION react()": "[id]",
        f"({_KEY}); CREATE TRIGGER r BEFORE UPDATE ON t FOR EACH STATEMENT EXECUTE FUNCTION react()": "[id]",
        f"({_KEY}); CREATE TRIGGER r AFTER INSERT OR UPDATE ON t FOR EACH ROW EXECUTE FUNCTION react()": "[id]",
        f"({_KEY}); CREATE RULE r AS ON UPDATE TO t DO ALSO DELETE FROM a": "[id] -",
    },
    "another operator than the built-in one": {
        f"({_KEY}); CREATE OPERATOR = (FUNCTION = same, LEFTARG = mood, RIGHTARG = mood)": "[id]",
        f"({_KEY}); CREATE OPERATOR = (FUNCTION = alike, LEFTARG = integer, RIGHTARG = smallint)": "none",
    },
}


@only_postgresql
@pytest.mark.parametrize("subject", TABLES_OF_POSTGRESQL)
def test_tables_of_postgresql(world, subject):
    world.make(
        "CREATE TYPE mood AS ENUM ('x')",
        "CREATE DOMAIN small AS integer",
        "CREATE SCHEMA s",
        "CREATE COLLATION s.ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false)",
        "CREATE TABLE two (id integer, ref integer, PRIMARY KEY (id, ref))",
        "CREATE TABLE parts (id integer PRIMARY KEY) PARTITION BY RANGE (id)",
        "CREATE FUNCTION react() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$",
        "CREATE FUNCTION same(mood, mood) RETURNS boolean IMMUTABLE LANGUAGE sql AS $$ SELECT true $$",
        "CREATE FUNCTION alike(integer, smallint) RETURNS boolean IMMUTABLE LANGUAGE sql AS $$ SELECT true $$",
        "CREATE FUNCTION compare(integer, integer) RETURNS integer IMMUTABLE LANGUAGE sql AS $$ SELECT -1 $$",
        "CREATE OPERATOR CLASS odd_ops FOR TYPE integer USING btree AS OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =,"
        " OPERATOR 4 >=, OPERATOR 5 >, FUNCTION 1 compare(integer, integer)",
    )
    assert_described(world, TABLES_OF_POSTGRESQL[subject])


@only_postgresql
def test_columns_of_postgresql(world):
    world.make(
        "CREATE TABLE t (id smallint PRIMARY KEY, x text UNIQUE, y integer NOT NULL UNIQUE, z bigint DEFAULT 5 UNIQUE,"
        " n uuid DEFAULT NULL UNIQUE, v varchar(9) UNIQUE, s bigserial UNIQUE)"
    )

    assert list(keys_of("t").columns.values()) == [
        KeyColumn("id", KeyKind.INTEGER, -(2**15), 2**15 - 1, is_nullable=False, is_null_by_default=False),
        KeyColumn("x", KeyKind.TEXT),
        KeyColumn("y", KeyKind.INTEGER, -(2**31), 2**31 - 1, is_nullable=False, is_null_by_default=False),
        KeyColumn("z", KeyKind.INTEGER, -(2**63), 2**63 - 1, is_null_by_default=False),
        KeyColumn("n", KeyKind.UUID),
        KeyColumn("v", KeyKind.TEXT, length=9),
        KeyColumn("s", KeyKind.INTEGER, -(2**63), 2**63 - 1, is_nullable=False, is_null_by_default=False),
    ]
    assert keys_of("t").other_names_of_primary == set()


@only_postgresql
def test_references(world):
    """Those that every row is sure to fulfil."""
    world.make(
        "ALTER TABLE a ADD CONSTRAINT u UNIQUE (ref)",
        "CREATE TABLE two (id integer, ref integer, PRIMARY KEY (id, ref))",
        'CREATE SCHEMA s CREATE TABLE "O" ("Id" integer PRIMARY KEY)',
        "CREATE TABLE t (id integer PRIMARY KEY, one integer REFERENCES a DEFERRABLE INITIALLY DEFERRED,"
        ' other integer REFERENCES a (ref) ON DELETE CASCADE, far integer REFERENCES s."O", own integer REFERENCES t,'
        " x integer, y integer, z integer, off integer, FOREIGN KEY (x, y) REFERENCES two)",
        "ALTER TABLE t ADD FOREIGN KEY (z) REFERENCES b NOT VALID",
        "ALTER TABLE t ADD CONSTRAINT k FOREIGN KEY (off) REFERENCES c",
    )
    found = keys_of("t", ', s."O"')
    assert described("t") == "[id] far off one other own x y z"
    assert found.references == {
        "one": ("a", "id"),
        "other": ("a", "ref"),
        "far": ("s.O", "id"),
        "own": ("t", "id"),
        "off": ("c", "id"),
    }

    world.make("ALTER TABLE c DISABLE TRIGGER ALL")
    assert "off" not in keys_of("t").references
    world.make("ALTER TABLE c ENABLE TRIGGER ALL", "ALTER TABLE t DISABLE TRIGGER ALL")
    assert keys_of("t").references == {}
    world.make("ALTER TABLE t ENABLE TRIGGER ALL", "ALTER TABLE t VALIDATE CONSTRAINT t_z_fkey")
    assert keys_of("t").references.keys() == {"one", "other", "own", "off", "z"}


# MySQL and MariaDB --------------------------------------------------------------------------

_FOLDED = "varchar(9) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci"

TABLES_OF_MYSQL = {
    "primary keys": {
        f"({_KEY}, name text)": "[id]",
        "(id bigint AUTO_INCREMENT PRIMARY KEY)": "[id]",
        "(id char(32) PRIMARY KEY)": "[id]",
        "(id integer, x integer, PRIMARY KEY (id, x))": "none",
        "(id integer, x integer, PRIMARY KEY (id, x), FOREIGN KEY (id) REFERENCES a (id))": "[] id",
        "(id integer NOT NULL UNIQUE)": "[] id*",  # the server takes it for the primary key
    },
    "kinds of columns": {
        "(a tinyint UNIQUE, b smallint UNIQUE, c mediumint UNIQUE, d bigint UNIQUE)": "[] a* b* c* d*",
        "(a char(4) UNIQUE, b varchar(9) UNIQUE)": "[] a* b*",
        "(a decimal(5) UNIQUE, b float UNIQUE, c date UNIQUE, d binary(4) UNIQUE, e varbinary(4) UNIQUE)": "none",
        "(a enum('x') UNIQUE, b set('x') UNIQUE, c bit UNIQUE, d year UNIQUE, e timestamp UNIQUE)": "none",
    },
    "collations": {
        f"(a {_FOLDED} UNIQUE)": "[] a*",
        "(a varchar(9) CHARACTER SET utf8mb4 COLLATE utf8mb4_german2_ci UNIQUE)": "none",
        "(a varchar(9) CHARACTER SET utf8mb4 COLLATE utf8mb4_lithuanian_ci UNIQUE)": "none",
    },
    "unique columns": {
        f"({_KEY}, x integer UNIQUE, y integer, z integer, UNIQUE (y), UNIQUE (y, z))": "[id] x* y*",
        f"({_KEY}, x integer, INDEX (x))": "[id]",
        f"({_KEY}, x varchar(20), UNIQUE (x(5)))": "[id]",
        f"({_KEY}, x text UNIQUE)": "[id]",  # by a hash
    },
    "values of the database's own": {
        "(id integer UNIQUE AUTO_INCREMENT, x integer PRIMARY KEY)": "[x]",
        f"({_KEY}, x integer UNIQUE, y int AS (x + 1) VIRTUAL UNIQUE, z int AS (x) PERSISTENT UNIQUE)": "[id] x*",
    },
    "foreign keys": {
        f"({_KEY}, x int, FOREIGN KEY (x) REFERENCES a (id))": "[id] x",
        f"({_KEY}, x int UNIQUE, FOREIGN KEY (x) REFERENCES a (id))": "[id] x*",
        "(id integer PRIMARY KEY, FOREIGN KEY (id) REFERENCES a (id))": "[id]",
    },
    "names": {
        "(`Id` integer PRIMARY KEY, `A b` integer UNIQUE, `é` integer UNIQUE)": "[id] a b* é*",
        f"({_KEY}, `ß` integer UNIQUE, `ẞ` integer)": "none",
    },
    "tables of other kinds": {
        f"({_KEY}) ENGINE = MyISAM": "none",
        f"({_KEY}) PARTITION BY HASH (id) PARTITIONS 2": "none",
        f"({_KEY}) WITH SYSTEM VERSIONING": "none",
    },
    "rows that are not stored as they are written": {
        f"({_KEY}); CREATE TRIGGER r BEFORE INSERT ON t FOR EACH ROW SET NEW.id = 5": "[id] -",
        f"({_KEY}); CREATE TRIGGER r BEFORE UPDATE ON t FOR EACH ROW SET NEW.id = 5": "[id] -",
        f"({_KEY}); CREATE TRIGGER r BEFORE DELETE ON t FOR EACH ROW SET @x = 5": "[id]",
        f"({_KEY}); CREATE TRIGGER r AFTER UPDATE ON t FOR EACH ROW SET @x = 5": "[id]",
    },
}


@only_mysql
@pytest.mark.parametrize("subject", TABLES_OF_MYSQL)
def test_tables_of_mysql(world, subject):
    assert_described(world, TABLES_OF_MYSQL[subject])


@only_mysql
def test_columns_of_mysql(world):
    world.make(
        "CREATE TABLE t (id smallint PRIMARY KEY, x tinyint unsigned UNIQUE, y integer NOT NULL UNIQUE,"
        f" z bigint unsigned DEFAULT 5 UNIQUE, n mediumint DEFAULT NULL UNIQUE, v {_FOLDED} UNIQUE,"
        f" w {_FOLDED} DEFAULT 'NULL' UNIQUE, e varchar(9) CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin UNIQUE,"
        " c char(9) CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin UNIQUE)"
    )

    text = {"length": 9, "ascii_only": True}
    folded, exact = "utf8mb4_general_ci", "utf8mb4_nopad_bin"
    assert list(keys_of("t").columns.values()) == [
        KeyColumn("id", KeyKind.INTEGER, -(2**15), 2**15 - 1, is_nullable=False, is_null_by_default=False),
        KeyColumn("x", KeyKind.INTEGER, 0, 255),
        KeyColumn("y", KeyKind.INTEGER, -(2**31), 2**31 - 1, is_nullable=False, is_null_by_default=False),
        KeyColumn("z", KeyKind.INTEGER, 0, 2**64 - 1, is_null_by_default=False),
        KeyColumn("n", KeyKind.INTEGER, -(2**23), 2**23 - 1),
        KeyColumn("v", KeyKind.TEXT, **text, folds=True, collation=folded),
        KeyColumn("w", KeyKind.TEXT, **text, folds=True, collation=folded, is_null_by_default=False),
        KeyColumn("e", KeyKind.TEXT, **text, collation=exact),
        KeyColumn("c", KeyKind.TEXT, **text, folds=True, collation=exact),
    ]
    assert keys_of("t").references == {}
    assert keys_of("t").other_names_of_primary == {"_rowid"}


@only_mysql
def test_a_uuid_of_mariadb(world):
    world.make("CREATE TABLE t (id uuid PRIMARY KEY, x uuid UNIQUE)")

    assert described("t") == "[id] x*"
    assert keys_of("t").columns["x"] == KeyColumn("x", KeyKind.UUID)


@only_mysql
def test_a_foreign_key_to_another_database(world):
    world.make(
        "CREATE DATABASE other",
        "CREATE TABLE other.o (id integer PRIMARY KEY)",
        "CREATE TABLE t (id integer PRIMARY KEY, x integer, FOREIGN KEY (x) REFERENCES other.o (id))",
    )

    assert described("t") == "[id] x"


# What the database takes for equal ----------------------------------------------------------

_PRINTABLE = [chr(number) for number in range(32, 127)]
#: All texts of one and two printable characters of ASCII, and some that collations treat in ways of their own
TEXTS = [
    "",
    *_PRINTABLE,
    *map("".join, itertools.product(_PRINTABLE, repeat=2)),
    *"aaa aa. ae.o ccs cscs ddz dzdz 1/2 (1) (TM) eé é É ß ä å æ \u0133 \ufb01 ½ \u2122 \u212a \u0131 \u0130".split(),
    *("a  ", "  a", "e\u0301", "a\u200b", "a\u3000", "a\x01", "a\t", "\x7f"),
]


def assert_equal_texts_share_a_form(definition: str) -> None:
    """Of any two values that the database takes for equal in such a column, both share a form, or one has none."""
    execute(f"CREATE TABLE t (x {definition}, UNIQUE (x))", using="plain")
    execute(f"CREATE TABLE u (x {definition})", using="plain")
    execute("CREATE INDEX i ON u (x)", using="plain")
    key = keys_of("t").columns["x"]
    with connections["plain"].cursor() as cursor:
        for begin in range(0, len(TEXTS), 400):
            part = TEXTS[begin : begin + 400]
            cursor.execute(f"INSERT INTO u (x) VALUES {', '.join(['(%s)'] * len(part))}", part)
        cursor.execute("SELECT one.x, other.x FROM u one JOIN u other ON one.x = other.x")
        pairs = cursor.fetchall()
    assert len(pairs) >= len(TEXTS)
    forms = {(key.canonical(one), key.canonical(other)) for one, other in pairs}
    assert {(one, other) for one, other in forms if None not in (one, other) and one != other} == set()
    assert len(forms) > 4000  # of so many texts the forms differ where case and blanks do not count


@only_sqlite
@pytest.mark.parametrize("collation", ["binary", "nocase", "rtrim"])
def test_equal_texts_of_sqlite(world, collation):
    assert_equal_texts_share_a_form(f"text COLLATE {collation}")


@only_postgresql
@pytest.mark.parametrize("collation", ["C", "default", "und-x-icu"])
def test_equal_texts_of_postgresql(world, collation):
    assert_equal_texts_share_a_form(f'text COLLATE "{collation}"')


@only_mysql
def test_equal_texts_of_mysql(world):
    """By every collation of the server whose texts can be keys."""
    world.make("CREATE TABLE u (x varchar(9)) CHARACTER SET utf8mb4")
    with world.cursor() as cursor:
        for begin in range(0, len(TEXTS), 400):
            part = TEXTS[begin : begin + 400]
            cursor.execute(f"INSERT INTO u (x) VALUES {', '.join(['(%s)'] * len(part))}", part)
        cursor.execute(
            "SELECT FULL_COLLATION_NAME, CHARACTER_SET_NAME"
            " FROM information_schema.COLLATION_CHARACTER_SET_APPLICABILITY"
        )
        collations = [(name, characters) for name, characters in cursor.fetchall() if FOLDING.fullmatch(name)]
        assert len(collations) > 40
        faults = set()
        for number, (collation, characters) in enumerate(collations):
            if number % 30 == 0:  # a table has no more than 64 indexes
                columns = [
                    f"{name} varchar(9) CHARACTER SET {of} COLLATE {name} UNIQUE"
                    for name, of in collations[number : number + 30]
                ]
                world.make("DROP TABLE IF EXISTS t", f"CREATE TABLE t ({', '.join(columns)})")
                keys = keys_of("t")
            key = keys.columns[collation]
            cursor.execute(
                "SELECT GROUP_CONCAT(HEX(x)) FROM u"
                f" GROUP BY CONVERT(x USING {characters}) COLLATE {collation} HAVING COUNT(*) > 1"
            )
            for (equal,) in cursor.fetchall():
                forms = {key.canonical(bytes.fromhex(text).decode()) for text in equal.split(",")} - {None}
                if len(forms) > 1:
                    faults.add((collation, *sorted(forms)))
        assert faults == set()


@only_mysql
def test_spaces_at_the_end_of_a_char(world):
    world.make("CREATE TABLE t (x char(9) CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin UNIQUE)")
    execute("INSERT INTO t VALUES ('a  ')")
    with world.cursor() as cursor:
        cursor.execute("SELECT COUNT(*) FROM t WHERE x = 'a'")
        assert cursor.fetchone()[0] == 1

    key = keys_of("t").columns["x"]
    assert key.canonical("a  ") == key.canonical("a")


@only_mysql
def test_the_other_name_of_a_primary_key(world):
    """By which an UPDATE can set it."""
    (name,) = keys_of("a").other_names_of_primary
    with world.cursor() as cursor:
        cursor.execute(f"UPDATE a SET {name} = 7 WHERE id = 2")
        cursor.execute("SELECT name FROM a WHERE id = 7")
        assert cursor.fetchone()[0] == "two"
