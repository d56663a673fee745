from django.urls import path

from . import views, whole

urlpatterns = [
    path("", views.home, name="home"),
    path("countries/", views.countries, name="countries"),
    path("countries/<str:iso>/", views.country, name="country"),
    path("cities/<int:pk>/", views.city, name="city"),
    path("whole/cities/<int:pk>/", whole.city),
    path("search/", views.search, name="search"),
    path("statistics/", views.statistics, name="statistics"),
    path("traffic/", views.traffic, name="traffic"),
]
