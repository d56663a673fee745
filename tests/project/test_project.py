"""What is said of the project in several places is the same in all: pyproject.toml is where it is decided."""

from __future__ import annotations

import json
import re
import tomllib
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

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


# Platforms ----------------------------------------------------------------------------

#: What markers say of a platform, and whether LMDB is installed there
LMDB = {
    "linux": ({"sys_platform": "linux", "platform_python_implementation": "CPython"}, True),
    "macos": ({"sys_platform": "darwin", "platform_python_implementation": "CPython"}, True),
    "windows": ({"sys_platform": "win32", "platform_python_implementation": "CPython"}, False),
    "pypy": ({"sys_platform": "linux", "platform_python_implementation": "PyPy"}, False),
}


@pytest.mark.parametrize("platform, wanted", LMDB.values(), ids=LMDB)
def test_lmdb_is_installed_where_it_can_be_used(platform: dict[str, str], wanted: bool) -> None:
    required = [Requirement(line) for line in PROJECT["dependencies"]]
    names = {one.name for one in required if one.marker is None or one.marker.evaluate(platform)}

    assert names - {"lmdb"} == {"Django", "rich", "sqlparse"}
    assert ("lmdb" in names) is wanted


def test_links_lead_to_one_place_and_to_files_that_exist() -> None:
    source = PROJECT["urls"]["Source"]
    others = [url for name, url in PROJECT["urls"].items() if name not in ("Source", "Documentation")]

    assert all(url.startswith(source + "/") for url in others)
    assert all((ROOT / url.partition("/blob/main/")[2]).exists() for url in others if "/blob/" in url)


# The tests ----------------------------------------------------------------------------

#: Rooms about statements, what the database says of itself, connections and transactions: every engine has its own
OF_THE_ENGINE = "backends catalog connection database oracle protocol read_path regressions session write_path".split()


@pytest.mark.parametrize("room", OF_THE_ENGINE)
def test_what_touches_the_engine_runs_on_every_engine(room: str) -> None:
    files = list((ROOT / "tests/integration" / room).glob("*.py"))

    assert files
    assert [file.name for file in files if "any_engine" in file.read_text(encoding="utf-8")] == []


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

    assert sorted(JOBS["tests"]["strategy"]["matrix"]["part"]) == sorted(set(parts_of_tests.PARTS) - once)
    (parts,) = (line.partition("PARTS=")[2].strip('"').split() for line in commands("packaging") if "PARTS=" in line)
    assert sorted(parts) == sorted(once)


def commands(*jobs: str) -> list[str]:
    return [step["run"] for job in jobs for step in JOBS[job]["steps"] if "run" in step]


def test_the_workflow_runs_what_everybody_can_run() -> None:
    targets = set(re.findall(r"^([a-z-]+):", text("Makefile"), re.MULTILINE))
    packages = {
        "sudo apt-get -qq update && sudo apt-get -qq install -y --no-install-recommends $SERVERS",
        "brew install redis memcached",
    }
    others = []
    for line in commands(*set(JOBS) - {"platforms"}):  # which have no make
        words = line.split()
        if line not in {".ci/run"} | packages and (words[0] != "make" or words[1] not in targets):
            others.append(line)

    assert others == []
    assert ".ci/run" in commands("gate")


def test_the_workflow_installs_the_servers_of_the_gate() -> None:
    packages = re.search(r"^packages=\((.*)\)$", text(".ci/run"), re.MULTILINE)

    assert packages
    assert WORKFLOW["env"]["SERVERS"] == packages[1]


def test_a_release_waits_for_everything() -> None:
    tolerated = {name for name, job in JOBS.items() if job.get("continue-on-error")}

    assert tolerated == {"prerelease"}
    assert set(JOBS["release"]["needs"]) == set(JOBS) - {"release"} - tolerated
    assert JOBS["release"]["permissions"] == {"id-token": "write"}


def test_the_prerelease_is_the_python_after_the_newest() -> None:
    major, minor = PYTHONS[-1].split(".")
    setup = JOBS["prerelease"]["steps"][1]["with"]

    assert setup == {"python-version": f"{major}.{int(minor) + 1}", "allow-prereleases": True}
    assert any(f"DJANGO_VERSION={DJANGOS[-1]} " in line for line in commands("prerelease"))


def test_tests_of_all_platforms_exist() -> None:
    (line,) = [line for line in commands("platforms") if "pytest" in line]
    files = [word for word in f"{line} {WORKFLOW['env']['FIXTURELESS']}".split() if word.startswith("tests/")]

    assert len(files) > 5
    assert [file for file in files if not (ROOT / file).is_file()] == []


def test_actions_are_pinned_and_have_no_more_rights_than_they_need() -> None:
    """What zizmor asks for: a hash cannot be moved to other code; a checkout leaves no credentials behind."""
    actions = re.findall(r"uses: (\S+)(.*)", text(".github/workflows/ci.yml"))
    checkouts = [step for job in JOBS.values() for step in job["steps"] if "checkout" in step.get("uses", "")]

    assert [action for action, _ in actions if not re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40}", action)] == []
    assert [comment for _, comment in actions if not re.fullmatch(r" # v\d+\.\d+\.\d+", comment)] == []
    assert len({action.split("@")[0] for action, _ in actions}) == len(set(actions)), "one version of each"
    assert all(step["with"] == {"persist-credentials": False} for step in checkouts)
    assert WORKFLOW["permissions"] == {"contents": "read"}
    assert {name for name, job in JOBS.items() if "permissions" in job} == {"release"}


# The dev container --------------------------------------------------------------------


def test_the_dev_container_has_what_the_gate_installs() -> None:
    installed = text(".devcontainer/Dockerfile").split()
    (packages,) = re.findall(r"^packages=\((.*)\)$", text(".ci/run"), re.MULTILINE)

    assert set(packages.split()) <= set(installed)
    assert f"python:{PYTHONS[-1]}-bookworm" in text(".devcontainer/Dockerfile")
    assert json.loads(text(".devcontainer/devcontainer.json"))["build"] == {"dockerfile": "Dockerfile"}


# Support ------------------------------------------------------------------------------


def test_the_page_of_supported_versions_names_them() -> None:
    page = text("docs/support.md")

    assert f"| Python | {PYTHONS[0]} to {PYTHONS[-1]} |" in page
    assert f"| Django | {', '.join(DJANGOS)} |" in page


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
