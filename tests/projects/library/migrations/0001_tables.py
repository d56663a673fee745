# ruff: noqa: RUF012  # lists, as Django itself writes them
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True
    operations = [
        migrations.CreateModel(
            "Shelf",
            [
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("name", models.CharField(max_length=50)),
            ],
        ),
        migrations.CreateModel(
            "Volume",
            [
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("shelf", models.ForeignKey("library.Shelf", models.CASCADE, related_name="volumes")),
                ("title", models.CharField(max_length=100)),
            ],
        ),
    ]
