"""Cuts a text of SQL into tokens, by the rules of one vendor.

There is one regular expression for each vendor, because a quote or a comment that the database reads by other rules
hides whole tables. Lexers for all dialects at once cannot follow such rules: sqlparse's own rules for comments and
dollar quotes go before any that it is given. A text that the rules do not cover to the last character is not
understood, and nothing is concluded from it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import Enum
from itertools import pairwise

from ormcache.utils.patterns import compile_pattern


class TokenKind(Enum):
    """What a token is."""

    WORD = "word"  # a keyword or an unquoted identifier
    QUOTED = "quoted"  # a quoted identifier; the token's text is what it names
    LITERAL = "literal"
    NUMBER = "number"
    PLACEHOLDER = "placeholder"
    VARIABLE = "variable"  # MySQL's @user and @@system variables
    OPERATOR = "operator"
    PUNCTUATION = "punctuation"


#: (kind, text)
Token = tuple[TokenKind, str]

VENDORS = ("postgresql", "mysql", "sqlite")

#: Characters and tokens. Longer texts are not understood; lists of placeholders and long writes are shortened before.
#: Up to here the whole analysis of a text takes half a second at most, in which no other thread of the process runs.
LONGEST_TEXT = 1 << 20
MOST_PIECES = 100_000

# A quantifier with a second plus (possessive) does not backtrack. Only single characters have one: for groups, Python
# before 3.11.5 gets it wrong (https://github.com/python/cpython/issues/106052). A repeated group backtracks where the
# rule does not fit as a whole, and must not fit any shorter: what follows it cannot begin where a repetition does, nor
# can a closing quote be the first half of a doubled one. So time is linear in the length of a text, and no half of
# a literal is taken for a whole one.
_STRING = r"'[^']*+(?:''[^']*+)*'(?!')"
_IDENTIFIER = r'"[^"]++"(?!")|"(?!"(?!"))[^"]*+(?:""[^"]*+)+"(?!")'
_BACKTICKS = r"`[^`]++`(?!`)|`(?!`(?!`))[^`]*+(?:``[^`]*+)+`(?!`)"
# White space and letters as the databases see them: all that is beyond ASCII can be part of a name, blanks too.
BLANKS = " \t\n\r\f\v"
_LETTER = r"a-zA-Z_\x80-\U0010ffff"
_WORD = rf"[{_LETTER}][{_LETTER}0-9$]*+"
# DB-API placeholders as Django's drivers take them. "%%" is a doubled operator, "5 %score" a remainder, and so is
# "5 %s(1)": no value stands before a parenthesis.
_PYFORMAT = rf"%[sbt](?!\w|[{BLANKS}]*+\()|%\(\w++\)[sbt]"
# A run of operator characters is one token ("<-" is not "< -"), but a comment or a placeholder ends it.
_OPERATORS = rf"(?:%%|(?!--|/\*|{_PYFORMAT})[-+*/<>=~!@#%^&|?])+"
_COMMENT = r"/\*[^*]*+\*++(?:[^/*][^*]*+\*++)*/"
_LINE_COMMENT = r"--[^\n]*+"
_NUMBER = (
    r"0[xX][0-9a-fA-F_]++|0[oO][0-7_]++|0[bB][01_]++"
    r"|(?:[0-9][0-9_]*+(?:\.[0-9_]*+)?|\.[0-9][0-9_]*+)(?:[eE][-+]?[0-9]++)?"
)
_MYSQL_STRING = r"[bBxXnN]?'[^'\\]*+(?:(?:\\[\s\S]|'')[^'\\]*+)*'(?!')"
_MYSQL_NUMBER = r"0x[0-9a-fA-F]++|0b[01]++|[0-9]++\.[0-9]*+(?:[eE][-+]?[0-9]++)?|[0-9]++[eE][-+]?[0-9]++|[0-9]++"
_NUMBERS_OF_MYSQL = compile_pattern(_MYSQL_NUMBER)
_MYSQL_BLANK = r"[\x01-\x09\x0b-\x20\x7f]"  # behind "--", on the same line
# Drivers that put values into the text do so in comments too, which are not a part of the digest.
_FILLED_IN = re.compile(r"%[sbt(]")


def _nested_comment(depth: int) -> str:
    """Return the pattern of PostgreSQL's nested comments, to a fixed depth; deeper ones are not understood."""
    inner = _nested_comment(depth - 1) if depth else r"(?!)"
    return rf"/\*(?:[^*/]++|\*(?!/)|/(?!\*)|{inner})*\*/"


