"""Possessive quantifiers, and the atomic groups that stand for them where they are read wrong."""

from __future__ import annotations

import re

import pytest

from ormcache.sql import lexer
from ormcache.utils import patterns
from ormcache.utils.patterns import compile_pattern, with_atomic_groups
from tests import corpus

TEXTS = sorted({row.sql for row in corpus.rows()})


@pytest.mark.parametrize(
    "pattern, expected",
    [
        ("a*+b", "(?>a*)b"),
        (r"[^'\\]*+\++", r"(?>[^'\\]*)\++"),
        (r"[*+]+", r"[*+]+"),
        (r"[\]*+]++", r"(?>[\]*+]+)"),
        (r"\*++", r"(?>\*+)"),
        (r"(?:a|b)*c?+", r"(?:a|b)*(?>c?)"),
    ],
)
def test_what_is_written_in_place_of_them(pattern: str, expected: str) -> None:
    assert with_atomic_groups(pattern) == expected


@pytest.mark.parametrize("pattern", [*lexer._LEXERS.values(), lexer._TAGGING_LEXER], ids=lambda pattern: "lexer")
def test_the_lexers_read_the_same_with_either(pattern: re.Pattern[str]) -> None:
    if patterns._IS_PYPY:
        pytest.skip("there is nothing to compare with")
    assert "++" in pattern.pattern
    atomic = re.compile(with_atomic_groups(pattern.pattern), pattern.flags)

    assert with_atomic_groups(atomic.pattern) == atomic.pattern
    for text in TEXTS:
        assert [match.span(1) for match in atomic.finditer(text)] == [match.span(1) for match in pattern.finditer(text)]


def test_each_interpreter_gets_what_it_reads_right(monkeypatch: pytest.MonkeyPatch) -> None:
    assert compile_pattern(r"\w++").pattern == (r"(?>\w+)" if patterns._IS_PYPY else r"\w++")
    monkeypatch.setattr(patterns, "_IS_PYPY", True)
    assert compile_pattern(r"\w++").pattern == r"(?>\w+)"
