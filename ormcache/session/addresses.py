"""Remembers which server answered at an address last, and for how long that may be taken for granted.

A server can be started again, or another one put in its place, while a process answers from the cache without asking
any server, or through a pooler that outlives the servers behind it. So what a process knows counts for
``IDENTITY_MAX_AGE`` seconds and must be confirmed then.

Processes that look from the same place (one network and one file system of one host) do that for each other: whoever
has asked leaves a note in the store. A note only ever confirms what a process has learned by itself. And whoever
is the first to find another server at an address than was noted last puts new stamps into the slots of all results and
of the schema of both, and of those that were noted before. So nothing that is cached under them is served any more, and
whoever still writes under one of them learns of a changed schema when it marks, and asks which server it is connected
to. The server that is found loses its results as well: it may have been there before, and have got rows from the other
one.
"""

from __future__ import annotations

import logging
import os
import random
import struct
import time
from collections.abc import Hashable
from typing import NamedTuple

from ormcache.cache.keys import digest
from ormcache.cache.stamps import FORMAT
from ormcache.catalog import ALL_ROWS_AND_SCHEMA
from ormcache.database.database import Database
from ormcache.exceptions import StoreUnavailable
from ormcache.session.connection_settings import ConnectionSettings
from ormcache.utils.bounded import Bounded
from ormcache.utils.forks import at_fork
from ormcache.utils.host import viewpoint
from ormcache.utils.log_throttle import LogThrottle

logger = logging.getLogger("ormcache")

#: Seconds for which one thread may be about to ask, while what is known still counts for the others
CLAIM = 1.0
#: The parts of the greatest age after which a process asks ahead of time. Each draws its own, so that they take turns
EARLIEST, LATEST = 0.5, 0.9
MOST_ADDRESSES = 256  # that one process keeps in mind
MOST_SEEN = 8  # servers of one address that are remembered, to notice when one of them comes back
RETENTION = 24 * 3600.0  # seconds that a note stays in the store, at least

_MOST_NOTED = 4  # servers in one note, the last one first
# Of each, bytes: the names of the slots of all results and of the schema, and a time.monotonic in microseconds
_NOTED = struct.Struct(">16s16sQ")

#: As if it had never been
NEVER = float("-inf")
#: What does not age
ALWAYS = float("inf")


class KnownIdentity(NamedTuple):
    """Which server answered, and the ``time.monotonic`` of before it was asked."""

    identity: str
    asked: float


