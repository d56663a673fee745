"""A shop: what a site of middling size has, in the shapes that its queries have.

Every table has a ``version``, which the mixed load counts up, so that a reader can tell an old row from the present
one.
"""

from __future__ import annotations

from typing import Any

from django.db import models

LINKS = 30  # as many tables as one query of the growth experiment names


class Versioned(models.Model):
    version = models.BigIntegerField(default=0)

    class Meta:
        abstract = True


class Category(Versioned):
    name = models.CharField(max_length=100)
    parent = models.ForeignKey("self", models.CASCADE, null=True, related_name="children")


class Supplier(Versioned):
    name = models.CharField(max_length=100)
    country = models.CharField(max_length=2)
    email = models.EmailField()


class Brand(Versioned):
    name = models.CharField(max_length=100)
    founded = models.IntegerField()


class Tag(Versioned):
    name = models.CharField(max_length=100)


class Product(Versioned):
    """Twelve columns, of all usual types."""

    name = models.CharField(max_length=100)
    sku = models.CharField(max_length=20, unique=True)
    price = models.DecimalField(max_digits=10, decimal_places=2)
    weight = models.FloatField()
    stock = models.IntegerField()
    active = models.BooleanField()
    created = models.DateTimeField()
    category = models.ForeignKey(Category, models.CASCADE)
    brand = models.ForeignKey(Brand, models.CASCADE)
    supplier = models.ForeignKey(Supplier, models.CASCADE)
    tags = models.ManyToManyField(Tag)


class Customer(Versioned):
    name = models.CharField(max_length=100)
    email = models.EmailField()
    birthday = models.DateField()
    points = models.IntegerField()


class Address(Versioned):
    customer = models.ForeignKey(Customer, models.CASCADE, related_name="addresses")
    street = models.CharField(max_length=100)
    city = models.CharField(max_length=100)
    postcode = models.CharField(max_length=10)


class Order(Versioned):
    customer = models.ForeignKey(Customer, models.CASCADE, related_name="orders")
    address = models.ForeignKey(Address, models.CASCADE)
    placed = models.DateTimeField()
    status = models.CharField(max_length=10)
    total = models.DecimalField(max_digits=12, decimal_places=2)


class Item(Versioned):
    """The largest table: four for each order."""

    order = models.ForeignKey(Order, models.CASCADE, related_name="items")
    product = models.ForeignKey(Product, models.CASCADE)
    quantity = models.IntegerField()
    price = models.DecimalField(max_digits=10, decimal_places=2)


class Review(Versioned):
    product = models.ForeignKey(Product, models.CASCADE, related_name="reviews")
    customer = models.ForeignKey(Customer, models.CASCADE)
    stars = models.IntegerField()
    text = models.TextField()
    written = models.DateTimeField()


class Visit(Versioned):
    """What every candidate is told to leave alone, as far as it can be told."""

    path = models.CharField(max_length=200)
    hits = models.IntegerField()


def _link(number: int) -> type[models.Model]:
    """One of a row of tables, each of which refers to the one before."""
    attributes: dict[str, Any] = {"__module__": __name__, "name": models.CharField(max_length=20)}
    if number:
        attributes["previous"] = models.ForeignKey(f"Link{number - 1:02}", models.CASCADE)
    return type(f"Link{number:02}", (Versioned,), attributes)


CHAIN = [_link(number) for number in range(LINKS)]

#: What the mixed load reads and writes
MIXED = [Category, Supplier, Brand, Tag, Product, Customer, Address, Order, Item, Review]
