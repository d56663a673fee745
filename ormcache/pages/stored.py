"""What is stored of something derived: its payload, and the sessions in which all that it was computed of was read."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

from ormcache.cache import serializer
from ormcache.cache.local_cache import LocalCache
from ormcache.cache.serializer import Unreadable, Unserializable


class Stored(NamedTuple):
    """Something derived as it is stored."""

    sessions: dict[str, bytes]  # database alias → what the names of all entries of its session have in common
    payload: Any
    content: bytes  # a digest of both
    rows: tuple[bytes, ...]  # the slots that it depends on, besides the epoch's
    vector: bytes  # the stamps of the epoch's and of these
    expires: float | None  # seconds since the epoch; None: until a write

    @property
    def has_expired(self) -> bool:
        """Whether it has reached its timeout."""
        return self.expires is not None and self.expires <= time.time()


def encode(sessions: dict[str, bytes], payload: Any, compress: int) -> bytes:
    """Return the bytes of something derived. Raises Unserializable.

    ``compress``: the number of bytes from which on they are compressed; 0: never.
    """
    data = serializer.encode((sessions, payload))
    return serializer.compress(data) if 0 < compress <= len(data) else data


def decode(data: bytes) -> tuple[dict[str, bytes], Any]:
    """Return the sessions and the payload. Raises Unreadable for any bytes that are not of something derived."""
    found = serializer.decode(data)
    if type(found) is not tuple or len(found) != 2 or type(found[0]) is not dict:
        raise Unreadable("nothing derived")
    return found


def put_locally(cache: LocalCache, entry: bytes, stored: Stored, weight: int) -> None:
    """Put it into the memory of this process: as it is, if nobody can change it, or else as bytes."""
    sessions, payload, content, rows, vector, expires = stored
    try:
        is_encoded = not serializer.examine((payload,)).immutable
        result = sessions, serializer.encode((payload,)) if is_encoded else payload, is_encoded, content
    except Unserializable:
        return
    cache.put(entry, result, vector, expires=expires, weight=weight, shared=True, rows=rows)


def find_locally(cache: LocalCache, entry: bytes) -> Stored | None:
    """Return what the memory of this process has of it, whether or not it may be served; None: nothing."""
    local = cache.get(entry)
    if local is None or local.rows is None:
        return None
    sessions, payload, is_encoded, content = local.result
    if is_encoded:
        payload = serializer.decode(payload)[0]
    return Stored(sessions, payload, content, local.rows, local.vector, local.expires)
