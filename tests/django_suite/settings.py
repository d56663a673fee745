"""Django's settings for its own tests; what differs from run to run comes in the environment."""

from __future__ import annotations

import json
import os

DATABASES = json.loads(os.environ["ORMCACHE_SUITE_DATABASES"])
TEST_RUNNER = "tests.django_suite.runner.Runner"

# The rest is what Django's own tests/test_sqlite.py has.
SECRET_KEY = "django_tests_secret_key"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
USE_TZ = False
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
