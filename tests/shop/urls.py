from django.contrib import admin
from django.http import HttpRequest, JsonResponse
from django.urls import include, path

from ormcache.contrib.admin.admin import StatisticsAdmin
from ormcache.contrib.admin.models import Statistics
from tests.shop.models import Book


def books(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"books": list(Book.objects.order_by("pk").values_list("title", flat=True))})


office = admin.AdminSite(name="office")
office.register(Statistics, StatisticsAdmin)

urlpatterns = [
    path("admin/", admin.site.urls),
    path("office/", office.urls),
    path("ormcache/", include("ormcache.contrib.admin.urls")),
    path("books/", books),
]
