"""The outbox and the triggers, as the tests beside this file see them."""

from __future__ import annotations

from django.db import connection, connections

from ormcache.outside.triggers import WriteTriggers
from tests.shop.models import Genre


def triggers(using: str = "default") -> WriteTriggers:
    connections[using].ensure_connection()
    database = connections[using].ormcache.known()
    return WriteTriggers(connections[using], database)


def outbox() -> list[str]:
    """The relations in the outbox, one for each row, which is empty afterwards."""
    with connections["plain"].cursor() as cursor:
        cursor.execute("SELECT relation FROM ormcache_outbox ORDER BY id")
        found = [relation for (relation,) in cursor.fetchall()]
        cursor.execute("DELETE FROM ormcache_outbox")
    return found


def reconnect() -> None:
    """Begin a session of ormcache that has read the catalog since the triggers were installed."""
    connection.close()
    Genre.objects.count()
    connection.close()
    Genre.objects.count()
