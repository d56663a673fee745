from django.contrib import admin

from tests.shop.models import Author, Book, Genre, Review

admin.site.register([Author, Book, Genre, Review])
