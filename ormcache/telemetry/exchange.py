"""Puts payloads into the store, where other processes find them, and gets them back.

Every process has an entry of its own, and a list names the processes. Nothing is added up in the store, so nothing has
to be locked: of two processes that change the list at once, one can be lost from it, and it notices the next time it
looks. Statistics are lost with the store; nothing else depends on them.

Processes of two releases can run at once. Each payload names its version, and those of other versions are left out.

They contain statements, which ``manage.py ormcache warm`` runs again. So they are signed with the secret key of the
project, and what is not signed with it is left out.
"""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.crypto import salted_hmac

from ormcache.cache import serializer
from ormcache.cache.keys import name_beside
from ormcache.cache.serializer import Unreadable
from ormcache.database.database import Database
from ormcache.stores.base import Store
from ormcache.telemetry.payload import VERSION, Payload

#: Seconds for which the store keeps what a process published last, as long as there is room
RETENTION = 24 * 3600.0
#: Processes in the list. Beyond that, those that were listed the longest ago leave
MOST_PROCESSES = 512
#: Bytes of one payload
MOST_BYTES = 512 * 1024


class Exchange:
    """The payloads of all processes that use one database through one store.

    Every method raises :class:`~ormcache.exceptions.StoreUnavailable`.
    """

    def __init__(self, database: Database) -> None:
        self._store: Store = database.stamps.store.strict
        self._identity = database.identity
        self._partition = database.stamps.partition

    def put(self, process: str, payload: Payload) -> bool:
        """Store what a process publishes. False if there is no room for a payload of this size."""
        name = self._name(process)
        value = _sealed(name, payload)
        return len(value) <= MOST_BYTES and self._store.put_entry(name, value, RETENTION)

    def enlist(self, process: str) -> None:
        """See to it that the list of processes has this one."""
        listed = self.processes()
        now = int(time.time())
        if now - listed.get(process, 0) > RETENTION / 24:
            listed = {one: at for one, at in listed.items() if now - at < RETENTION} | {process: now}
            latest = sorted(listed.items(), key=lambda item: item[1])[-MOST_PROCESSES:]
            self._store.put_entry(self._name(), _sealed(self._name(), dict(latest)), RETENTION)

    def processes(self) -> dict[str, int]:
        """Return process → when it was last enlisted, in seconds since the epoch."""
        listed = self._read(self._name()) if can_sign() else None
        return {} if listed is None else dict(listed)

    def payload(self, process: str) -> Payload | None:
        """Return what a process published; None if it is gone, or of another project or another version."""
        payload = self._read(self._name(process))
        return payload if payload is not None and payload.get("version") == VERSION else None

    def payloads(self) -> Iterator[Payload]:
        """Yield what each process published that can be read, this one too."""
        for process in self.processes():
            payload = self.payload(process)
            if payload is not None:
                yield payload

    def _name(self, process: str = "") -> bytes:
        # Projects with different keys cannot read each other's list, and must not overwrite it.
        return name_beside(self._partition, b"statistics", self._identity.encode(), process.encode(), _key())

    def _read(self, name: bytes) -> Payload | None:
        value, _ = self._store.look_up(name, [])
        if value is None:
            return None
        try:
            payload: Payload = json.loads(zlib.decompress(serializer.verify(_key(), name, value)))
        except (Unreadable, zlib.error, ValueError):
            return None
        return payload


def can_sign() -> bool:
    """Does the project have a secret key? Without one nothing is published, and nothing that was is believed."""
    try:
        return bool(settings.SECRET_KEY)
    except ImproperlyConfigured:
        return False


def _sealed(name: bytes, payload: Mapping[str, Any]) -> bytes:
    data = zlib.compress(json.dumps(payload, separators=(",", ":")).encode(), 1)
    return serializer.mac(_key(), name, data) + data


def _key() -> bytes:
    return salted_hmac("ormcache", "statistics", algorithm="sha256").digest()
