"""The table of the app ``ormcache``: the outbox, in which writes leave what no store could be notified of.

Nothing of ormcache uses the model. ``migrate`` makes the table from it, and :mod:`ormcache.catalog.outbox` has the
statements.
"""

from __future__ import annotations

import datetime

from django.db import models
from django.db.models.functions import Now

from ormcache.catalog.outbox import LONGEST_NAME, OUTBOX_TABLE


class OutboxEntry(models.Model):
    """A relation that was written while the store was unavailable, or ``*`` for everything."""

    id: models.BigAutoField[int, int] = models.BigAutoField(primary_key=True)
    relation: models.CharField[str, str] = models.CharField(max_length=LONGEST_NAME)
    #: whether the row was committed before the write itself, which may still become visible
    unfinished: models.BooleanField[bool, bool] = models.BooleanField(db_default=False)
    written_at: models.DateTimeField[datetime.datetime, datetime.datetime] = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = OUTBOX_TABLE
        default_permissions = ()
        verbose_name = "invalidation in the outbox"
        verbose_name_plural = "invalidations in the outbox"

    def __str__(self) -> str:
        return self.relation
