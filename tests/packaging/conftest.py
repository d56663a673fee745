"""What users get: the built distributions, and environments into which they are installed. Needs a package index."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import CI

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Distributions:
    sdist: Path
    wheel: Path
    core: Path  #: the wheel without the requirement of LMDB


@dataclass(frozen=True)
class Environment:
    """A virtual environment; ``folder`` is where its programs run, out of reach of the source tree."""

    folder: Path

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    def run(self, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.python, *arguments],
            cwd=cwd or self.folder,
            env={"PATH": f"{self.folder / 'bin'}:/usr/bin:/bin", "HOME": str(self.folder)},
            capture_output=True,
            text=True,
            check=False,
        )

    def install(self, *requirements: str) -> None:
        done = self.run("-m", "pip", "install", "--quiet", "--disable-pip-version-check", *requirements)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="session")
def package_index(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Skips where there is none, as if it were a server that is missing."""
    folder = tmp_path_factory.mktemp("download")
    asked = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), "hatchling"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    if done.returncode:
        (pytest.fail if CI else pytest.skip)(f"no package index: {done.stderr}")


def made(folder: Path) -> Environment:
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    return Environment(folder)


@pytest.fixture(scope="session")
def distributions(package_index: None, tmp_path_factory: pytest.TempPathFactory) -> Distributions:
    """The sdist, and the wheels that are built from it and from nothing else: what ``make dist`` makes."""
    folder = tmp_path_factory.mktemp("dist")
    done = subprocess.run(
        [sys.executable, ROOT / ".ci" / "distributions.py", folder], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (sdist,), (wheel,), (core,) = map(folder.glob, ("*.tar.gz", "ormcache-*.whl", "ormcache_core-*.whl"))
    return Distributions(sdist, wheel, core)


@pytest.fixture(scope="session")
def with_wheel(distributions: Distributions, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """As a user who takes everything, and checks types with the versions that ormcache itself is checked with."""
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["dependency-groups"]
    checkers = [line for line in groups["lint"] if isinstance(line, str) and not line.startswith(("ruff", "zizmor"))]
    environment = made(tmp_path_factory.mktemp("wheel") / "venv")
    environment.install(f"ormcache[redis,memcached] @ {distributions.wheel.as_uri()}", *checkers)
    return environment


@pytest.fixture(scope="session")
def with_sdist(distributions: Distributions, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """As a user who takes the least, from a source distribution."""
    environment = made(tmp_path_factory.mktemp("sdist") / "venv")
    environment.install(str(distributions.sdist))
    return environment


@pytest.fixture(scope="session")
def with_core(distributions: Distributions, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """As a user for whose platform there is no LMDB, and no compiler."""
    environment = made(tmp_path_factory.mktemp("core") / "venv")
    environment.install("--only-binary", ":all:", str(distributions.core))
    return environment


@pytest.fixture(scope="session", params=["with_wheel", "with_sdist"])
def installed(request: pytest.FixtureRequest) -> Environment:
    environment: Environment = request.getfixturevalue(request.param)
    return environment
