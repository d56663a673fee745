from django.contrib import admin
from django.http import HttpRequest, JsonResponse
from django.urls import path

from tests.shop.models import Book


def books(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"books": list(Book.objects.order_by("pk").values_list("title", flat=True))})


urlpatterns = [
    path("admin/", admin.site.urls),
    path("books/", books),
]
