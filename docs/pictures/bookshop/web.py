"""One process of the site, run as a program.

``web.py prepare``: makes the tables and fills them. ``web.py visit SEED HOURS VISITS``: visitors come, spread over so
many hours that end now. ``web.py serve``: prints the port that it serves on, until its input ends.
"""

import os
import sys
import time
from pathlib import Path


class Clock:
    """``time.time`` for a process that lives through a day in a minute: whatever it stamps is of then."""

    def __init__(self):
        self.real = time.time
        self.shift = 0.0  # seconds

    def __call__(self):
        return self.real() - self.shift


def main():
    action, *given = sys.argv[1:]
    numbers = [int(number) for number in given]
    time.time = Clock()
    if action == "visit":
        time.time.shift = numbers[1] * 3600
    sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[3])]
    os.environ["DJANGO_SETTINGS_MODULE"] = "bookshop.settings"
    import django

    django.setup()
    from bookshop import actions

    getattr(actions, action)(*numbers)


if __name__ == "__main__":
    main()