# In the order of how frequent their tokens are, except where one rule matches the beginning of another's tokens. Rules
# that begin with the same characters are distinguished by _kind().
_RULES: dict[str, list[str]] = {
    "postgresql": [
        _IDENTIFIER,
        r"[(),;\[\]]",
        rf"[bBxXnN]'[^']*+'|[uU]&{_STRING}|[uU]&(?:{_IDENTIFIER})",
        r"[eE]'[^'\\]*+(?:(?:\\[\s\S]|'')[^'\\]*+)*'(?!')",
        _WORD,
        _PYFORMAT,
        _STRING,
        _NUMBER,
        r"::|:=|[.:]",
        r"--[^\r\n]*+",  # which only here ends with a carriage return too
        _nested_comment(4),
        _OPERATORS,
        r"\$[0-9]++|\$\$[\s\S]*?\$\$",
        # Has to be the last, because the group that it needs would be one more in every match. Tags are case-sensitive.
        rf"\$(?P<tag>[{_LETTER}][{_LETTER}0-9]*+)\$[\s\S]*?\$(?P=tag)\$",
    ],
    "mysql": [
        _BACKTICKS,
        r"[(),;]",
        _PYFORMAT,
        _MYSQL_STRING,
        r'"[^"\\]*+(?:(?:\\[\s\S]|"")[^"\\]*+)*"(?!")',
        rf"(?:{_MYSQL_NUMBER}|(?<![{_LETTER}0-9$`])\.[0-9]++(?:[eE][-+]?[0-9]++)?)(?![{_LETTER}0-9$])",
        rf"[{_LETTER}0-9$]++",  # names may begin with a digit, also behind a dot
        rf"@@?[{_LETTER}0-9$.`]*+|:=",
        r"\.",
        r"#[^\n]*+",
        rf"--(?:\n|{_MYSQL_BLANK}[^\n]*+|\Z)",
        # Executable comments (/*! … */) are code. A hint is a comment unless it sets a variable.
        rf"(?!/\*(?:!|[mM]!|\+)){_COMMENT}",
        r"/\*\+(?:(?!\*/|[sS][eE][tT]_[vV][aA][rR])[\s\S])*\*/",
        rf"(?:%%|(?!--[\x01-\x20\x7f]|--\Z|/\*|{_PYFORMAT})[-+*/<>=~!%^&|?:])+",
    ],
    "sqlite": [
        _IDENTIFIER,
        r"[(),;]",
        _PYFORMAT,
        rf"[xX]?{_STRING}",
        _WORD,
        _NUMBER,
        r"\.",
        _BACKTICKS,
        r"\[[^\]]++\]",
        rf"\?[0-9]*+|[:@$]{_WORD}",
        _LINE_COMMENT,
        _COMMENT,
        rf"(?:%%|(?!--|/\*|{_PYFORMAT})[-+*/<>=~!%&|])+",
    ],
}
_TAGGED = "(?P<tag>"

#: By vendor: a literal without a prefix that gives it rules of its own, and a number
STRINGS = {"postgresql": _STRING, "mysql": _MYSQL_STRING, "sqlite": _STRING}
NUMBERS = {"postgresql": _NUMBER, "mysql": _MYSQL_NUMBER, "sqlite": _NUMBER}


def _compile(rules: Sequence[str]) -> re.Pattern[str]:
    """Return one pattern of all the rules; it matches the rest of a text that none of them covers as one piece."""
    return compile_pattern(rf"[{BLANKS}]*+({'|'.join(rules)}|[\s\S]++)")


_LEXERS = {vendor: _compile([rule for rule in rules if _TAGGED not in rule]) for vendor, rules in _RULES.items()}
_TAGGING_LEXER = _compile(_RULES["postgresql"])
#: Matches where a token or a comment begins
_COVERED = {vendor: compile_pattern("|".join(rules)) for vendor, rules in _RULES.items()}

# In place of a kind: the first character does not decide
_UNCLEAR = None


def _first_characters(**kinds: str) -> dict[str, TokenKind | None]:
    """Return the kind of token that begins with each character; with any other one, a word begins."""
    found: dict[str, TokenKind | None] = dict.fromkeys("0123456789", TokenKind.NUMBER)
    found |= dict.fromkeys("+*<>=~!^&|#@?", TokenKind.OPERATOR) | dict.fromkeys("(),;", TokenKind.PUNCTUATION)
    found |= dict.fromkeys("bBxXnN.-/%", _UNCLEAR) | {"'": TokenKind.LITERAL}
    for name, characters in kinds.items():
        found |= dict.fromkeys(characters, _UNCLEAR if name == "unclear" else TokenKind[name.upper()])
    return found


_KINDS = {
    "postgresql": _first_characters(quoted='"', punctuation="[]", unclear="eEuU$:"),
    "mysql": _first_characters(quoted="`", literal='"', variable="@", unclear="0123456789#:"),
    "sqlite": _first_characters(quoted='"`[', placeholder="?:@$"),
}


