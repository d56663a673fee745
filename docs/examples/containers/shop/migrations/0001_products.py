from django.db import migrations, models


def add_first(apps, schema_editor):
    apps.get_model("shop", "Product").objects.create(name="tea", price=0)


class Migration(migrations.Migration):
    initial = True
    operations = [
        migrations.CreateModel(
            name="Product",
            fields=[
                ("id", models.BigAutoField(primary_key=True)),
                ("name", models.CharField(max_length=50, unique=True)),
                ("price", models.IntegerField()),
            ],
        ),
        migrations.RunPython(add_first, migrations.RunPython.noop),
    ]
