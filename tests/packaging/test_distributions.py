"""The sdist and the wheel hold what is in the tree, and what is installed from them works."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.packaging.conftest import ROOT, Distributions, Environment

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]  # the index may be far away


def in_tree(*folders: str) -> set[str]:
    """Files as they are named in the tree, without what running it leaves behind."""
    return {
        path.relative_to(ROOT).as_posix()
        for folder in folders
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and not any(part.startswith(".") for part in path.parts)
    }


def test_the_wheel_is_the_package_and_nothing_else(distributions: Distributions) -> None:
    with zipfile.ZipFile(distributions.wheel) as wheel:
        names = set(wheel.namelist())
    package = {name for name in names if ".dist-info/" not in name}

    assert package == in_tree("ormcache")
    assert "ormcache/py.typed" in package
    assert any(name.endswith("/licenses/LICENSE") for name in names)


def test_the_sdist_has_all_that_its_tests_and_its_site_need(distributions: Distributions) -> None:
    with tarfile.open(distributions.sdist) as sdist:
        names = {member.name.partition("/")[2] for member in sdist.getmembers() if member.isfile()}
    files = {"pyproject.toml", "Makefile", "README.md", "LICENSE", "CHANGELOG.md", "CONTRIBUTING.md"}
    files |= {".ci/run", ".github/workflows/ci.yml", ".pre-commit-config.yaml", ".readthedocs.yaml"}
    more = {".gitignore", "PKG-INFO"}  # the builder's own

    assert names - more == in_tree("ormcache", "tests", "docs", "benchmarks") | files


def test_an_index_would_take_both(distributions: Distributions) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "twine", "check", "--strict", distributions.sdist, distributions.wheel],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_requirements_agree(installed: Environment) -> None:
    done = installed.run("-m", "pip", "check")

    assert done.returncode == 0, done.stdout


SITE = """
import sys
from pathlib import Path

from django.conf import settings

settings.configure(
    DATABASES={"default": {"ENGINE": "ormcache.backends.sqlite3", "NAME": "site.sqlite3"}},
    ORMCACHE={"LOCATION": str(Path("store").resolve())},
    INSTALLED_APPS=["ormcache", "django.contrib.contenttypes"],
)

import django

django.setup()

import ormcache
from django.contrib.contenttypes.models import ContentType
from django.core.management import call_command
from django.db import connection

call_command("check", databases=["default"])
call_command("migrate", verbosity=0)
connection.close()  # as the end of the process that migrates would
ContentType.objects.create(app_label="one", model="one")


def read():
    before = ormcache.stats("default")["hits"]
    names = list(ContentType.objects.filter(app_label="one").values_list("model", flat=True))
    return names, ormcache.stats("default")["hits"] - before


print(read(), read())
ContentType.objects.filter(app_label="one").update(model="two")
print(read(), read())
print(Path(ormcache.__file__).is_relative_to(sys.prefix))
"""


def test_a_site_with_what_is_installed(installed: Environment, tmp_path: Path) -> None:
    done = installed.run("-W", "error", "-c", SITE, cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-3:] == ["(['one'], 0) (['one'], 1)", "(['two'], 0) (['two'], 1)", "True"]
