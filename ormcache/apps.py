from django.apps import AppConfig


class OrmcacheConfig(AppConfig):
    """Optional: the engines work without it. It brings the system checks even where no connection was used yet."""

    name = "ormcache"
    verbose_name = "ormcache"

    def ready(self) -> None:
        from ormcache import checks  # noqa: F401, PLC0415  # registers them; needs the apps to be loaded
