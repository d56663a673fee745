from django.contrib import admin
from django.urls import include, path

from bookshop import views

urlpatterns = [
    path("", views.home),
    path("shelf/<name>/", views.shelf),
    path("book/<int:pk>/", views.book),
    path("book/<int:pk>/review/", views.review),
    path("everything/", views.everything),
    path("admin/", admin.site.urls),
    path("ormcache/", include("ormcache.contrib.admin.urls")),
]
