"""A digest of what a query returned, by which the candidates' answers are compared with plain Django's."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from django.db.models import Model, QuerySet


def digest(answer: Any) -> str:
    return hashlib.blake2b(repr(plainly(answer)).encode(), digest_size=12).hexdigest()


def plainly(answer: Any, around: tuple[tuple[str, Any], ...] = ()) -> Any:
    """The same in values that ``repr`` shows in full, with types: 1 and True and Decimal(1) differ.

    An instance is its values, and whatever came along with it by ``select_related`` and ``prefetch_related``.
    ``around``: the instances in which it was found, to which prefetched ones refer back.
    """
    if isinstance(answer, Model):
        name = (answer._meta.label, answer.pk)
        if name in around:
            return name
        inside = (*around, name)
        cached = answer._state.fields_cache
        prefetched = getattr(answer, "_prefetched_objects_cache", {})
        return (
            name[0],
            [(field.attname, getattr(answer, field.attname)) for field in answer._meta.concrete_fields],
            [(related, plainly(cached[related], inside)) for related in sorted(cached)],
            [(related, plainly(prefetched[related], inside)) for related in sorted(prefetched)],
        )
    if isinstance(answer, Mapping):
        return [(key, plainly(answer[key], around)) for key in sorted(answer)]
    if isinstance(answer, (list, tuple, QuerySet)):
        return [plainly(one, around) for one in answer]
    return answer
