"""One text of SQL, cut into tokens by the rules of one vendor.

One regular expression a vendor, because a quote or a comment that the database reads by other rules hides whole
tables; lexers that serve all dialects at once (sqlparse's among them, whose own rules for comments and dollar
quotes go before any that it is given) cannot be told such things. A text that the rules do not cover to the last
character is not understood, and nothing is concluded from it.
"""

from __future__ import annotations

import re
from enum import Enum


class Kind(Enum):
    WORD = "word"  # a keyword or an unquoted identifier
    QUOTED = "quoted"  # a quoted identifier; the token's text is what it names
    LITERAL = "literal"
    NUMBER = "number"
    PLACEHOLDER = "placeholder"
    VARIABLE = "variable"  # MySQL's @user and @@system variables
    OPERATOR = "operator"
    PUNCTUATION = "punctuation"


#: (kind, text)
Token = tuple[Kind, str]

VENDORS = ("postgresql", "mysql", "sqlite")

_SKIPPED = "skipped"  # white space and comments
_FOREIGN = "foreign"  # what is not understood

# DB-API placeholders as Django's drivers take them. "%%" is a doubled operator, "5 %score" a remainder.
_PYFORMAT = r"%[sbt](?!\w)|%\(\w+\)[sbt]"
# A run of operator characters is one token ("<-" is not "< -"), but a comment or a placeholder ends it.
_OPERATORS = r"(?:%%|(?!--|/\*|%[sbt](?!\w)|%\(\w+\)[sbt])[-+*/<>=~!@#%^&|?])+"
_PLAIN_COMMENT = r"/\*[^*]*\*+(?:[^/*][^*]*\*+)*/"
_NUMBERS = r"(?:\d[\d_]*(?:\.\d*)?|\.\d+)(?:e[-+]?\d+)?"


def _nested_comment(depth: int) -> str:
    """PostgreSQL nests comments; a regular expression does so to a fixed depth, deeper ones are not understood."""
    inner = _nested_comment(depth - 1) if depth else r"(?!)"
    return rf"/\*(?:[^*/]|\*(?!/)|/(?!\*)|{inner})*\*/"


_RULES: dict[str, list[tuple[str, Kind | str]]] = {
    "postgresql": [
        (r"\s+", _SKIPPED),
        (r"--[^\r\n]*", _SKIPPED),
        (_nested_comment(4), _SKIPPED),
        (r'"(?:[^"]|"")+"', Kind.QUOTED),
        (_PYFORMAT, Kind.PLACEHOLDER),
        (r"'(?:[^']|'')*'", Kind.LITERAL),
        # A string that goes on in the next line keeps its escape rules, which the rule above would not see.
        (r"e'(?:[^'\\]|\\[\s\S]|'')*'(?!\s*[\r\n]\s*')", Kind.LITERAL),
        (r"[bxn]'[^']*'", Kind.LITERAL),
        (r"(?:e|u&)['\"]", _FOREIGN),
        (r"\$\$[\s\S]*?\$\$", Kind.LITERAL),
        # The tag counts as it is written, small letters and capitals.
        (r"\$(?P<tag>[^\W\d]\w*)\$[\s\S]*?\$(?-i:(?P=tag))\$", Kind.LITERAL),
        (r"\$\d+", Kind.PLACEHOLDER),
        (r"[^\W\d][\w$]*", Kind.WORD),
        (_NUMBERS, Kind.NUMBER),
        (r"::|[(),;.:\[\]]", Kind.PUNCTUATION),
        (_OPERATORS, Kind.OPERATOR),
    ],
    "mysql": [
        (r"\s+", _SKIPPED),
        (r"#[^\r\n]*", _SKIPPED),
        (r"--(?=\s|$)[^\r\n]*", _SKIPPED),
        # Executable comments are code, and hints can set variables.
        (r"/\*(?:!|\+|M!)", _FOREIGN),
        (_PLAIN_COMMENT, _SKIPPED),
        (r"`(?:[^`]|``)+`", Kind.QUOTED),
        (_PYFORMAT, Kind.PLACEHOLDER),
        (r"[bxn]?'(?:[^'\\]|\\[\s\S]|'')*'", Kind.LITERAL),
        (r'"(?:[^"\\]|\\[\s\S]|"")*"', Kind.LITERAL),
        (r"@@?[\w$.`]*|:=", Kind.VARIABLE),
        # Unquoted names may begin with a digit, also behind a dot.
        (r"(?:\d+\.\d*|(?<![\w$`])\.\d+)(?:e[-+]?\d+)?(?![\w$])|\d+e[-+]?\d+(?![\w$])|\d+(?![\w$])", Kind.NUMBER),
        (r"[\w$]+", Kind.WORD),
        (r"[(),;.]", Kind.PUNCTUATION),
        (r"(?:%%|(?!--\s|--$|/\*|#|@|%[sbt](?!\w)|%\(\w+\)[sbt])[-+*/<>=~!%^&|?:])+", Kind.OPERATOR),
    ],
    "sqlite": [
        (r"\s+", _SKIPPED),
        (r"--[^\r\n]*", _SKIPPED),
        (_PLAIN_COMMENT, _SKIPPED),
        (r'"(?:[^"]|"")+"', Kind.QUOTED),
        (r"`(?:[^`]|``)+`", Kind.QUOTED),
        (r"\[[^\]]+\]", Kind.QUOTED),
        (_PYFORMAT, Kind.PLACEHOLDER),
        (r"x?'(?:[^']|'')*'", Kind.LITERAL),
        (r"\?\d*|[:@$][^\W\d]\w*", Kind.PLACEHOLDER),
        (r"[^\W\d][\w$]*", Kind.WORD),
        (_NUMBERS, Kind.NUMBER),
        (r"[(),;.]", Kind.PUNCTUATION),
        (r"(?:%%|(?!--|/\*|%[sbt](?!\w)|%\(\w+\)[sbt])[-+*/<>=~!%&|])+", Kind.OPERATOR),
    ],
}


def _compiled(vendor: str) -> tuple[re.Pattern[str], dict[str, Kind | str]]:
    """The vendor's rules as one pattern, each a group of its own, and what each group stands for."""
    groups = {f"rule{number}": kind for number, (_, kind) in enumerate(_RULES[vendor])}
    pattern = "|".join(f"(?P<{group}>{rule})" for group, (rule, _) in zip(groups, _RULES[vendor], strict=True))
    return re.compile(pattern, re.IGNORECASE), groups


_LEXERS = {vendor: _compiled(vendor) for vendor in VENDORS}


def lex(text: str, vendor: str) -> list[Token] | None:
    """The tokens of ``text`` without white space and comments, or None where the vendor's rules do not cover it."""
    pattern, groups = _LEXERS[vendor]
    found: list[Token] = []
    position = 0
    for match in pattern.finditer(text):
        if match.start() != position:
            return None
        position = match.end()
        kind = groups[match.lastgroup or ""]
        if kind is _SKIPPED:
            continue
        if not isinstance(kind, Kind):
            return None
        value = match.group()
        if kind is Kind.QUOTED:
            close = "]" if value[0] == "[" else value[0]
            value = value[1:-1].replace(close * 2, close)
        found.append((kind, value))
    return found if position == len(text) else None
