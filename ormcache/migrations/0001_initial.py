"""Makes the table of the outbox."""

from typing import ClassVar

from django.db import migrations, models
from django.db.models.functions import Now


class Migration(migrations.Migration):
    initial = True

    operations: ClassVar = [
        migrations.CreateModel(
            name="OutboxEntry",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("relation", models.CharField(max_length=255)),
                ("unfinished", models.BooleanField(db_default=False)),
                ("written_at", models.DateTimeField(db_default=Now())),
            ],
            options={
                "verbose_name": "invalidation in the outbox",
                "verbose_name_plural": "invalidations in the outbox",
                "db_table": "ormcache_outbox",
                "default_permissions": (),
            },
        ),
    ]
