from django.apps import AppConfig


class OrmcacheConfig(AppConfig):
    """Registers the system checks even where no connection was used yet, and brings the table of the outbox.

    Optional: the engines work without it.
    """

    name = "ormcache"
    default_auto_field = "django.db.models.BigAutoField"
    verbose_name = "ormcache"

    def ready(self) -> None:
        # They register themselves, and need the apps to be loaded.
        from ormcache import checks  # noqa: F401, PLC0415  # importing registers them
        from ormcache.pages import checks as checks_of_pages  # noqa: F401, PLC0415  # importing registers them
