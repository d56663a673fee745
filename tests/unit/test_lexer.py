"""Texts cut into tokens, by the rules of each vendor."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ormcache.sql.lexer import VENDORS, Kind, lex

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
@settings(max_examples=400, deadline=None)
@example(text="'")
@example(text="/*/**/")
@example(text="$a$ $b$ $a$")
def test_any_text(vendor, text):
    """Never an exception; what is understood is covered to the last character, and lexes alike when put together."""
    tokens = lex(text, vendor)
    if tokens is None:
        return
    if vendor == "mysql" and any(kind is Kind.OPERATOR and value.endswith("--") for kind, value in tokens):
        return  # with a space behind it, it begins a comment
    written = " ".join(_written(kind, value, vendor) for kind, value in tokens)
    assert lex(written, vendor) == tokens
    # Nothing but white space and comments may be missing.
    rest = text
    for kind, value in tokens:
        if kind is not Kind.QUOTED:
            before, found, rest = rest.partition(value)
            assert found, (value, before)


def _written(kind: Kind, value: str, vendor: str) -> str:
    if kind is not Kind.QUOTED:
        return value
    quote = "`" if vendor == "mysql" else '"'
    return quote + value.replace(quote, quote * 2) + quote


@each_vendor
@given(literal=st.text(alphabet=st.characters(exclude_characters="\\\x00", exclude_categories=["Cs"])))
@settings(max_examples=200, deadline=None)
def test_nothing_in_a_literal_gets_out(vendor, literal):
    quoted = "'" + literal.replace("'", "''") + "'"
    tokens = lex(f"a {quoted} b", vendor)

    assert tokens == [(Kind.WORD, "a"), (Kind.LITERAL, quoted), (Kind.WORD, "b")]


@each_vendor
@given(name=st.text(alphabet=st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), min_size=1))
@settings(max_examples=200, deadline=None)
def test_nothing_in_a_quoted_name_gets_out(vendor, name):
    quoted = _written(Kind.QUOTED, name, vendor)

    assert lex(f"a {quoted} b", vendor) == [(Kind.WORD, "a"), (Kind.QUOTED, name), (Kind.WORD, "b")]


@each_vendor
@pytest.mark.parametrize(
    "text",
    [
        "'" * 20_001,
        '"' * 20_001,
        "/*" * 10_000,
        "/*" * 10_000 + "*/" * 10_000,
        "(" * 50_000,
        "-" * 50_000,
        "$" * 20_000,
        "$a" * 10_000,
        "\\" * 20_000,
        "e'" + "\\" * 20_001,
        "%" * 20_000,
        "/" * 20_000,
        "*" * 20_000,
        "1" * 20_000,
        "a" * 50_000,
        "/*" + "*" * 20_000,
        "/*" + "/" * 20_000,
        "'" + "''" * 20_000,
        " " * 50_000,
        "[" * 20_000,
        "e" * 20_000 + "'",
        ".1" * 10_000,
        "/*" + "/**/" * 5_000,
        "/*/*/*" + "* " * 10_000,
        "e'a'\n" * 5_000,
        "E'x' " * 5_000,
    ],
    ids=lambda text: f"{text[:6]!r}*{len(text)}",
)
def test_no_text_takes_long(vendor, text):
    started = time.process_time()
    lex(text, vendor)

    assert time.process_time() - started < 1


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
        "U&'a'": None,
        'U&"a"': None,
        "x'0f' B'1' n'a'": ["l:x'0f'", "l:B'1'", "l:n'a'"],
        "$$ ' $$": ["l:$$ ' $$"],
        "$a$ $$ ' $b$ $a$": ["l:$a$ $$ ' $b$ $a$"],
        "$a$ $A$": None,
        "a$b$c": ["w:a$b$c"],
        "$1 $12": ["p:$1", "p:$12"],
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
        "/*+ SET_VAR(x=1) */": None,
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
        "x'0f'": ["l:x'0f'"],
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


def test_no_rule_matches_nothing():
    from ormcache.sql import lexer

    for vendor in VENDORS:
        for rule, _ in lexer._RULES[vendor]:
            assert not re.fullmatch(rule, "", re.IGNORECASE), rule
