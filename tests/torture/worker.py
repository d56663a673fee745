"""One process of the site: reads and writes at random, and writes down each operation before and after it.

    python -m tests.torture.worker NAME SEED FILE

Each author's name is a number, which only grows: from the names that a read returned and the writes that were
acknowledged before it began, a judge sees whether it was stale. Each worker writes authors of its own, and reads all.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import django

AUTHORS = 6  # ids of a worker's own authors: 10 * its number + 1, …


#: What a deploy may change while others run: the table that all read, and one that none does
SCHEMA_CHANGES = (
    "ALTER TABLE shop_author ADD COLUMN IF NOT EXISTS nickname varchar(20)",
    "ALTER TABLE shop_author DROP COLUMN IF EXISTS nickname",
    "CREATE TABLE IF NOT EXISTS shop_of_a_later_version (id integer)",
    "DROP TABLE IF EXISTS shop_of_a_later_version",
)


def own_authors(name: str) -> list[int]:
    return [10 * int(name[1:]) + one for one in range(1, AUTHORS + 1)]


class Recorder:
    """The history of one process, as lines of JSON."""

    def __init__(self, worker: str, path: str) -> None:
        self._worker = worker
        self._file = open(path, "a", buffering=1)  # noqa: SIM115

    def run(self, kind: str, values: dict[str, int], call: Callable[[], dict[str, int] | None]) -> None:
        """Run one operation. ``values``: author → the number that it writes."""
        began = time.monotonic()
        self.say(op="begin", kind=kind, began=began, values=values)
        error, found = None, None
        try:
            found = call()
        except Exception as raised:
            error = f"{type(raised).__name__}: {str(raised)[:200]}"
        self.say(op="end", kind=kind, began=began, ended=time.monotonic(), values=values, found=found, error=error)

    def say(self, **line: Any) -> None:
        self._file.write(json.dumps({**line, "worker": self._worker, "pid": os.getpid()}) + "\n")


def main(name: str, seed: int, path: str) -> None:
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.torture.settings"
    django.setup()
    from django.db import connection, transaction

    from tests.shop.models import Author

    chosen, recorder, own = random.Random(seed), Recorder(name, path), own_authors(name)
    schema_changes = json.loads(os.environ["ORMCACHE_TORTURE"])["schema_changes"]  # of all operations
    everybody = [author for number in range(1, 4) for author in own_authors(f"w{number}")]

    def numbers(rows: Any) -> dict[str, int]:
        return {str(key): int(value) for key, value in rows}

    def read_one() -> dict[str, int]:
        return numbers(Author.objects.filter(pk=chosen.choice(everybody)).values_list("pk", "name"))

    def read_all() -> dict[str, int]:
        return numbers(Author.objects.values_list("pk", "name"))

    def read_by_email() -> dict[str, int]:
        return numbers(Author.objects.filter(email=f"{chosen.choice(everybody)}@x").values_list("pk", "name"))

    def change_schema(statement: str) -> None:
        with connection.cursor() as cursor:
            cursor.execute(statement)

    reads = {"one": read_one, "all": read_all, "by email": read_by_email}

    def write(authors: list[int]) -> None:
        values = {str(author): time.monotonic_ns() for author in authors}

        def update() -> None:
            if len(authors) == 1:
                Author.objects.filter(pk=authors[0]).update(name=str(values[str(authors[0])]))
                return
            with transaction.atomic():
                for author in authors:
                    Author.objects.filter(pk=author).update(name=str(values[str(author)]))

        recorder.run("write", values, update)

    is_over = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: is_over.set())
    Author.objects.count()
    print("ready", flush=True)
    while not is_over.is_set():
        if chosen.random() < schema_changes:
            statement = chosen.choice(SCHEMA_CHANGES)
            recorder.run("schema", {}, partial(change_schema, statement))
        elif chosen.random() < 0.15:
            write(chosen.sample(own, chosen.choice([1, 1, 3])))
        else:
            kind = chosen.choice(list(reads))
            recorder.run(kind, {}, reads[kind])
        if connection.errors_occurred:
            connection.close_if_unusable_or_obsolete()
        time.sleep(chosen.random() * 0.01)
    recorder.say(op="counts", **connection.ormcache.observer.counters.snapshot())


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
