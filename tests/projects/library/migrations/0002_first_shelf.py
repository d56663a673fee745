# ruff: noqa: RUF012  # lists, as Django itself writes them
import os

from django.db import migrations

FIRST = os.environ.get("LIBRARY_FIRST", "first")


def add_shelf(apps, editor):
    apps.get_model("library", "Shelf").objects.using(editor.connection.alias).create(name=FIRST)


def remove_shelf(apps, editor):
    apps.get_model("library", "Shelf").objects.using(editor.connection.alias).filter(name=FIRST).delete()


class Migration(migrations.Migration):
    dependencies = [("library", "0001_tables")]
    operations = [migrations.RunPython(add_shelf, remove_shelf)]
