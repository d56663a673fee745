from django.http import HttpRequest, HttpResponse
from django.urls import path
from library.models import Shelf


def shelves(request: HttpRequest) -> HttpResponse:
    return HttpResponse("<body>" + ",".join(Shelf.objects.order_by("pk").values_list("name", flat=True)) + "</body>")


def add(request: HttpRequest) -> HttpResponse:
    Shelf.objects.create(name=request.GET["name"])
    return shelves(request)


urlpatterns = [path("", shelves), path("add/", add)]
