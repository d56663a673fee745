from django.apps import AppConfig


class ShopPostgreSQLConfig(AppConfig):
    name = "tests.shop_postgresql"
    label = "shop_postgresql"
