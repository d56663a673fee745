from django.db import models
from django.utils import timezone


class Author(models.Model):
    name = models.CharField(max_length=100)


class Book(models.Model):
    author = models.ForeignKey(Author, models.CASCADE)
    title = models.CharField(max_length=200)
    price = models.DecimalField(max_digits=8, decimal_places=2)
    shelf = models.CharField(max_length=20, db_index=True)


class Review(models.Model):
    book = models.ForeignKey(Book, models.CASCADE)
    stars = models.PositiveSmallIntegerField()
    text = models.TextField()


class Offer(models.Model):
    book = models.ForeignKey(Book, models.CASCADE)
    until = models.DateTimeField(default=timezone.now)


class PageView(models.Model):
    """Counts visits: written with every page."""

    path = models.CharField(max_length=100, unique=True)
    views = models.PositiveIntegerField(default=0)
