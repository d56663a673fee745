"""The settings of the site. With and without ormcache they differ in one line: ``ENGINE``."""

import os
from pathlib import Path

DATABASES = {
    "default": {
        "ENGINE": os.environ["DEMO_ENGINE"],  # "django.db.backends.sqlite3" or "ormcache.backends.sqlite3"
        "NAME": os.environ["DEMO_DATABASE"],
        # Connections stay open, as on a tuned site: what the demo measures is not the opening of connections.
        "CONN_MAX_AGE": None,
        "OPTIONS": {"init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL"},
    }
}

# A site needs none of this. The demo keeps the cache in its own folder, to leave nothing behind, and its last part
# puts a table on the blacklist.
ORMCACHE = {
    # Each page is invalidated again and again here, which would be judged not to pay. No site does that.
    "ADAPTIVE": False,
    "LOCATION": os.environ["DEMO_CACHE"],
    "BLACKLIST": os.environ["DEMO_BLACKLIST"].split(),
}
if os.environ["DEMO_PURGE"]:
    ORMCACHE["PURGE"] = {"BACKEND": "varnish", "LOCATION": os.environ["DEMO_PURGE"], "S_MAXAGE": 3600}

INSTALLED_APPS = ["atlas"]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.common.CommonMiddleware",
]
ROOT_URLCONF = "atlas.urls"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [Path(__file__).parent / "templates"],
    }
]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_THOUSAND_SEPARATOR = True
USE_TZ = True
ALLOWED_HOSTS = ["127.0.0.1"]
SECRET_KEY = "the demo signs nothing"
