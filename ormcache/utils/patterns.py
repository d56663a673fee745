"""Regular expressions with possessive quantifiers, which PyPy reads wrong."""

from __future__ import annotations

import re
import sys

_ONE_CHARACTER = re.compile(r"(\[(?:\\.|[^\]\\])*\]|\\.|.)(?:([*+?])\+)?", re.DOTALL)
_IS_PYPY = sys.implementation.name == "pypy"


def compile_pattern(pattern: str, flags: int = 0) -> re.Pattern[str]:
    """Compile a pattern whose possessive quantifiers (``*+``, ``++``) each repeat a single character.

    Where one of them fails to match at the beginning of an alternative, PyPy 7.3 loses the group around it. Atomic
    groups, which mean the same, it reads right.
    """
    return re.compile(with_atomic_groups(pattern) if _IS_PYPY else pattern, flags)


def with_atomic_groups(pattern: str) -> str:
    """Return the same pattern with ``(?>x*)`` in the place of ``x*+``."""
    return _ONE_CHARACTER.sub(lambda match: f"(?>{match[1]}{match[2]})" if match[2] else match[0], pattern)
