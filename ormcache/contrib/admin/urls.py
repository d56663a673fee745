"""The URL of the page without an admin: ``path("ormcache/", include("ormcache.contrib.admin.urls"))``."""

from __future__ import annotations

from django.urls import path

from ormcache.contrib.admin.views import standalone

app_name = "ormcache_admin"
urlpatterns = [path("", standalone, name="statistics")]
