"""Replaces attributes of an object for a block."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

#: In place of a value: the attribute is not there
MISSING: Any = object()


@contextmanager
def replaced(target: Any, values: Mapping[str, Any]) -> Iterator[None]:
    """Replace attributes in the ``__dict__`` of an object for a block; ``MISSING``: they are not there.

    Afterwards they are as before, except those that the block itself has assigned anew.
    """
    attributes = vars(target)
    before = {name: attributes.get(name, MISSING) for name in values}
    _assign(attributes, values)
    try:
        yield
    finally:
        _assign(
            attributes,
            {
                name: value
                for name, value in before.items()
                if values[name] is MISSING or attributes.get(name, MISSING) is values[name]
            },
        )


def _assign(attributes: dict[str, Any], values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        if value is MISSING:
            attributes.pop(name, None)
        else:
            attributes[name] = value
