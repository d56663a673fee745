"""What is said of the project in several places is the same in all: pyproject.toml is where it is decided."""

from __future__ import annotations

import re
import tomllib
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import run as parts_of_tests

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]
#: Python and the first Django that does without it: {Django: the oldest Python that it runs on}
DJANGO_NEEDS = {"6.0": "3.12", "6.1": "3.12"}


def text(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def parsed(path: str) -> Any:
    return yaml.safe_load(text(path))


def classified(prefix: str) -> list[str]:
    """Versions, the oldest first."""
    pattern = re.compile(rf"{re.escape(prefix)} :: (\d+\.\d+)")
    found = [match[1] for line in PROJECT["classifiers"] if (match := pattern.fullmatch(line))]
    return sorted(found, key=lambda version: tuple(map(int, version.split("."))))


PYTHONS = classified("Programming Language :: Python")
DJANGOS = classified("Framework :: Django")


# The range of versions ----------------------------------------------------------------


def test_the_requirements_are_the_oldest_versions() -> None:
    assert PROJECT["requires-python"] == f">={PYTHONS[0]}"
    assert f"Django>={DJANGOS[0]}" in PROJECT["dependencies"]


def test_the_linters_check_for_the_oldest_python() -> None:
    assert PYPROJECT["tool"]["ruff"]["target-version"] == f"py{PYTHONS[0].replace('.', '')}"
    assert PYPROJECT["tool"]["mypy"]["python_version"] == PYTHONS[0]


@pytest.mark.parametrize("page", ["README.md", "docs/index.md", "docs/quickstart.md"])
def test_pages_name_the_oldest_versions(page: str) -> None:
    assert f"needs Python {PYTHONS[0]} and Django {DJANGOS[0]} or later" in " ".join(text(page).split())


def test_make_tests_the_oldest_and_the_newest() -> None:
    makefile = text("Makefile")
    major, minor = DJANGOS[0].split(".")

    assert f"\nOLDEST_PYTHON := python{PYTHONS[0]} " in makefile
    assert f" python{PYTHONS[-1]} " in re.search(r"^NEWEST_PYTHON := .*$", makefile, re.MULTILINE)[0]  # type: ignore[index]
    assert f"\nDJANGO := Django>={DJANGOS[0]},<{major}.{int(minor) + 1}\n" in makefile
    assert f"\nDJANGO_NEWEST := Django>={DJANGOS[-1]}\n" in makefile


# The workflow -------------------------------------------------------------------------

WORKFLOW = parsed(".github/workflows/ci.yml")
JOBS = WORKFLOW["jobs"]


def test_the_workflows_matrix_is_the_range() -> None:
    matrix = JOBS["tests"]["strategy"]["matrix"]
    impossible = [
        {"python": python, "django": django}
        for django, python in product(DJANGOS, PYTHONS)
        if PYTHONS.index(python) < PYTHONS.index(DJANGO_NEEDS.get(django, PYTHONS[0]))
    ]

    assert matrix["python"] == PYTHONS
    assert matrix["django"] == DJANGOS
    assert sorted(map(str, matrix["exclude"])) == sorted(map(str, impossible))


def test_the_workflow_runs_all_parts() -> None:
    once = parts_of_tests.ONCE

    assert [*JOBS["tests"]["strategy"]["matrix"]["part"], *once] == sorted(
        parts_of_tests.PARTS, key=lambda part: part in once
    )
    assert any(f"PARTS={part}" in line for part in once for line in commands("packaging"))


def commands(*jobs: str) -> list[str]:
    return [step["run"] for job in jobs for step in JOBS[job]["steps"] if "run" in step]


def test_the_workflow_runs_what_everybody_can_run() -> None:
    targets = set(re.findall(r"^([a-z-]+):", text("Makefile"), re.MULTILINE))
    packages = "sudo apt-get -qq update && sudo apt-get -qq install -y --no-install-recommends $SERVERS"
    others = []
    for line in commands(*JOBS):
        words = line.split()
        if line not in (".ci/run", packages) and (words[0] != "make" or words[1] not in targets):
            others.append(line)

    assert others == []
    assert ".ci/run" in commands("gate")


def test_the_workflow_installs_the_servers_of_the_gate() -> None:
    packages = re.search(r"^packages=\((.*)\)$", text(".ci/run"), re.MULTILINE)

    assert packages
    assert WORKFLOW["env"]["SERVERS"] == packages[1]


def test_a_release_waits_for_everything() -> None:
    assert set(JOBS["release"]["needs"]) == set(JOBS) - {"release"}
    assert JOBS["release"]["permissions"] == {"id-token": "write"}


# Other services -----------------------------------------------------------------------


def test_hooks_have_the_versions_of_the_linters() -> None:
    hooks = {hook["id"]: hook for repo in parsed(".pre-commit-config.yaml")["repos"] for hook in repo["hooks"]}
    (ruff,) = [line for line in PYPROJECT["dependency-groups"]["lint"] if str(line).startswith("ruff")]

    assert hooks["ruff-check"]["additional_dependencies"] == [ruff]
    assert hooks["ruff-format"]["additional_dependencies"] == [ruff]
    assert hooks["mypy"]["entry"] == ".venv/bin/mypy"


def test_the_site_is_built_as_here() -> None:
    config = parsed(".readthedocs.yaml")

    assert config["build"]["tools"]["python"] in PYTHONS
    assert (ROOT / config["sphinx"]["configuration"]).exists()
    assert config["sphinx"]["fail_on_warning"] is True
    assert "--fail-on-warning" in text("Makefile")
    assert any("--group docs" in line for line in config["build"]["jobs"]["install"])


def test_the_version_is_one() -> None:
    assert f'__version__ = "{PROJECT["version"]}"' in text("ormcache/__init__.py")
