from django.apps import AppConfig


class AdminConfig(AppConfig):
    name = "ormcache.contrib.admin"
    label = "ormcache_admin"
    verbose_name = "ormcache"
    default_auto_field = "django.db.models.BigAutoField"
