"""What statements set settings to, with what the program has given for their placeholders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeGuard

from ormcache.keys import Unkeyable, exact
from ormcache.sql import Parameter, SessionChange, setting

#: In place of a statement's parameters: it may run with several sets of them, with none at all, or not yet
SEVERAL = object()

#: Settings of MySQL that change one another: the order in which they were set counts
_ORDERED = ("names", "character", "collation")


@dataclass(frozen=True, slots=True)
class Given:
    """What a program has given for a placeholder."""

    form: str  # differs for different values
    text: str | None  # None: it was no text


@dataclass(frozen=True, slots=True)
class Value:
    """What a setting was set to, in tokens of SQL."""

    whole: bool  # one text, as set_config() takes it, and not a list of items
    items: tuple[str | Given, ...] | None  # None: its default


#: In the order in which they were set
Settings = dict[str, Value]

#: What set_config() takes for the default
NULL = (Given(exact((None,)), None),)


def is_custom(name: object) -> TypeGuard[str]:
    return isinstance(name, str) and "." in name


def without(name: str, settings: Settings) -> Settings:
    return {other: value for other, value in settings.items() if other != name}


def place(item: tuple[str, Value]) -> tuple[bool, str]:
    """Where it stands among the settings: those that change one another in the order in which they were set."""
    name, _ = item
    ordered = name.startswith(_ORDERED)
    return ordered, "" if ordered else name


def classified(change: SessionChange, params: Any) -> SessionChange | None:
    """The change with what was given for its placeholders; None: no result depends on it."""
    name, value, local = change.name, change.value, change.local
    if not isinstance(name, Parameter) and not isinstance(local, Parameter):
        return change
    unknown = replace(change, name=None, local=False, followed=False, hides=isinstance(name, Parameter), also=())
    try:
        if isinstance(name, Parameter):
            name = _given(name, params)
        if isinstance(local, Parameter):
            local = _given(local, params)
    except Unkeyable:
        return unknown
    if type(name) is not str or type(local) is not bool or not name.isascii():
        return unknown
    return setting(name.lower(), value, local=local, whole=change.whole)


def _given(parameter: Parameter, params: Any) -> Any:
    """What the program has given for a placeholder. Raises Unkeyable where that cannot be told."""
    if isinstance(parameter.key, str):
        if isinstance(params, Mapping) and parameter.key in params:
            return params[parameter.key]
    elif type(params) in (list, tuple) and len(params) == parameter.among:
        # Were there more of them, the driver has seen placeholders in a comment or in a text.
        return params[parameter.key]
    raise Unkeyable("no parameter for a placeholder")


def resolved(item: str | Parameter, params: Any) -> str | Given:
    """One token as the server got it. Raises Unkeyable."""
    if isinstance(item, Parameter):
        value = _given(item, params)
        return Given(exact((value,)), value if type(value) is str else None)
    if "%" not in item or params is None:
        return item
    if params is SEVERAL or "%" in item.replace("%%", ""):
        raise Unkeyable("a placeholder in a text")
    return item.replace("%%", "%")  # as the driver does


def text_of(item: str | Given) -> str | None:
    """The text that a literal or a parameter stands for; None where it takes more to know."""
    if isinstance(item, Given):
        return item.text
    inner = item[1:-1]
    if len(item) < 2 or item[0] != "'" or item[-1] != "'" or "'" in inner.replace("''", ""):
        return None
    return inner.replace("''", "'")


def name_of(item: str | Given) -> str | None:
    """The name that a word, a quoted name, a literal or a parameter stands for."""
    if isinstance(item, Given) or item.startswith("'"):
        name = text_of(item)
    elif item.startswith('"'):
        name = item[1:-1].replace('""', '"')
    else:
        name = item if item.isidentifier() else None
    return name if name is not None and len(name.encode("utf-8", "surrogatepass")) <= 63 else None
