"""What the nodes of a Django template show before they are rendered: their text, and what no cache may store."""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Iterator
from typing import Any, NamedTuple

from django.template import Node, NodeList
from django.template.base import FilterExpression
from django.template.defaulttags import LoremNode, NowNode
from django.template.smartif import TokenBase
from django.templatetags.cache import CacheNode

from ormcache import reasons
from ormcache.cache.keys import digest
from ormcache.pages.code_digest import code_digest

#: Tags that give something else each time → reason, and how templates write them
_TAGS: dict[type[Node], tuple[str, str]] = {
    NowNode: (reasons.CLOCK, "{% now %}"),
    LoremNode: (reasons.RANDOM, "{% lorem %}"),
    CacheNode: (reasons.CLOCK, "{% cache %}"),  # it expires by time, and its reads may be those of long ago
}
_HUMANIZE = "django.contrib.humanize.templatetags.humanize"
#: Filters that do so → reason
_FILTERS = {
    "django.template.defaultfilters.random": reasons.RANDOM,
    f"{_HUMANIZE}.naturalday": reasons.CLOCK,
    f"{_HUMANIZE}.naturaltime": reasons.CLOCK,
}
#: Filters that do so without an argument → reason
_FILTERS_WITHOUT_ARGUMENT = {
    "django.template.defaultfilters.timesince_filter": reasons.CLOCK,
    "django.template.defaultfilters.timeuntil_filter": reasons.CLOCK,
}


class Examined(NamedTuple):
    """What is known of some nodes and all nodes within them."""

    source: bytes  # a digest of their text and classes
    #: why their content is not the same each time, and the tag or filter; None: nothing is known against it
    rejection: tuple[str, str] | None


#: template → what is known of its nodes
_templates: weakref.WeakKeyDictionary[Any, Examined] = weakref.WeakKeyDictionary()


def examine_template(template: Any) -> Examined:
    """Return what is known of the nodes of a template, which is examined once."""
    found = _templates.get(template)
    if found is None:
        found = _templates[template] = examine(template.nodelist)
    return found


def examine(nodes: NodeList) -> Examined:
    """Return what is known of these nodes."""
    source, rejection = [], None
    for part in _parts(nodes):
        if isinstance(part, Node):
            cls = type(part)
            token = getattr(part, "token", None)
            text = getattr(token, "contents", "")
            source += [f"{cls.__module__}.{cls.__qualname__}".encode(), str(text).encode("utf-8", "surrogatepass")]
            # Of simple tags and inclusion tags, whose names another library may give to others
            source += [_name_of(vars(part).get("func")), repr(vars(part).get("filename")).encode()]
            rejection = rejection or _TAGS.get(cls)
        elif isinstance(part, FilterExpression):
            # The path in {% include "./…" %} is another one here: it begins at the template's folder.
            source.append(str(part.token).encode("utf-8", "surrogatepass"))
            source += [_name_of(function) for function, _ in part.filters]
            rejection = rejection or _rejection_of_filters(part)
    return Examined(digest(*source), rejection)


def _name_of(function: Any) -> bytes:
    """Return what a function of a template library is known by: its names and its code."""
    code = getattr(inspect.unwrap(function), "__code__", None) if callable(function) else None
    names = f"{getattr(function, '__module__', '')}.{getattr(function, '__qualname__', '')}".encode()
    return names if code is None else names + code_digest(code)


def _rejection_of_filters(expression: FilterExpression) -> tuple[str, str] | None:
    for function, arguments in expression.filters:
        name = f"{getattr(function, '__module__', '')}.{getattr(function, '__name__', '')}"
        reason = _FILTERS.get(name) or (None if arguments else _FILTERS_WITHOUT_ARGUMENT.get(name))
        if reason is not None:
            return reason, f"{{{{ {expression.token} }}}}"
    return None


def _parts(nodes: Any) -> Iterator[Any]:
    """Yield all nodes and filter expressions in some nodes, and in what these consist of."""
    waiting, seen = [nodes], set()
    while waiting:
        part = waiting.pop()
        if id(part) in seen:
            continue
        if isinstance(part, (Node, FilterExpression)):
            yield part
        if isinstance(part, (Node, TokenBase)):
            inner = [value for name, value in vars(part).items() if name not in ("token", "origin")]
        elif isinstance(part, dict):
            inner = list(part.values())
        elif isinstance(part, (list, tuple)):
            inner = list(part)
        elif isinstance(getattr(part, "nodelist", None), NodeList):  # a partial
            inner = [part.nodelist]
        else:
            continue
        seen.add(id(part))
        waiting += reversed(inner)
