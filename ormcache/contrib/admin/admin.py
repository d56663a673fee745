"""The page inside the admin. For a site of your own: ``site.register(Statistics, StatisticsAdmin)``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path

from ormcache.contrib.admin.models import Statistics
from ormcache.contrib.admin.views import context_of

if TYPE_CHECKING:
    _ModelAdmin = admin.ModelAdmin[Statistics]
else:
    _ModelAdmin = admin.ModelAdmin  # generic for types only


@admin.register(Statistics)
class StatisticsAdmin(_ModelAdmin):
    """One page in place of a change list. Django's permissions for the model decide who may see it."""

    def get_urls(self) -> list[URLPattern]:
        name = f"{self.opts.app_label}_{self.opts.model_name}_changelist"
        return [path("", self.admin_site.admin_view(self.changelist_view), name=name)]

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    has_change_permission = has_delete_permission = has_add_permission

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        context = {
            **self.admin_site.each_context(request),
            "title": str(self.opts.verbose_name_plural).capitalize(),
            "opts": self.opts,
            **context_of(request),
            **(extra_context or {}),
        }
        return TemplateResponse(request, "ormcache_admin/in_admin.html", context)
