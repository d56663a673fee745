"""The sdist and the wheel hold what is in the tree, and what is installed from them works."""

from __future__ import annotations

import email
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

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


def metadata(wheel: Path) -> list[tuple[str, str]]:
    with zipfile.ZipFile(wheel) as opened:
        (name,) = [name for name in opened.namelist() if name.endswith(".dist-info/METADATA")]
        return email.message_from_bytes(opened.read(name)).items()


def contents(wheel: Path) -> dict[str, bytes]:
    """File → its bytes, without what differs by name: the folder, the metadata, and the sums of all files."""
    with zipfile.ZipFile(wheel) as opened:
        return {
            re.sub(r"^\w+-[\w.]+\.dist-info/", "", name): opened.read(name)
            for name in opened.namelist()
            if not name.endswith((".dist-info/METADATA", ".dist-info/RECORD"))
        }


def test_the_other_wheel_is_the_same_without_lmdb(distributions: Distributions) -> None:
    usual, core = metadata(distributions.wheel), metadata(distributions.core)
    names = [("Name", "ormcache"), ("Name", "ormcache-core")]
    differing = [line for line in usual if line not in core]

    assert [line for line in core if line not in usual] == names[1:]
    assert differing[0] == names[0]
    assert [(field, Requirement(value).name) for field, value in differing[1:]] == [("Requires-Dist", "lmdb")]
    assert contents(distributions.core) == contents(distributions.wheel)


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
    files = {"pyproject.toml", "Makefile", "README.md", "LICENSE", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"}
    files |= {".ci/distributions.py", ".ci/run", ".pre-commit-config.yaml", ".readthedocs.yaml"}
    folders = (ROOT / ".github", ROOT / ".devcontainer")
    files |= {path.relative_to(ROOT).as_posix() for folder in folders for path in folder.rglob("*") if path.is_file()}
    more = {".gitignore", "PKG-INFO"}  # the builder's own

    assert names - more == in_tree("ormcache", "tests", "docs", "benchmarks") | files


def test_an_index_would_take_all(distributions: Distributions) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "twine", "check", "--strict", *distributions.sdist.parent.iterdir()],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_requirements_agree(installed: Environment) -> None:
    done = installed.run("-m", "pip", "check")

    assert done.returncode == 0, done.stdout


LINUX, WINDOWS, MACOS = {"sys_platform": "linux"}, {"sys_platform": "win32"}, {"sys_platform": "darwin"}
PYPY = LINUX | {"platform_python_implementation": "PyPy", "implementation_name": "pypy"}

GLIBC = ["--platform", "manylinux2014_x86_64", "--platform", "manylinux_2_28_x86_64", "--python-version"]
MUSL = ["--platform", "musllinux_1_2_x86_64", "--python-version"]

#: Target → what pip calls it, what markers say of it, and what is installed there: docs/guide.md says so too
TARGETS = {
    "linux": ([*GLIBC, "3.11"], LINUX, "wheel"),
    "linux-newest": (["--platform", "manylinux2014_aarch64", "--python-version", "3.14"], LINUX, "wheel"),
    "macos": (["--platform", "macosx_11_0_arm64", "--python-version", "3.13"], MACOS, "wheel"),
    "windows": (["--platform", "win_amd64", "--python-version", "3.13"], WINDOWS, "wheel"),
    "pypy": ([*GLIBC, "3.11", "--implementation", "pp"], PYPY, "wheel"),
    "alpine": ([*MUSL, "3.13"], LINUX, "core"),
    "free-threaded": ([*GLIBC, "3.14", "--abi", "cp314t"], LINUX, "core"),
}


@pytest.mark.parametrize("target, markers, kind", TARGETS.values(), ids=TARGETS)
def test_nothing_has_to_be_compiled(
    distributions: Distributions, tmp_path: Path, target: list[str], markers: dict[str, str], kind: str
) -> None:
    """``--no-deps``: pip would evaluate markers for the Python that runs it, not for the target."""
    lines = [value for field, value in metadata(getattr(distributions, kind)) if field == "Requires-Dist"]
    required = [Requirement(line) for line in lines]
    wanted = [
        f"{one.name}{one.specifier}"
        for one in required
        if one.marker is None or one.marker.evaluate(markers | {"extra": ""})
    ]
    asked = ["download", "--quiet", "--no-deps", "--only-binary", ":all:", "--dest", str(tmp_path), *target, *wanted]

    done = subprocess.run([sys.executable, "-m", "pip", *asked], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert len(wanted) in (3, 4)  # with LMDB


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


ALONE = """
from django.conf import settings

settings.configure(
    DATABASES={"default": {"ENGINE": "ormcache.backends.sqlite3", "NAME": "site.sqlite3"}},
    CACHES={"default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": "redis://127.0.0.1:1"}},
    INSTALLED_APPS=["ormcache", "django.contrib.contenttypes"],
)

import django

django.setup()

import ormcache
from django.contrib.contenttypes.models import ContentType
from django.core.management import call_command
from django.db import connection
from django.test import override_settings
from ormcache.checks import check_settings

call_command("migrate", verbosity=0, skip_checks=True)
ContentType.objects.create(app_label="one", model="one")
print([list(ContentType.objects.filter(app_label="one").values_list("model", flat=True)) for _ in range(2)])
print(ormcache.stats("default")["hits"], [check.id for check in check_settings()])
with override_settings(ORMCACHE={"STORE": "redis", "CACHE": "default"}):
    print([(check.id, check.hint) for check in check_settings()])
"""


def test_a_site_without_lmdb(with_core: Environment, tmp_path: Path) -> None:
    """No STORE is named: it runs uncached, a check says so, and what is suggested does not bring LMDB in again."""
    packages = with_core.run("-m", "pip", "list", "--format", "freeze").stdout.lower()
    assert "lmdb" not in packages
    assert with_core.run("-m", "pip", "check").returncode == 0

    done = with_core.run("-W", "error", "-c", ALONE, cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "[['one'], ['one']]",
        "0 ['ormcache.W014']",
        """[('ormcache.E013', "pip install 'ormcache-core[redis]'")]""",
    ]
