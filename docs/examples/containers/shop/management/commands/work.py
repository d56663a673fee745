import time

from django.core.management.base import BaseCommand
from django.db import transaction
from django_redis import get_redis_connection

from shop.models import Product


class Command(BaseCommand):
    help = "Set prices that are in a list of Redis, each as '<name> <price> [<seconds until COMMIT>]'."

    def handle(self, *args, **options):
        redis = get_redis_connection()
        while True:
            _, job = redis.blpop("prices", timeout=0)
            name, price, *seconds = job.decode().split()
            with transaction.atomic():
                Product.objects.filter(name=name).update(price=int(price))
                redis.rpush("written", job)
                time.sleep(float(seconds[0]) if seconds else 0)
            redis.rpush("done", job)
