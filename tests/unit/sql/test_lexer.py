"""Texts cut into tokens, by the rules of each vendor."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ormcache.sql import analyse, lexer
from ormcache.sql.lexer import LONGEST_TEXT, MOST_PIECES, VENDORS, TokenKind, lex
from tests.examples import examples

each_vendor = pytest.mark.parametrize("vendor", VENDORS)

#: Pieces that begin, end or hide something for at least one vendor
PIECES = [
    "'",
    '"',
    "`",
    "[",
    "]",
    "''",
    "\\",
    "\\'",
    "--",
    "-- ",
    "\n",
    "\r",
    "/*",
    "*/",
    "/*!",
    "/*+",
    "*",
    "/",
    "#",
    "$$",
    "$a$",
    "$1",
    "%s",
    "%%",
    "%",
    "%(a)s",
    "%b",
    "e'",
    "E'",
    "U&'",
    'u&"',
    "x'",
    "n'",
    "b'",
    "@",
    "@@a",
    ":=",
    ":a",
    "?",
    "?1",
    "::",
    ";",
    "(",
    ")",
    ",",
    ".",
    "a",
    "select",
    "1",
    "1e5",
    ".5",
    "1_000",
    "0x1f",
    "ü",
    "\u2028",
    "\x00",
    "\ud800",
    "<@",
    "#>>",
    "||",
    " ",
    "\t",
    "-",
]
texts = st.one_of(st.text(), st.lists(st.sampled_from(PIECES), max_size=30).map("".join))


@each_vendor
@given(text=texts)
@settings(max_examples=examples(400), deadline=None)
@example(text="'")
@example(text="/*/**/")
@example(text="$a$ $b$ $a$")
def test_any_text(vendor, text):
    """Never an exception; what is understood is covered to the last character, and lexes alike when put together."""
    tokens = lex(text, vendor)
    if tokens is None:
        return
    if vendor == "mysql" and any(kind is TokenKind.OPERATOR and value.endswith("--") for kind, value in tokens):
        return  # with a space behind it, it begins a comment
    written = " ".join(_written(kind, value, vendor) for kind, value in tokens)
    assert lex(written, vendor) == tokens
    # Nothing but white space and comments may be missing.
    rest = text
    for kind, value in tokens:
        if kind is not TokenKind.QUOTED:
            before, found, rest = rest.partition(value)
            assert found, (value, before)


def _written(kind: TokenKind, value: str, vendor: str) -> str:
    if kind is not TokenKind.QUOTED:
        return value
    quote = "`" if vendor == "mysql" else '"'
    return quote + value.replace(quote, quote * 2) + quote


def test_no_group_is_repeated_possessively():
    """Python before 3.11.5 matches such a group wrongly where something in it can give back."""
    root = Path(lexer.__file__).parents[1]
    faulty = re.compile(r"[)}][*+?]\+|\(\?>")
    found = [
        f"{path.relative_to(root)}:{number}"
        for path in sorted(root.rglob("*.py"))
        if path.name != "patterns.py"  # which writes groups for PyPy alone
        for number, line in enumerate(path.read_text(encoding="utf8").splitlines(), 1)
        if faulty.search(line.partition("#")[0])
    ]
    assert found == []


@pytest.mark.parametrize(
    "vendor, text",
    [
        ("postgresql", "UPDATE a SET x = 1 /* traceparent='00-1-01' */"),
        ("postgresql", "/* job:7 */ SELECT * FROM a"),
        ("postgresql", "SELECT /* a /* b */ c */ x FROM a"),
        ("postgresql", "SELECT /*+ SeqScan(a) */ * FROM a"),
        ("mysql", "SELECT /*+ NO_INDEX_MERGE(a) */ x FROM a"),
        ("mysql", "UPDATE a SET x=/* ' */1"),
        ("sqlite", "SELECT 1 WHERE 2-/* 'hidden */-1 < 3"),
    ],
)
def test_comments_beside_operators(vendor, text):
    plain = re.sub(r"/\*.*\*/", " ", text)

    assert lex(text, vendor) == lex(plain, vendor) is not None


@each_vendor
@given(literal=st.text(alphabet=st.characters(exclude_characters="\\\x00", exclude_categories=["Cs"])))
@settings(max_examples=examples(200), deadline=None)
def test_nothing_in_a_literal_gets_out(vendor, literal):
    quoted = "'" + literal.replace("'", "''") + "'"
    tokens = lex(f"a {quoted} b", vendor)

    assert tokens == [(TokenKind.WORD, "a"), (TokenKind.LITERAL, quoted), (TokenKind.WORD, "b")]


@each_vendor
@given(name=st.text(alphabet=st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), min_size=1))
@settings(max_examples=examples(200), deadline=None)
def test_nothing_in_a_quoted_name_gets_out(vendor, name):
    quoted = _written(TokenKind.QUOTED, name, vendor)

    assert lex(f"a {quoted} b", vendor) == [(TokenKind.WORD, "a"), (TokenKind.QUOTED, name), (TokenKind.WORD, "b")]


#: What is repeated to make a text for which a pattern could go astray; some need a beginning of their own
REPEATED = [
    *(
        "'",
        '"',
        "''",
        "\\",
        "\\'",
        "`",
        "[",
        "]",
        "(",
        "-",
        "/",
        "*",
        "%",
        "$",
        "$a",
        "$a$",
        "$$ ",
        "1",
        "1.",
        ".1",
        "1e",
        "a",
        "é",
    ),
    *(
        "/*",
        "/**/",
        "/* ",
        "*/",
        "-- ",
        "--\n",
        "#",
        "@",
        "@`",
        "?",
        ":a",
        "0x",
        "%s",
        "%(a)s",
        "%s  ",
        " ",
        "\n",
        "e",
        "e'a' ",
    ),
    *(
        "e'a'\n",
        "E'\\",
        "u&'a'",
        "u&",
        "b'",
        "x'1",
        "/*+ set_vaR",
        "/*!",
        ";",
        "a;",
        "a.",
        "'a'\n",
        "select ",
        "f(",
        "),",
    ),
]
BEGINNINGS = ["", "'", "e'", "/*", "/*/*/*", "/*+", "$a$", "--", "%("]


@each_vendor
@pytest.mark.parametrize("beginning", BEGINNINGS)
def test_no_text_takes_long(vendor, beginning):
    for piece in REPEATED:
        length = 20_000 if beginning else examples(100_000)  # enough for what grows with its square
        text = (beginning + piece * length)[:length]
        started = time.process_time()
        lex(text, vendor)

        assert time.process_time() - started < 1, f"{beginning!r} and {piece!r}"


@each_vendor
@pytest.mark.parametrize("beginning", ["", "SELECT ", "WITH a AS (SELECT 1) SELECT ", "UPDATE a SET ", "SET "])
def test_no_text_takes_long_to_analyse(vendor, beginning):
    pieces = [
        "a as (select 1), ",
        "(with a as (select 1) ",
        "from a join ",
        "(update a ",
        "a, ",
        "for update ",
        "'a'\n",
    ]
    for piece in REPEATED + pieces:
        text = beginning + piece * (5_000 // len(piece))
        started = time.process_time()
        analyse(text, vendor)

        assert time.process_time() - started < 1, f"{beginning!r} and {piece!r}"


def test_many_common_table_expressions():
    text = "WITH " + ", ".join(f"a{n} AS (SELECT {n})" for n in range(10_000)) + " SELECT * FROM a1"
    started = time.process_time()

    assert analyse(text, "postgresql").sources == {(None, "a1")}
    assert time.process_time() - started < 2


@each_vendor
def test_what_is_too_long_is_not_read(vendor):
    assert lex("a" * LONGEST_TEXT, vendor) == [(TokenKind.WORD, "a" * LONGEST_TEXT)]
    assert lex("a" * (LONGEST_TEXT + 1), vendor) is None
    assert len(lex("a," * (MOST_PIECES // 2), vendor)) == MOST_PIECES
    assert lex("a," * (MOST_PIECES // 2) + "a", vendor) is None


@each_vendor
@pytest.mark.parametrize("comment", ["/* %s */", "-- %s\n", "/* %(name)s */", "/* %%s */", "/* 5 %b */"])
def test_a_value_in_a_comment_is_not_understood(vendor, comment):
    """Whatever the driver puts there: two texts that differ in nothing else would be taken for one."""
    assert lex(f"SELECT {comment} 1", vendor) is None
    assert lex("SELECT /* 5 % of it */ 1 -- 100 %", vendor) is not None


@each_vendor
@pytest.mark.parametrize("text", ["\0", "SELECT 1\0", "SELECT '\0'", "SELECT 1 -- \0\n"])
def test_a_text_with_a_nul_is_not_understood(vendor, text):
    assert lex(text, vendor) is None


def tokens_of(text: str, vendor: str) -> list[str] | None:
    tokens = lex(text, vendor)
    return None if tokens is None else [f"{kind.value[0]}:{value}" for kind, value in tokens]


# w word, q quoted, l literal, n number, p placeholder and punctuation, o operator, v variable
TABLE = {
    "postgresql": {
        "a--b\nc": ["w:a", "w:c"],
        "a --": ["w:a"],
        "a /* b /* c */ d */ e": ["w:a", "w:e"],
        "a /* b /* c */ d": None,
        "'\\'": ["l:'\\'"],
        "'\\' , t , '\\'": ["l:'\\'", "p:,", "w:t", "p:,", "l:'\\'"],
        "E'\\'' , t": ["l:E'\\''", "p:,", "w:t"],
        "e'a''b\\\\'": ["l:e'a''b\\\\'"],
        "e'a'\n'b\\''": None,
        "e'a''b\\''\n'c\\'": None,
        "e'a' -- b\n'c'": None,
        "e'a', 'b'": ["l:e'a'", "p:,", "l:'b'"],
        "'a'\n'b'": ["l:'a'", "l:'b'"],
        "U&'a\\'": ["l:U&'a\\'"],
        "u&'a'\n'b'": None,
        "u & 'a'": ["w:u", "o:&", "l:'a'"],
        "ue'a'": ["w:ue", "l:'a'"],
        'U&"a"': None,
        "x'0f' B'1' n'a'": ["l:x'0f'", "l:B'1'", "l:n'a'"],
        "$$ ' $$": ["l:$$ ' $$"],
        "$a$ $$ ' $b$ $a$": ["l:$a$ $$ ' $b$ $a$"],
        "$a$ $A$": None,
        "a$b$c": ["w:a$b$c"],
        "$1 $12": ["p:$1", "p:$12"],
        "$1$$ a $$": ["p:$1", "l:$$ a $$"],
        "$ä1$ ' $ä1$": ["l:$ä1$ ' $ä1$"],
        "0x1F 0o17 0b1 1_0.5": ["n:0x1F", "n:0o17", "n:0b1", "n:1_0.5"],
        "a := b => c": ["w:a", "o::=", "w:b", "o:=>", "w:c"],
        "a[b:c]": ["w:a", "p:[", "w:b", "p::", "w:c", "p:]"],
        "5 %s (1)": ["n:5", "o:%", "w:s", "p:(", "n:1", "p:)"],
        "%t%b": ["p:%t", "p:%b"],
        "a\xa0b": ["w:a\xa0b"],
        "stock # %s": ["w:stock", "o:#", "p:%s"],
        "a#>>'{b}'": ["w:a", "o:#>>", "l:'{b}'"],
        "a <@ b": ["w:a", "o:<@", "w:b"],
        "a<-1": ["w:a", "o:<-", "n:1"],
        "a - -1": ["w:a", "o:-", "o:-", "n:1"],
        "5--1": ["n:5"],
        "a/*x*/b": ["w:a", "w:b"],
        "a*/b": ["w:a", "o:*/", "w:b"],
        "a::text[1:2]": ["w:a", "p:::", "w:text", "p:[", "n:1", "p::", "n:2", "p:]"],
        '"a""b"."C"': ['q:a"b', "p:.", "q:C"],
        '""': None,
        "%s%%%(a)s": ["p:%s", "o:%%", "p:%(a)s"],
        "5 %score": ["n:5", "o:%", "w:score"],
        "1.5e-3 .5 1_000 2.": ["n:1.5e-3", "n:.5", "n:1_000", "n:2."],
        "ünïcode": ["w:ünïcode"],
        "`a`": None,
        "a ? b ?| c": ["w:a", "o:?", "w:b", "o:?|", "w:c"],
        "'a\nb'": ["l:'a\nb'"],
        "'a": None,
        '"a': None,
        "$$a": None,
    },
    "mysql": {
        "a -- b\nc": ["w:a", "w:c"],
        "5--1": ["n:5", "o:--", "n:1"],
        "a --\tb": ["w:a"],
        "a # b\nc": ["w:a", "w:c"],
        "a#": ["w:a"],
        "a /* b */ c": ["w:a", "w:c"],
        "/*! a */": None,
        "/*!50000 a */": None,
        "/*M! a */": None,
        "a /*+ SET_VAR(x=1) */": None,
        "a /*+ NO_INDEX(b) set_Var(x=1) */": None,
        "a /*+ NO_INDEX(b) */ c": ["w:a", "w:c"],
        "_utf8mb4'a' N'b' 0x1F 0b1 0x1G": ["w:_utf8mb4", "l:'a'", "l:N'b'", "n:0x1F", "n:0b1", "w:0x1G"],
        "a --\nb --": ["w:a", "w:b"],
        "a --\x01b": ["w:a"],
        "a --": ["w:a"],
        "5---1": ["n:5", "o:---", "n:1"],
        "a /* /* */ c": ["w:a", "w:c"],
        "'\\'' , t": ["l:'\\''", "p:,", "w:t"],
        "'\\\\' , t": ["l:'\\\\'", "p:,", "w:t"],
        '"it\'s" , t': ['l:"it\'s"', "p:,", "w:t"],
        '"a""b\\""': ['l:"a""b\\""'],
        "`a``b`.`C`": ["q:a`b", "p:.", "q:C"],
        "`a": None,
        "@a @@b.c @`x` :=": ["v:@a", "v:@@b.c", "v:@`x`", "v::="],
        "1a 2": ["w:1a", "n:2"],
        "db.1a": ["w:db", "p:.", "w:1a"],
        "db.1e5x 1e5x 1.5 .5e3": ["w:db", "p:.", "w:1e5x", "w:1e5x", "n:1.5", "n:.5e3"],
        "x'0f' n'a'": ["l:x'0f'", "l:n'a'"],
        "a<=>b && c": ["w:a", "o:<=>", "w:b", "o:&&", "w:c"],
        "%s %%": ["p:%s", "o:%%"],
        "[a]": None,
        "a->'$.b'": ["w:a", "o:->", "l:'$.b'"],
    },
    "sqlite": {
        "a--b\nc": ["w:a", "w:c"],
        "a /* b": None,
        "a /* /* */ c": ["w:a", "w:c"],
        "'\\' , t , '\\'": ["l:'\\'", "p:,", "w:t", "p:,", "l:'\\'"],
        "ESCAPE '\\' AND 'x'": ["w:ESCAPE", "l:'\\'", "w:AND", "l:'x'"],
        '[a b] `c` "d"': ["q:a b", "q:c", "q:d"],
        "x'0f' 0x1F 1_000": ["l:x'0f'", "n:0x1F", "n:1_000"],
        '"a""b" [a[b] `a``b`': ['q:a"b', "q:a[b", "q:a`b"],
        "? ?1 :a @b $c": ["p:?", "p:?1", "p::a", "p:@b", "p:$c"],
        "a->>'$.b'": ["w:a", "o:->>", "l:'$.b'"],
        "a # b": None,
        "5--1": ["n:5"],
        "%s %%": ["p:%s", "o:%%"],
    },
}


@pytest.mark.parametrize("vendor, text", [(vendor, text) for vendor, table in TABLE.items() for text in table])
def test_table(vendor, text):
    expected = TABLE[vendor][text]

    assert tokens_of(text, vendor) == expected


@each_vendor
def test_no_rule_matches_nothing(vendor):
    for rule in lexer._RULES[vendor]:
        assert not re.fullmatch(rule, ""), rule
