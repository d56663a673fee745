"""The settings of the site. Everything it writes is in the folder that ``BOOKSHOP_FOLDER`` names."""

import os
from pathlib import Path

FOLDER = Path(os.environ["BOOKSHOP_FOLDER"])

DATABASES = {
    "default": {
        "ENGINE": "ormcache.backends.sqlite3",
        "NAME": FOLDER / "bookshop.sqlite3",
        "CONN_MAX_AGE": None,
        "OPTIONS": {"init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL"},
    }
}
# Processes tell their figures when the script says so: it is what makes a day pass in a minute.
ORMCACHE = {
    "LOCATION": FOLDER / "cache",
    "STATISTICS_INTERVAL": 3600,
    "BLACKLIST": ["sessions.Session"],
    "SHARE": "always",
    "ADAPTIVE": False,
}

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "ormcache",
    "ormcache.contrib.admin",
    "bookshop",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "bookshop.views.content_security_policy",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
ROOT_URLCONF = "bookshop.urls"
ALLOWED_HOSTS = ["127.0.0.1"]
DEBUG = True  # serves the static files
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
SECRET_KEY = "the bookshop signs nothing"
STATIC_URL = "/static/"
TIME_ZONE = "UTC"
USE_TZ = True
