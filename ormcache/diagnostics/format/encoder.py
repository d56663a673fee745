"""JSON of what this package computes."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import fields, is_dataclass
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder


class JSONEncoder(DjangoJSONEncoder):
    """Encodes dataclasses as objects and sets as sorted lists; times as Django does: ISO 8601, in milliseconds."""

    def default(self, o: Any) -> Any:
        if is_dataclass(o) and not isinstance(o, type):
            return items_of(o)
        if isinstance(o, AbstractSet):
            return sorted(o)
        return super().default(o)


def items_of(instance: Any) -> dict[str, Any]:
    """Return the fields of a dataclass by name. Their values stay as they are."""
    return {field.name: getattr(instance, field.name) for field in fields(instance)}