def _kind(piece: str, vendor: str) -> TokenKind | None:
    """Return the kind of a piece whose first character does not decide it; None for a comment."""
    first, last = piece[0], piece[-1]
    if first == ".":
        return TokenKind.PUNCTUATION if piece == "." else TokenKind.NUMBER
    if first == "%":
        return TokenKind.PLACEHOLDER if last in "sbt" else TokenKind.OPERATOR
    if first == "#":
        return None
    if first in "-/":
        comment = piece.startswith(("--", "/*"))
        if comment and vendor == "mysql" and first == "-":
            comment = len(piece) > 2 and (piece[2] <= " " or piece[2] == "\x7f")
        return None if comment else TokenKind.OPERATOR
    if first == ":":
        if vendor == "mysql":
            return TokenKind.VARIABLE if piece == ":=" else TokenKind.OPERATOR
        return TokenKind.OPERATOR if piece == ":=" else TokenKind.PUNCTUATION
    if first == "$":
        return TokenKind.LITERAL if last == "$" else TokenKind.PLACEHOLDER
    if first.isdigit():
        return TokenKind.NUMBER if _NUMBERS_OF_MYSQL.fullmatch(piece) else TokenKind.WORD
    return TokenKind.LITERAL if last == "'" else TokenKind.QUOTED if last == '"' else TokenKind.WORD


def lex(text: str, vendor: str) -> list[Token] | None:
    """Return the tokens of a text, without white space and comments, or None if it is not understood.

    It is not if the vendor's rules do not cover it, or if the driver puts a value into a comment.
    """
    if len(text) > LONGEST_TEXT or "\0" in text:  # databases do not agree on where a text with a NUL ends
        return None
    text = text.rstrip(BLANKS)
    if vendor == "postgresql" and "$" in text:
        pieces = [match[1] for match in _TAGGING_LEXER.finditer(text)]
    else:
        pieces = _LEXERS[vendor].findall(text)
    if not pieces:
        return []
    if len(pieces) > MOST_PIECES or not _COVERED[vendor].match(text, len(text) - len(pieces[-1])):
        return None
    if vendor == "mysql" and pieces[-1] == "--":
        del pieces[-1]  # at the end it is a comment
    kinds = _KINDS[vendor]
    found: list[Token] = []
    prefixed = False
    for piece in pieces:
        kind = kinds.get(piece[0], TokenKind.WORD)
        if kind is _UNCLEAR:
            kind = _kind(piece, vendor)
            if kind is None:
                if "%" in piece and _FILLED_IN.search(piece):
                    return None
                continue
            prefixed = prefixed or kind is TokenKind.LITERAL
        if kind is TokenKind.QUOTED:
            quote, name = piece[0], piece[1:-1]
            if quote in "uU":
                return None  # with escapes of its own
            if quote in name and quote != "[":
                name = name.replace(quote * 2, quote)
            found.append((kind, name))
        else:
            found.append((kind, piece))
    return None if prefixed and vendor == "postgresql" and _continues_with_escapes(found) else found


def next_piece(text: str, at: int, vendor: str) -> tuple[int, int]:
    """Return begin and end of the next token or comment from ``at`` on.

    If no rule covers it, that is the rest of the text: see :func:`is_covered`.
    """
    lexer = _TAGGING_LEXER if vendor == "postgresql" else _LEXERS[vendor]
    match = lexer.match(text, at)
    return (len(text), len(text)) if match is None else match.span(1)


def is_covered(text: str, at: int, vendor: str) -> bool:
    """Return whether a token or a comment begins at ``at``."""
    return _COVERED[vendor].match(text, at) is not None


def _continues_with_escapes(tokens: list[Token]) -> bool:
    """PostgreSQL: return whether a string with escapes goes on in another line, where it has escapes and no prefix."""
    return any(one is other is TokenKind.LITERAL and text[0] in "eEuU" for (one, text), (other, _) in pairwise(tokens))


def spans(text: str, vendor: str) -> list[tuple[TokenKind | None, int, int]] | None:
    """Return kind (None: a comment), begin and end of each token; None if :func:`lex` returns None."""
    if lex(text, vendor) is None:
        return None
    lexer = _TAGGING_LEXER if vendor == "postgresql" and "$" in text else _LEXERS[vendor]
    kinds = _KINDS[vendor]
    found: list[tuple[TokenKind | None, int, int]] = []
    for match in lexer.finditer(text.rstrip(BLANKS)):
        piece = match[1]
        kind = kinds.get(piece[0], TokenKind.WORD)
        found.append((_kind(piece, vendor) if kind is _UNCLEAR else kind, *match.span(1)))
    return found
