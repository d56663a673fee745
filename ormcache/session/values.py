"""Reads what statements set settings to, with the parameters that the program has given for their placeholders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ormcache.cache.keys import Unkeyable, exact_text
from ormcache.sql import Parameter, SessionChange, setting_change


class Several:
    """Stands for a statement's parameters when it may run with several sets of them, with none at all, or later."""

    __slots__ = ("sets",)

    def __init__(self, sets: Sequence[Any] | None = None) -> None:
        """``sets``: all of those that it runs with; None: they are not known."""
        self.sets = sets


SEVERAL = Several()

#: Settings of MySQL that change one another: the order in which they were set counts
_ORDERED = ("names", "character", "collation")


@dataclass(frozen=True, slots=True)
class GivenValue:
    """A parameter that the program has given for a placeholder."""

    form: str  # equal for equal values of one type only
    text: str | None  # the value itself if it is a str, else None


@dataclass(frozen=True, slots=True)
class SettingValue:
    """What a setting was set to, in tokens of SQL."""

    whole: bool  # one string, as set_config() takes it, and not a list of items
    items: tuple[str | GivenValue, ...] | None  # None: its default


#: Name of a setting → its value, in the order in which they were set
Settings = dict[str, SettingValue]

#: How PostgreSQL reads a string as a boolean, unless it is abbreviated:
#: https://www.postgresql.org/docs/current/datatype-boolean.html
_BOOLEANS = {
    **dict.fromkeys(("true", "t", "yes", "on", "1"), True),
    **dict.fromkeys(("false", "f", "no", "off", "0"), False),
}

#: What set_config() takes for the default
NULL = (GivenValue(exact_text((None,)), None),)


def without(name: str, settings: Settings) -> Settings:
    """Return a copy of the settings without the one of this name."""
    return {other: value for other, value in settings.items() if other != name}


def sort_key(item: tuple[str, SettingValue]) -> tuple[bool, str]:
    """Return the key that sorts settings by name, but for those that change one another: these stay in their order."""
    name, _ = item
    ordered = name.startswith(_ORDERED)
    return ordered, "" if ordered else name


def resolve_change(change: SessionChange, params: Any) -> SessionChange | None:
    """Return the change with the parameters in place of the placeholders; None: no result depends on it."""
    name, value, local = change.name, change.value, change.local
    if not isinstance(name, Parameter) and not isinstance(local, Parameter):
        return change
    unknown = replace(
        change, name=None, local=False, is_tracked=False, makes_opaque=isinstance(name, Parameter), also=()
    )
    try:
        if isinstance(name, Parameter):
            name = _given(name, params)
        if isinstance(local, Parameter):
            local = _given(local, params)
    except Unkeyable:
        return unknown
    if isinstance(local, str) and local.lower() in _BOOLEANS:
        local = _BOOLEANS[local.lower()]
    if type(name) is not str or type(local) is not bool or not name.isascii():
        return unknown
    return setting_change(name.lower(), value, local=local, whole=change.whole)


def _given(parameter: Parameter, params: Any) -> Any:
    """Return the parameter for a placeholder. Raises Unkeyable if it is not known."""
    if isinstance(parameter.key, str):
        if isinstance(params, Mapping) and parameter.key in params:
            return params[parameter.key]
    elif type(params) in (list, tuple) and len(params) == parameter.among:
        # Were there more of them, the driver has seen placeholders in a comment or in a text.
        return params[parameter.key]
    raise Unkeyable("no parameter for a placeholder")


def resolve_token(item: str | Parameter, params: Any) -> str | GivenValue:
    """Return a token as the server got it. Raises Unkeyable if that is not known."""
    if isinstance(item, Parameter):
        value = _given(item, params)
        return GivenValue(exact_text((value,)), value if type(value) is str else None)
    if "%" not in item or params is None:
        return item
    if isinstance(params, Several) or "%" in item.replace("%%", ""):
        raise Unkeyable("a placeholder in a text")
    return item.replace("%%", "%")  # as the driver does


def text_of(item: str | GivenValue) -> str | None:
    """Return the string that a literal or a parameter stands for; None if that takes more to know."""
    if isinstance(item, GivenValue):
        return item.text
    inner = item[1:-1]
    if len(item) < 2 or item[0] != "'" or item[-1] != "'" or "'" in inner.replace("''", ""):
        return None
    return inner.replace("''", "'")


def name_of(item: str | GivenValue) -> str | None:
    """Return the name that a word, a quoted name, a literal or a parameter stands for; None if it is none."""
    if isinstance(item, GivenValue) or item.startswith("'"):
        name = text_of(item)
    elif item.startswith('"'):
        name = item[1:-1].replace('""', '"')
    else:
        name = item if item.isidentifier() else None
    return name if name is not None and len(name.encode("utf-8", "surrogatepass")) <= 63 else None
