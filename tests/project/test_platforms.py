"""The engine on systems and Pythons that lack what Linux and CPython have: Windows, Alpine, PyPy.

Each test runs a site in a process of its own, from which modules and functions are taken away once Django is imported
and before ormcache is. ``os.name`` stays: with another one ``pathlib`` makes paths of a system that this is not.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]

#: Modules that Windows does not have; LMDB has no wheels for PyPy, Alpine and free-threaded builds
MODULES = {
    "windows": ["fcntl", "grp", "pwd", "resource", "termios"],
    "alpine": ["lmdb"],
    "both": ["fcntl", "grp", "lmdb", "pwd", "resource", "termios"],
}

SITE = """
import importlib, json, logging, os, select, sqlite3, sys, time
from pathlib import Path

import django
from django.conf import settings

PLATFORM, MODULES, ORMCACHE, IMPORTS_ALL = json.loads(sys.argv[1])
settings.configure(
    DATABASES={"default": {"ENGINE": "ormcache.backends.sqlite3", "NAME": "site.sqlite3"}},
    CACHES={"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}},
    ORMCACHE=ORMCACHE,
    INSTALLED_APPS=["django.contrib.admin", "django.contrib.auth", "django.contrib.contenttypes"],
    DEBUG=True,
)
# With all that these need of Python:
import ctypes, getpass, django.contrib.admin, django.core.cache.backends.locmem, django.core.management
import django.db.backends.sqlite3.base, django.db.models, django_redis, pymemcache, pytest, redis

for name in MODULES:
    sys.modules[name] = None
if PLATFORM == "win32":
    sys.platform = "win32"
    for name in (
        "fork", "register_at_fork", "getuid", "geteuid", "getgid", "getegid", "getppid", "fchmod", "chown", "statvfs",
        "posix_fallocate", "sysconf", "uname", "O_NOFOLLOW", "O_CLOEXEC", "O_NONBLOCK",
    ):
        if hasattr(os, name):
            delattr(os, name)
    del select.poll
    for name in [name for name in vars(time) if name.startswith(("clock_", "CLOCK_"))]:
        delattr(time, name)

lines = []
class Lines(logging.Handler):
    def emit(self, record):
        lines.append(record.getMessage())
logging.getLogger("ormcache").addHandler(Lines())

django.setup()
from django.contrib.contenttypes.models import ContentType
import ormcache
from ormcache.checks import check_settings

with sqlite3.connect("site.sqlite3") as plain:
    plain.execute("CREATE TABLE django_content_type (id integer PRIMARY KEY, app_label text, model text)")
plain.close()

def read():
    return list(ContentType.objects.filter(app_label="one").values_list("model", flat=True))

answers = []
try:
    ContentType.objects.create(app_label="one", model="one")
    answers += [read(), read()]
    ContentType.objects.update(model="two")
    answers += [read(), read()]
except ormcache.WriteRefused:
    answers.append("refused")
stats = ormcache.stats("default")

failed = {}
package = Path(ormcache.__file__).parent
for path in sorted(package.rglob("*.py")) if IMPORTS_ALL else ():
    name = ".".join(("ormcache", *path.relative_to(package).with_suffix("").parts)).removesuffix(".__init__")
    # They need drivers and other libraries; models need their app to be installed.
    if not name.startswith(("ormcache.backends.", "ormcache.contrib.")) and name != "ormcache.models":
        try:
            importlib.import_module(name)
        except ImportError as error:
            failed[name] = error.name
print(json.dumps({
    "answers": answers,
    "hits": stats["hits"],
    "bypassed": stats["bypassed"],
    "checks": {check.id: [check.level, check.msg, check.hint] for check in check_settings()},
    "lines": lines,
    "failed": failed,
}))
"""


def run(folder: Path, platform: str, modules: list[str], *, imports_all: bool = False, **settings: Any) -> Any:
    """``imports_all``: whether to import all modules of the package in the end."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", SITE, json.dumps([platform, modules, settings, imports_all])],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


#: PyPy's own modules would go on to load Windows' libraries
not_on_pypy = pytest.mark.skipif(sys.implementation.name == "pypy", reason="no other system can be made of it")

WITHOUT = [
    pytest.param("linux", "alpine", {}, "the package lmdb", id="alpine", marks=pytest.mark.slow),
    pytest.param("linux", "alpine", {"STORE": "embedded"}, "the package lmdb", id="named", marks=pytest.mark.slow),
    pytest.param("win32", "windows", {}, "the file locks of POSIX", id="windows", marks=not_on_pypy),
]


@pytest.mark.parametrize("platform, modules, settings, missing", WITHOUT)
def test_without_an_embedded_store_a_site_runs_uncached(
    tmp_path: Path, platform: str, modules: str, settings: dict[str, Any], missing: str
) -> None:
    told = run(tmp_path, platform, MODULES[modules], **settings)

    assert told["answers"] == [["one"], ["one"], ["two"], ["two"]]
    assert told["hits"] == 0
    assert told["bypassed"]["no store"] >= 4
    level, message, hint = told["checks"].pop("ormcache.W014")
    assert told["checks"] == {}
    assert level == 30
    assert f"needs {missing}" in message
    assert "nothing is cached" in message
    assert "'redis', 'memcached' or 'django'" in hint
    assert ("pip install lmdb" in hint) == ("lmdb" in missing)
    [line] = told["lines"]
    assert line.startswith(f"the embedded store of the database 'default' needs {missing}")


def test_without_an_embedded_store_writes_are_refused_where_they_are_to_be(tmp_path: Path) -> None:
    """``ON_OUTAGE = "refuse"`` promises that no write goes by without the other processes being told."""
    told = run(tmp_path, "linux", MODULES["alpine"], STORE="embedded", ON_OUTAGE="refuse")

    assert told["answers"] == ["refused"]
    assert "writes are refused" in told["checks"]["ormcache.W014"][1]


@pytest.mark.parametrize(
    "platform, modules, without",
    [
        pytest.param("linux", "alpine", {"files", "store"}, marks=pytest.mark.slow),
        pytest.param("win32", "both", {"files", "presence", "store"}, marks=not_on_pypy),
    ],
)
def test_another_store_caches_there_and_needs_nothing_of_what_is_missing(
    tmp_path: Path, platform: str, modules: str, without: set[str]
) -> None:
    """``without``: the modules of the embedded store that cannot be imported there."""
    told = run(tmp_path, platform, MODULES[modules], imports_all=True, STORE="django")

    assert told["answers"] == [["one"], ["one"], ["two"], ["two"]]
    assert told["hits"] == 2
    assert told["bypassed"] == {}
    assert "ormcache.W014" not in told["checks"]
    assert set(told["failed"]) == {f"ormcache.stores.embedded.{name}" for name in without}
    assert set(told["failed"].values()) <= {"lmdb", "fcntl"}


@pytest.mark.skipif(find_spec("lmdb") is None or find_spec("fcntl") is None, reason="something is missing here")
def test_where_nothing_is_missing_nothing_is_said(tmp_path: Path) -> None:
    told = run(tmp_path, "linux", [], imports_all=True, LOCATION=str(tmp_path / "store"))

    assert told["hits"] == 2
    assert told["checks"] == {}
    assert told["lines"] == []
    assert told["failed"] == {}
