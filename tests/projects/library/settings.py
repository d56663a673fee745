"""A site as small as can be. Whoever starts it says the rest in an environment variable, as JSON."""

from __future__ import annotations

import json
import os
import sys

if sys.platform != "win32" and "mysql" in os.environ["LIBRARY_SETTINGS"]:
    import pymysql

    pymysql.install_as_MySQLdb()

INSTALLED_APPS = ["library"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
ROOT_URLCONF = "library.urls"
SECRET_KEY = "only for tests"
STATIC_URL = "static/"
USE_TZ = True

globals().update(json.loads(os.environ["LIBRARY_SETTINGS"]))

for missing in os.environ.get("LIBRARY_MISSING", "").split():
    sys.modules[missing] = None  # type: ignore[assignment]  # as if it were not installed
