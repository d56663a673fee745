"""A model without a table: it gives the page its place in the admin's index, its URL and its permission."""

from __future__ import annotations

from django.db import models


class EmptyManager(models.Manager["Statistics"]):
    """Returns no rows without a query: ``dumpdata`` asks every model, and there is no table."""

    use_in_migrations = False

    def get_queryset(self) -> models.QuerySet[Statistics]:
        return super().get_queryset().none()


class Statistics(models.Model):
    """The statistics of the cache, shown on one page. Its permission is ``ormcache_admin.view_statistics``."""

    objects = EmptyManager()

    class Meta:
        managed = False
        default_permissions = ("view",)
        base_manager_name = "objects"
        verbose_name = "query cache"
        verbose_name_plural = "query cache"

    def __str__(self) -> str:
        return "query cache"
