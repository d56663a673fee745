"""What only PostgreSQL has."""

from __future__ import annotations

from django.contrib.postgres.fields import (
    ArrayField,
    DateRangeField,
    DateTimeRangeField,
    DecimalRangeField,
    HStoreField,
    IntegerRangeField,
)
from django.db import models


class Reading(models.Model):
    """An evening in the shop: one column of each type of PostgreSQL."""

    tags = ArrayField(models.CharField(max_length=20), default=list)
    seats = ArrayField(ArrayField(models.IntegerField()), null=True)
    days = DateRangeField(null=True)
    window = DateTimeRangeField(null=True)
    ages = IntegerRangeField(null=True)
    prices = DecimalRangeField(null=True)
    attributes = HStoreField(null=True)

    def __str__(self) -> str:
        return ", ".join(self.tags)
