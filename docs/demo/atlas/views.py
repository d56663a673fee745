"""The pages of the site: plain Django, with no word about caching."""

from django.db.models import Avg, Count, Max, OuterRef, Q, Subquery, Sum
from django.db.models.functions import TruncMonth
from django.shortcuts import get_object_or_404, render

from .models import City, Continent, Country, PageView, Review


def home(request):
    return render(
        request,
        "atlas/home.html",
        {
            "country_count": Country.objects.count(),
            "city_count": City.objects.count(),
            "people": City.objects.aggregate(total=Sum("population"))["total"],
            "reviews": Review.objects.aggregate(count=Count("pk"), stars=Avg("stars")),
            "continents": Continent.objects.annotate(
                country_count=Count("countries"), people=Sum("countries__population")
            ).order_by("name"),
            "largest": City.objects.select_related("country").order_by("-population")[:10],
            "latest": Review.objects.select_related("city").order_by("-written", "-pk")[:5],
        },
    )


def countries(request):
    rows = Country.objects.select_related("continent").annotate(city_count=Count("cities")).order_by("name")
    return render(request, "atlas/countries.html", {"countries": rows})


def country(request, iso):
    country = get_object_or_404(Country.objects.select_related("continent"), pk=iso)
    return render(
        request,
        "atlas/country.html",
        {
            "country": country,
            "cities": country.cities.order_by("-population")[:20],
            "totals": country.cities.aggregate(count=Count("pk"), people=Sum("population")),
            "neighbours": country.neighbours.order_by("name"),
            "stars": Review.objects.filter(city__country=country).aggregate(stars=Avg("stars"))["stars"],
        },
    )


def city(request, pk):
    city = get_object_or_404(City.objects.select_related("country__continent"), pk=pk)
    nearby = City.objects.filter(
        latitude__range=(city.latitude - 0.5, city.latitude + 0.5),
        longitude__range=(city.longitude - 0.5, city.longitude + 0.5),
    )
    return render(
        request,
        "atlas/city.html",
        {
            "city": city,
            "rating": city.reviews.aggregate(count=Count("pk"), stars=Avg("stars")),
            "reviews": city.reviews.order_by("-written", "-pk")[:20],
            "nearby": nearby.exclude(pk=pk).order_by("-population")[:8],
        },
    )


def search(request):
    words = request.GET.get("q", "")
    found = City.objects.filter(Q(name__icontains=words) | Q(other_names__icontains=words))
    return render(
        request,
        "atlas/search.html",
        {
            "words": words,
            "count": found.count(),
            "cities": found.select_related("country").order_by("-population")[:20],
        },
    )


def statistics(request):
    cities_of = City.objects.filter(country=OuterRef("pk")).order_by("-population")
    return render(
        request,
        "atlas/statistics.html",
        {
            "continents": Continent.objects.annotate(
                city_count=Count("countries__cities"), largest=Max("countries__cities__population")
            ).order_by("-city_count"),
            "timezones": City.objects.values("timezone")
            .annotate(city_count=Count("pk"), people=Sum("population"))
            .order_by("-people")[:10],
            "heads": Country.objects.annotate(
                largest=Subquery(cities_of.values("name")[:1]), people=Subquery(cities_of.values("population")[:1])
            ).order_by("-population")[:15],
            "best": Review.objects.values("city_id", "city__name")
            .annotate(count=Count("pk"), average=Avg("stars"))
            .filter(count__gte=10)
            .order_by("-average", "city_id")[:10],
            "stars": Review.objects.values("stars").annotate(count=Count("pk")).order_by("-stars"),
            "months": Review.objects.annotate(month=TruncMonth("written"))
            .values("month")
            .annotate(count=Count("pk"))
            .order_by("-month")[:12],
        },
    )


def traffic(request):
    return render(
        request,
        "atlas/traffic.html",
        {
            "total": PageView.objects.count(),
            "paths": PageView.objects.values("path").annotate(count=Count("pk")).order_by("-count", "path")[:10],
            "latest": PageView.objects.order_by("-pk")[:5],
        },
    )
