"""Texts without the values that stand in them."""

from __future__ import annotations

import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ormcache.sql import UNKNOWN_VENDOR, VENDORS, mask_literals
from ormcache.sql.generic import lex_other
from ormcache.sql.lexer import Token, TokenKind, lex
from tests.examples import examples
from tests.oracle import mutated

each_vendor = pytest.mark.parametrize("vendor", [*VENDORS, UNKNOWN_VENDOR])

SECRET = "hunter"


def tokens(text: str, vendor: str) -> list[Token] | None:
    return lex_other(text) if vendor == UNKNOWN_VENDOR else lex(text, vendor)


@each_vendor
@pytest.mark.parametrize(
    "text, shown",
    [
        ("SELECT a FROM b WHERE c = %s", "SELECT a FROM b WHERE c = %s"),
        ("select  a\n from b", "select  a\n from b"),
        ("SELECT 'hunter', 12, 1.5e3, .5, -7", "SELECT ?, ?, ?, ?, -?"),
        ("SELECT a FROM b WHERE c = 'it''s' LIMIT 21", "SELECT a FROM b WHERE c = ? LIMIT ?"),
        ("SELECT a FROM b WHERE c LIKE '%%hunter'", "SELECT a FROM b WHERE c LIKE ?"),
        ("SELECT t1.c2 FROM t1", "SELECT t1.c2 FROM t1"),
        ("SELECT NULL, TRUE, COUNT(*)", "SELECT NULL, TRUE, COUNT(*)"),
        ("UPDATE a SET b = 'hunter", "UPDATE …"),
        ("'hunter", "…"),
        ("", ""),
    ],
)
def test_values_are_masked_and_the_rest_stays(vendor, text, shown):
    assert mask_literals(text, vendor) == shown


@pytest.mark.parametrize(
    "vendor, text, shown",
    [
        ("postgresql", "SELECT E'hun\\'ter', $$hunter$$, $a$ $$ hunter $a$, B'1', U&'hunter'", "SELECT ?, ?, ?, ?, ?"),
        ("postgresql", 'SELECT "Hunter \'s", x::text[1]', 'SELECT "Hunter \'s", x::text[?]'),
        ("postgresql", "SELECT $1, DATE '2020-01-01'", "SELECT $1, DATE ?"),
        ("postgresql", 'SELECT U&"hunter" FROM a', "SELECT …"),
        ("mysql", "SELECT \"hunter\", 'hun\\'ter', x'41', 0x41, `a'b`, @b", "SELECT ?, ?, ?, ?, `a'b`, @b"),
        ("mysql", "SELECT _utf8mb4'hunter' # hunter", "SELECT _utf8mb4?"),
        ("sqlite", 'SELECT "a"."b", [a b], "hunter@example.org", x\'41\'', 'SELECT "a"."b", [a b], ?, ?'),
        (UNKNOWN_VENDOR, "SELECT q'[hunter]' FROM a", "SELECT …"),
        ("oracle", "SELECT 'hunter' FROM \"A\"", 'SELECT ? FROM "A"'),
    ],
)
def test_values_as_one_vendor_spells_them(vendor, text, shown):
    assert mask_literals(text, vendor) == shown


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize(
    "text, shown",
    [
        ("/* user=hunter */ SELECT a", "SELECT a"),
        ("SELECT a -- hunter\n FROM b -- hunter", "SELECT a \n FROM b"),
        ("SELECT a/*hunter*/FROM b", "SELECT a FROM b"),
        ("SELECT 2-/*hunter*/-1", "SELECT ?- -?"),
    ],
)
def test_comments_are_left_out(vendor, text, shown):
    assert mask_literals(text, vendor) == shown


def quoted(vendor: str, content: str) -> st.SearchStrategy[str]:
    """Spellings of one text as a literal."""
    plain = "'" + content.replace("'", "''") + "'"
    escaped = content.replace("\\", "\\\\").replace("'", "\\'")
    if vendor == "postgresql":
        tag = "$" + "".join(sorted(set(re.findall("[a-z]", content)))) + "zz$"
        return st.sampled_from([plain, f"E'{escaped}'", f"{tag}{content}{tag}"])
    if vendor == "mysql":
        double = content.replace("\\", "\\\\").replace('"', '""')
        return st.sampled_from([f"'{escaped}'", f'"{double}"', f"N'{escaped}'"])
    return st.just(plain)


contents = st.lists(st.sampled_from([SECRET, *"'\"\\`$;%#-/*[]() \n", "--", "/*", "*/", "$$", "é"])).map("".join)


@settings(max_examples=examples(500))
@given(st.sampled_from(VENDORS), st.lists(contents, min_size=1, max_size=4), st.data())
def test_no_content_of_a_literal_survives(vendor, found, data):
    text = "SELECT a"
    for content in found:
        text += f", {data.draw(quoted(vendor, SECRET + content))}, %s AS b"

    shown = mask_literals(text, vendor)

    assert SECRET not in shown
    assert shown in ("SELECT …", "SELECT a" + ", ?, %s AS b" * len(found))


@settings(max_examples=examples(1000))
@given(st.sampled_from([*VENDORS, UNKNOWN_VENDOR]), st.integers(0, 2**32).map(random.Random))
def test_what_is_shown_is_the_text_without_its_values(vendor, chance):
    """Read again, it has no value, and all other tokens in their order."""
    text = mutated.mutated(vendor, chance) if vendor in VENDORS and chance.random() < 0.5 else mutated.soup(chance)
    found = tokens(text, vendor)
    shown = mask_literals(text, vendor)
    if found is None:
        assert re.fullmatch(r"([a-zA-Z]+ )?…", shown)
        return
    again = tokens(shown, vendor)

    assert again is not None, shown
    assert {kind for kind, _ in again}.isdisjoint(VALUES)
    assert without_values(again, vendor) == without_values(found, vendor)


VALUES = {TokenKind.LITERAL, TokenKind.NUMBER}


def without_values(found: list[Token], vendor: str) -> str:
    """In SQLite a name that is more than a word may be one."""
    strange = [
        vendor == "sqlite" and kind is TokenKind.QUOTED and not re.fullmatch(r"\w+", name) for kind, name in found
    ]
    pieces = zip(found, strange, strict=True)
    return "".join("?" if kind in VALUES or value else piece for (kind, piece), value in pieces)


@given(st.sampled_from([*VENDORS, UNKNOWN_VENDOR, "oracle"]), st.text())
def test_any_text(vendor, text):
    assert isinstance(mask_literals(text, vendor), str)
