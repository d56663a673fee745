"""A serializer for Django's caches that stores bytes as they are, for ``STORE = "django"``."""

from __future__ import annotations

from typing import Any


class BytesSerializer:
    """Pass bytes through unchanged, in place of pickle, so that nothing in the cache's server can run code.

    It serves as a ``serializer`` for Django's Redis cache, a ``SERIALIZER`` for django-redis and a ``serde`` for
    pymemcache::

        "OPTIONS": {"serializer": "ormcache.stores.serializer.BytesSerializer"}

    Such a cache is for ormcache alone: it takes no values but bytes. See Django's `serializer option
    <https://docs.djangoproject.com/en/stable/topics/cache/#cache-arguments>`_ and pymemcache's `serde
    <https://pymemcache.readthedocs.io/en/latest/getting_started.html#serialization>`_.
    """

    def __init__(self, options: Any = None) -> None:
        """Take and ignore the ``options`` that django-redis hands to its serializers."""

    def dumps(self, value: Any) -> bytes:
        """Return the value. Raise TypeError for anything but bytes."""
        if type(value) is not bytes:
            raise TypeError("this cache is for ormcache alone, and stores nothing but bytes")
        return value

    def loads(self, data: bytes) -> bytes:
        """Return the data."""
        return data

    def serialize(self, key: Any, value: Any) -> tuple[bytes, int]:
        """Return the value and no flags, for pymemcache. Raise TypeError for anything but bytes."""
        return self.dumps(value), 0

    def deserialize(self, key: Any, value: bytes, flags: int) -> bytes:
        """Return the value, for pymemcache."""
        return value
