from django.urls import include, path
from library import urls

from ormcache.contrib.prometheus import views

urlpatterns = [
    *urls.urlpatterns,
    path("", include("django_prometheus.urls")),
    path("metrics/ormcache", views.deployment),
]
