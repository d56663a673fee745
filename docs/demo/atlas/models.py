"""What the site knows: places of the real world, what travellers wrote about them, and who looked at which page."""

from django.db import models


class Continent(models.Model):
    code = models.CharField(max_length=2, primary_key=True)
    name = models.CharField(max_length=40)


class Country(models.Model):
    iso = models.CharField(max_length=2, primary_key=True)
    name = models.CharField(max_length=80)
    continent = models.ForeignKey(Continent, models.CASCADE, related_name="countries")
    capital = models.CharField(max_length=80)
    area = models.FloatField()  # square kilometres
    population = models.BigIntegerField()
    currency = models.CharField(max_length=40)
    neighbours = models.ManyToManyField("self")


class City(models.Model):
    name = models.CharField(max_length=120)
    other_names = models.TextField()
    country = models.ForeignKey(Country, models.CASCADE, related_name="cities", db_index=False)
    population = models.IntegerField(db_index=True)
    latitude = models.FloatField(db_index=True)
    longitude = models.FloatField()
    timezone = models.CharField(max_length=40)

    class Meta:
        indexes = (models.Index(fields=["country", "-population"]),)


class Review(models.Model):
    city = models.ForeignKey(City, models.CASCADE, related_name="reviews")
    author = models.CharField(max_length=40)
    stars = models.SmallIntegerField()
    text = models.TextField()
    written = models.DateField(db_index=True)


class PageView(models.Model):
    """Written at every visit and read by one page: a table for the blacklist."""

    path = models.CharField(max_length=80)
