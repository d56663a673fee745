"""Finds the settings that policies and functions of PostgreSQL read by ``current_setting('name')``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TypeGuard

_SPACE = r"(?:\s|--[^\n]*\n|/\*.*?\*/)*"
_CALL = re.compile(
    rf"""current_setting"?{_SPACE}\({_SPACE}(?:'([^'\\]*)'(?:::text)?\s*[,)])?""", re.IGNORECASE | re.DOTALL
)

#: Settings that follow from the server and the user of a session, both of which are known
_IMPLIED = frozenset(
    "is_superuser role server_encoding server_version server_version_num session_authorization".split()
)
#: Settings of the server's own whose values are known in each session: each new session is asked for them
#: (``_SERVER`` in :mod:`ormcache.catalog.postgresql`), or they are implied
ASKED = _IMPLIED | frozenset(
    """
    array_nulls bytea_output client_encoding datestyle default_text_search_config extra_float_digits
    gin_fuzzy_search_limit intervalstyle lc_monetary lc_numeric lc_time quote_all_identifiers row_security search_path
    timezone timezone_abbreviations transform_null_equals xmlbinary xmloption
    """.split()
)


def settings_read(texts: Iterable[str | None]) -> frozenset[str]:
    """Return the names, folded, of the settings that pieces of code read; "" for a name that is not a literal."""
    return frozenset(
        (match.group(1) or "").lower() for text in texts if text is not None for match in _CALL.finditer(text)
    )


def is_custom(name: object) -> TypeGuard[str]:
    """Return whether this is the name of a custom setting of PostgreSQL: an application's or an extension's.

    Its name has a dot, and the server has no default for it.
    """
    return isinstance(name, str) and "." in name
