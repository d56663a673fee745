"""Texts that nobody would write: soups of tokens, and statements with something wrong in them."""

from __future__ import annotations

import random
import re

from tests.oracle import generated

WORDS = """
    select from where with recursive as join left on using union all values table in exists not and or is distinct null
    case when then else end group by having order limit offset into insert update delete merge replace set default
    returning create temp temporary view trigger drop alter truncate cascade begin commit rollback savepoint release
    explain analyze for share lock mode of only lateral materialized call do execute prepare pragma copy to stdin
    conflict nothing key duplicate matched over partition filter rows between ignore low_priority straight_join
    current_date now count max coalesce setval nextval random set_config
""".split()
NAMES = ["t1", "t2", '"t1"', '"select"', '"a b"', "plain_name", "a", "b", "x1", "c1", "nowhere", "public.t1", "main.t1"]
MARKS = ["(", ")", "(", ")", ",", ",", ";", ".", "*", "=", "+", "-", "::", "%s", "?", "$1", "@x", ":=", "%%", "[", "]"]
LITERALS = [
    "1",
    "0",
    "'x'",
    "''",
    "'it''s'",
    "'now'",
    r"'\'",
    r"e'\''",
    "$$x$$",
    '"',
    "'",
    "`",
    "--\n",
    "/*",
    "*/",
    "#\n",
]

#: Statements that change rows, to be cut and crossed with others
WRITES = """
    INSERT INTO t1 (a, b) VALUES (1, 2)
    INSERT INTO t1 SELECT a, b FROM t2 WHERE a IN (SELECT b FROM t3)
    INSERT INTO t1 (a) VALUES (1) ON CONFLICT DO NOTHING
    INSERT INTO t1 (a) VALUES (1) RETURNING a
    REPLACE INTO t1 (a) VALUES (1)
    UPDATE t1 SET a = 1, b = (SELECT max(a) FROM t2) WHERE EXISTS (SELECT 1 FROM t3)
    UPDATE t1 SET a = t2.a FROM t2 WHERE t1.b = t2.b
    DELETE FROM t1 WHERE a IN (SELECT a FROM t2)
    DELETE FROM t1 USING t2 WHERE t1.a = t2.a
    WITH c1 AS (SELECT 1 AS a) INSERT INTO t1 (a) SELECT a FROM c1
    WITH c1 AS (INSERT INTO t1 (a) VALUES (1) RETURNING a) SELECT * FROM c1
    WITH c1 AS (DELETE FROM t1 RETURNING *) SELECT * FROM c1
    SELECT * INTO t9 FROM t1
    CREATE TABLE t9 AS SELECT * FROM t1
    CREATE TEMP TABLE t9 AS SELECT * FROM t1
    SELECT a FROM t1 FOR UPDATE
    TRUNCATE t1
    EXPLAIN ANALYZE DELETE FROM t1
    SELECT 1; DELETE FROM t1
    MERGE INTO t1 USING t2 ON t1.a = t2.a WHEN MATCHED THEN DELETE
    DO $$ BEGIN DELETE FROM t1; END $$
    DROP TABLE t1
""".strip().splitlines()

_TOKEN = re.compile(r"'(?:[^']|'')*'|\"[^\"]*\"|\w+|\s+|.", re.DOTALL)


def soup(chance: random.Random) -> str:
    return " ".join(_token(chance) for _ in range(chance.randint(1, 40)))


def mutated(vendor: str, chance: random.Random) -> str:
    """A statement with a few tokens lost, doubled, swapped or put in, or with the tail of another one."""
    tokens = _TOKEN.findall(_statement(vendor, chance))
    for _ in range(chance.randint(0, 3)):
        at, other = (chance.randrange(len(tokens) + 1) for _ in range(2))
        match chance.randrange(5):
            case 0:
                del tokens[at : at + chance.randint(1, 3)]
            case 1:
                tokens[at:at] = tokens[at : at + chance.randint(1, 5)]
            case 2:
                tokens[at : at + 1], tokens[other : other + 1] = tokens[other : other + 1], tokens[at : at + 1]
            case 3:
                tokens[at:at] = [" ", _token(chance), " "]
            case 4:
                rest = _TOKEN.findall(_statement(vendor, chance))
                tokens[at:] = [" ", *rest[chance.randrange(len(rest)) :]]
        tokens = tokens or [" "]
    return "".join(tokens)


def _statement(vendor: str, chance: random.Random) -> str:
    if chance.random() < 0.6:
        return chance.choice(WRITES).strip()
    return generated.text(vendor, chance.randrange(10**6), depth=chance.randint(0, 2))


def _token(chance: random.Random) -> str:
    return chance.choice(chance.choice([WORDS, WORDS, NAMES, MARKS, LITERALS]))