class Address:
    """An address that connections are made to, and which server answered there last.

    Threads share it without a lock: each attribute is replaced as a whole, and what two of them do at once is done
    twice at worst.
    """

    def __init__(self, name: bytes) -> None:
        self._name = name  # of the note in the store
        self._early = random.SystemRandom().uniform(EARLIEST, LATEST)
        self._answer = KnownIdentity("", NEVER)
        self._noted = NEVER  # when the last note was put into the store
        self._claimed = NEVER  # until when a thread may be about to ask
        self._seen: tuple[str, ...] = ()
        #: databases whose connections were given up without being asked once more, and when that was
        self._left: dict[str, tuple[Database, float]] = {}
        self._returned = LogThrottle()

    def good_until(self, database: Database) -> float:
        """Return until when, by ``time.monotonic``, a process may go on with what it has learned of this address.

        NEVER: it must ask now.
        """
        now, identity = time.monotonic(), database.server.identity
        max_age = database.config.identity_max_age
        if not max_age:
            return NEVER
        early = max_age * self._early
        answer = self._answer
        if answer.asked > now:  # in a test that has frozen the clock
            answer = self._answer = KnownIdentity("", NEVER)
        if answer.identity != identity or now >= answer.asked + early:
            answer = self._noted_by_others(database, now) or answer
        if answer.identity != identity:
            return NEVER
        if now < answer.asked + early:
            return answer.asked + early
        if now < self._claimed and now < answer.asked + max_age:
            return min(self._claimed, answer.asked + max_age)
        self._claimed = now + CLAIM
        return NEVER

    def answered(self, database: Database, asked: float) -> float:
        """Record that the server of this database answered, which was asked at ``asked``.

        Returns until when that counts. Where it is another server than that of a connection which was given up
        unconfirmed, what this process wrote on that one may be here, and what it read there may be from here: both
        databases lose all results.
        """
        identity, max_age = database.server.identity, database.config.identity_max_age
        for other, (left, when) in self._left.copy().items():
            if other != identity:
                left.renew(ALL_ROWS_AND_SCHEMA)
                database.renew(ALL_ROWS_AND_SCHEMA)
            if other != identity or when <= asked:
                self._left.pop(other, None)
        before = self._answer
        if asked > before.asked or before.asked > time.monotonic():
            self._answer = KnownIdentity(identity, asked)
            self._claimed = NEVER
            if before.identity != identity:
                self._moved(database)
            if before.identity != identity or asked >= self._noted + max(max_age, CLAIM) / 4:
                self._noted = asked
                self._note(database, asked)
        return asked + max_age * self._early

    def leave(self, database: Database) -> None:
        """Record that a connection is given up that could have come to lead to another server unnoticed."""
        self._left[database.server.identity] = (database, time.monotonic())

    def _moved(self, database: Database) -> None:
        identity = database.server.identity
        if identity not in self._seen:
            self._seen = (*self._seen, identity)[-MOST_SEEN:]
            return
        more = self._returned.due()
        if more is not None:
            # The moment of a server's start is part of its identity, so this one was there all the time.
            logger.warning(
                "the settings of a database lead to several servers by turns, and each turn begins an empty cache; "
                "if they share their rows, set the same NAME for all: %s%s",
                identity,
                more,
            )

    # Notes in the store -----------------------------------------------------------------

    def _note(self, database: Database, asked: float) -> None:
        stamps = database.stamps
        try:
            noted = self._read(database)
            others = [one for one in noted if one[0] != database.slots.epoch]
            if noted and noted[0][0] != database.slots.epoch:
                # This one too: it may have been here before, and have got rows of the other one's in between.
                stale = [
                    (database.slots.epoch, database.slots.schema),
                    *((epoch, schema) for epoch, schema, _ in others),
                ]
                stamps.renew([slot for slots in stale for slot in slots])
            newest = [(database.slots.epoch, database.slots.schema, int(asked * 1e6)), *others][:_MOST_NOTED]
            retention = max(RETENTION, 2 * database.config.identity_max_age)
            stamps.store.strict.put_entry(self._name, b"".join(_NOTED.pack(*one) for one in newest), retention)
        except StoreUnavailable:
            pass  # then the others ask for themselves

    def _noted_by_others(self, database: Database, now: float) -> KnownIdentity | None:
        """Return what a process in the same place has noted, if that confirms this database and is news."""
        try:
            noted = self._read(database)
        except StoreUnavailable:
            return None
        asked = max((asked / 1e6 for epoch, _, asked in noted if epoch == database.slots.epoch), default=NEVER)
        if not self._answer.asked < asked <= now:
            return None
        self._answer = KnownIdentity(database.server.identity, asked)
        return self._answer

    def _read(self, database: Database) -> list[tuple[bytes, bytes, int]]:
        note, _ = database.stamps.store.strict.look_up(self._name, [])
        if note is None or len(note) % _NOTED.size or len(note) > _MOST_NOTED * _NOTED.size:
            return []  # whoever can write to the store may have put it there
        return list(_NOTED.iter_unpack(note))


#: Key of connection settings → its address. Any thread may add one.
_addresses: Bounded[Hashable, Address] = Bounded(MOST_ADDRESSES)


def address_of(settings: ConnectionSettings) -> Address:
    """Return the address that connections of these settings lead to: the same one for all of them in a process."""
    address = _addresses.get(settings.key)
    if address is None:
        given = [str(settings.settings.get(key)) for key in ("ENGINE", "NAME", "HOST", "PORT", "USER", "OPTIONS")]
        # The home has files of services and options.
        environment = sorted(item for item in os.environ.items() if item[0].startswith(("PG", "MYSQL", "HOME")))
        address = Address(digest(b"address", FORMAT, viewpoint().encode(), repr((given, environment)).encode()))
        _addresses.put(settings.key, address)
    return address


#: A child takes turns with its parent, and may have inherited what a thread was in the middle of.
at_fork(after_in_child=_addresses.clear)
