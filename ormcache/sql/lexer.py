"""One text of SQL, cut into tokens by the rules of one vendor.

One regular expression a vendor, because a quote or a comment that the database reads by other rules hides whole
tables; lexers that serve all dialects at once (sqlparse's among them, whose own rules for comments and dollar
quotes go before any that it is given) cannot be told such things. A text that the rules do not cover to the last
character is not understood, and nothing is concluded from it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import Enum
from itertools import pairwise


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

#: Longer texts, and those in more pieces, are not read at all. Up to here a text takes half a second at most, all of
#: its analysis counted, and no other thread of the process runs meanwhile. Lists of parameters are cut before.
LONGEST_TEXT = 1 << 20
MOST_PIECES = 100_000

# The quantifiers with a second plus give nothing back: where they match as far as they can and what follows does not
# fit, there is no shorter reading. So time grows with the length of a text and not faster, and no half of
# a literal is taken for a whole one.
_STRING = r"'[^']*+(?:''[^']*+)*+'"
_IDENTIFIER = r'"(?!"(?!"))[^"]*+(?:""[^"]*+)*+"'
_BACKTICKS = r"`(?!`(?!`))[^`]*+(?:``[^`]*+)*+`"
# White space and letters as the databases see them: all that is beyond ASCII can be part of a name, blanks too.
_BLANKS = " \t\n\r\f\v"
_LETTER = r"a-zA-Z_\x80-\U0010ffff"
_WORD = rf"[{_LETTER}][{_LETTER}0-9$]*+"
# DB-API placeholders as Django's drivers take them. "%%" is a doubled operator, "5 %score" a remainder, and so is
# "5 %s(1)": no value stands before a parenthesis.
_PYFORMAT = rf"%[sbt](?!\w|[{_BLANKS}]*+\()|%\(\w++\)[sbt]"
# A run of operator characters is one token ("<-" is not "< -"), but a comment or a placeholder ends it.
_OPERATORS = rf"(?:%%|(?!--|/\*|{_PYFORMAT})[-+*/<>=~!@#%^&|?])++"
_COMMENT = r"/\*[^*]*+\*++(?:[^/*][^*]*+\*++)*+/"
_LINE_COMMENT = r"--[^\n]*+"
_NUMBER = (
    r"0[xX][0-9a-fA-F_]++|0[oO][0-7_]++|0[bB][01_]++"
    r"|(?:[0-9][0-9_]*+(?:\.[0-9_]*+)?|\.[0-9][0-9_]*+)(?:[eE][-+]?[0-9]++)?"
)
_MYSQL_NUMBER = r"0x[0-9a-fA-F]++|0b[01]++|[0-9]++\.[0-9]*+(?:[eE][-+]?[0-9]++)?|[0-9]++[eE][-+]?[0-9]++|[0-9]++"
_NUMBERS_OF_MYSQL = re.compile(_MYSQL_NUMBER)
_MYSQL_BLANK = r"[\x01-\x09\x0b-\x20\x7f]"  # behind "--", on the same line
# Drivers that put the values into the text do so in comments too, where no two texts would be told apart by them.
_FILLED_IN = re.compile(r"%[sbt(]")


def _nested_comment(depth: int) -> str:
    """PostgreSQL nests comments; a regular expression does so to a fixed depth, deeper ones are not understood."""
    inner = _nested_comment(depth - 1) if depth else r"(?!)"
    return rf"/\*(?:[^*/]++|\*(?!/)|/(?!\*)|{inner})*+\*/"


# By the frequency of what they are for, as far as one is not the beginning of another. No two begin alike that are not
# told apart by _kind().
_RULES: dict[str, list[str]] = {
    "postgresql": [
        _IDENTIFIER,
        r"[(),;\[\]]",
        rf"[bBxXnN]'[^']*+'|[uU]&{_STRING}|[uU]&{_IDENTIFIER}",
        r"[eE]'[^'\\]*+(?:(?:\\[\s\S]|'')[^'\\]*+)*+'",
        _WORD,
        _PYFORMAT,
        _STRING,
        _NUMBER,
        r"::|:=|[.:]",
        r"--[^\r\n]*+",  # which only here ends with a carriage return too
        _nested_comment(4),
        _OPERATORS,
        r"\$[0-9]++|\$\$[\s\S]*?\$\$",
        # Has to be the last: the group that it needs would be one more in every match. Its tag counts as it is written.
        rf"\$(?P<tag>[{_LETTER}][{_LETTER}0-9]*+)\$[\s\S]*?\$(?P=tag)\$",
    ],
    "mysql": [
        _BACKTICKS,
        r"[(),;]",
        _PYFORMAT,
        r"[bBxXnN]?'[^'\\]*+(?:(?:\\[\s\S]|'')[^'\\]*+)*+'",
        r'"[^"\\]*+(?:(?:\\[\s\S]|"")[^"\\]*+)*+"',
        rf"(?:{_MYSQL_NUMBER}|(?<![{_LETTER}0-9$`])\.[0-9]++(?:[eE][-+]?[0-9]++)?)(?![{_LETTER}0-9$])",
        rf"[{_LETTER}0-9$]++",  # names may begin with a digit, also behind a dot
        rf"@@?[{_LETTER}0-9$.`]*+|:=",
        r"\.",
        r"#[^\n]*+",
        rf"--(?:\n|{_MYSQL_BLANK}[^\n]*+|\Z)",
        # Executable comments are code. A hint is a comment unless it sets a variable.
        rf"(?!/\*(?:!|[mM]!|\+)){_COMMENT}",
        r"/\*\+(?:(?!\*/|[sS][eE][tT]_[vV][aA][rR])[\s\S])*+\*/",
        rf"(?:%%|(?!--[\x01-\x20\x7f]|--\Z|/\*|{_PYFORMAT})[-+*/<>=~!%^&|?:])++",
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
        rf"(?:%%|(?!--|/\*|{_PYFORMAT})[-+*/<>=~!%&|])++",
    ],
}
_TAGGED = "(?P<tag>"


def _compiled(rules: Sequence[str]) -> re.Pattern[str]:
    """One pattern of all the rules, that takes the rest of a text which none of them covers for one piece."""
    return re.compile(rf"[{_BLANKS}]*+({'|'.join(rules)}|[\s\S]++)")


_LEXERS = {vendor: _compiled([rule for rule in rules if _TAGGED not in rule]) for vendor, rules in _RULES.items()}
_TAGGING_LEXER = _compiled(_RULES["postgresql"])
#: What no rule covers, at a place where a piece begins
_COVERED = {vendor: re.compile("|".join(rules)) for vendor, rules in _RULES.items()}

# A kind that the first character does not tell
_UNCLEAR = None


def _first_characters(**kinds: str) -> dict[str, Kind | None]:
    """Character → the kind of what begins with it; where it is missing, a word begins."""
    found: dict[str, Kind | None] = dict.fromkeys("0123456789", Kind.NUMBER)
    found |= dict.fromkeys("+*<>=~!^&|#@?", Kind.OPERATOR) | dict.fromkeys("(),;", Kind.PUNCTUATION)
    found |= dict.fromkeys("bBxXnN.-/%", _UNCLEAR) | {"'": Kind.LITERAL}
    for name, characters in kinds.items():
        found |= dict.fromkeys(characters, _UNCLEAR if name == "unclear" else Kind[name.upper()])
    return found


_KINDS = {
    "postgresql": _first_characters(quoted='"', punctuation="[]", unclear="eEuU$:"),
    "mysql": _first_characters(quoted="`", literal='"', variable="@", unclear="0123456789#:"),
    "sqlite": _first_characters(quoted='"`[', placeholder="?:@$"),
}


def _kind(piece: str, vendor: str) -> Kind | None:
    """Of a piece whose first character does not tell; None: a comment."""
    first, last = piece[0], piece[-1]
    if first == ".":
        return Kind.PUNCTUATION if piece == "." else Kind.NUMBER
    if first == "%":
        return Kind.PLACEHOLDER if last in "sbt" else Kind.OPERATOR
    if first == "#":
        return None
    if first in "-/":
        comment = piece.startswith(("--", "/*"))
        if comment and vendor == "mysql" and first == "-":
            comment = len(piece) > 2 and (piece[2] <= " " or piece[2] == "\x7f")
        return None if comment else Kind.OPERATOR
    if first == ":":
        if vendor == "mysql":
            return Kind.VARIABLE if piece == ":=" else Kind.OPERATOR
        return Kind.OPERATOR if piece == ":=" else Kind.PUNCTUATION
    if first == "$":
        return Kind.LITERAL if last == "$" else Kind.PLACEHOLDER
    if first.isdigit():
        return Kind.NUMBER if _NUMBERS_OF_MYSQL.fullmatch(piece) else Kind.WORD
    return Kind.LITERAL if last == "'" else Kind.QUOTED if last == '"' else Kind.WORD


def lex(text: str, vendor: str) -> list[Token] | None:
    """The tokens of ``text`` without white space and comments, or None where it is not understood.

    That is where the vendor's rules do not cover it, and where a value is to be put into a comment.
    """
    if len(text) > LONGEST_TEXT or "\0" in text:  # databases do not agree on where a text with a NUL ends
        return None
    text = text.rstrip(_BLANKS)
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
        kind = kinds.get(piece[0], Kind.WORD)
        if kind is _UNCLEAR:
            kind = _kind(piece, vendor)
            if kind is None:
                if "%" in piece and _FILLED_IN.search(piece):
                    return None
                continue
            prefixed = prefixed or kind is Kind.LITERAL
        if kind is Kind.QUOTED:
            quote, name = piece[0], piece[1:-1]
            if quote in "uU":
                return None  # with escapes of its own
            if quote in name and quote != "[":
                name = name.replace(quote * 2, quote)
            found.append((kind, name))
        else:
            found.append((kind, piece))
    return None if prefixed and vendor == "postgresql" and _goes_on(found) else found


def _goes_on(tokens: list[Token]) -> bool:
    """PostgreSQL: does a string with escapes go on in another line? The second half has them too, and no prefix."""
    return any(one is other is Kind.LITERAL and text[0] in "eEuU" for (one, text), (other, _) in pairwise(tokens))


def spans(text: str, vendor: str) -> list[tuple[Kind | None, int, int]] | None:
    """Where the tokens of ``text`` begin and end, comments (None) among them; None where :func:`lex` gives None."""
    if lex(text, vendor) is None:
        return None
    lexer = _TAGGING_LEXER if vendor == "postgresql" and "$" in text else _LEXERS[vendor]
    kinds = _KINDS[vendor]
    found: list[tuple[Kind | None, int, int]] = []
    for match in lexer.finditer(text.rstrip(_BLANKS)):
        piece = match[1]
        kind = kinds.get(piece[0], Kind.WORD)
        found.append((_kind(piece, vendor) if kind is _UNCLEAR else kind, *match.span(1)))
    return found
