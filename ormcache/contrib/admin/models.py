"""What gives the page its place in the admin's index, its address and its permission. It has no table."""

from __future__ import annotations

from django.db import models


class NothingManager(models.Manager["Figures"]):
    """There are no rows, and no table to ask for any: ``dumpdata`` asks every model."""

    use_in_migrations = False

    def get_queryset(self) -> models.QuerySet[Figures]:
        return super().get_queryset().none()


class Figures(models.Model):
    """The figures of the cache, of which there is one page. Its permission is ``ormcache_admin.view_figures``."""

    objects = NothingManager()

    class Meta:
        managed = False
        default_permissions = ("view",)
        base_manager_name = "objects"
        verbose_name = "query cache"
        verbose_name_plural = "query cache"

    def __str__(self) -> str:
        return "query cache"
