from django.http import HttpResponse
from django.urls import path

from shop.models import Product


def products(request):
    return HttpResponse("\n".join(map(str, Product.objects.order_by("name"))), content_type="text/plain")


urlpatterns = [path("", products)]
