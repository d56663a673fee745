"""What the documentation says is there, and what is there is documented."""

from __future__ import annotations

import ast
import inspect
import re
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Iterator
from dataclasses import fields
from importlib.util import find_spec
from pathlib import Path
from pkgutil import resolve_name
from runpy import run_path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest

import ormcache
from ormcache import checks, conf, reasons, signals, testing
from ormcache.diagnostics.advice import Advice
from ormcache.diagnostics.advice.snippets import Snippet
from ormcache.diagnostics.explain.explanation import (
    AdaptiveState,
    BypassReason,
    CachedEntry,
    EntryKey,
    Explanation,
    ModelTable,
    RowDependence,
    SlotContent,
    UnknownName,
    UsedRelation,
)
from ormcache.diagnostics.format.meanings import MEANINGS
from ormcache.diagnostics.health.examination import ClockOffset, DatabaseHealth
from ormcache.diagnostics.health.findings import Finding
from ormcache.diagnostics.health.proof import Latency, ProofStep
from ormcache.diagnostics.stats.rankings import QueryStatistics, TableStatistics
from ormcache.diagnostics.stats.statistics import (
    DatabaseStatistics,
    OutagePeriod,
    ReportingProcess,
    StatisticsChange,
)
from ormcache.management.commands.ormcache import SUBCOMMANDS
from ormcache.pages import checks as checks_of_pages
from ormcache.stores.info import ServerInfo, StoreInfo

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]

_FENCE = re.compile(r"^```([^\s`]*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`[^`\n]+`")
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_INCLUDED = re.compile(r"^:::\{include\} (\S+)$", re.MULTILINE)
_HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
_MENTION = re.compile(r"\bormcache(?:\.\w+)+")


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def prose(text: str) -> str:
    return _FENCE.sub("", text)


def rows(text: str, heading: str | None = None) -> Iterator[list[str]]:
    """The rows of all tables of a page, or of one section, whose first cell is code."""
    if heading is not None:
        text = re.split(r"^## ", text.split(f"## {heading}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]
    for line in prose(text).splitlines():
        if line.startswith("| `"):
            yield [cell.strip() for cell in line.strip("|").split(" | ")]


def first_cells(name: str, heading: str | None = None) -> list[str]:
    return [row[0].strip("` ") for row in rows(page(name), heading)]


def blocks(language: str) -> list[Any]:
    return [
        pytest.param(code, id=f"{path.name}-{number}")
        for path in PAGES
        for number, (found, code) in enumerate(_FENCE.findall(path.read_text(encoding="utf-8")))
        if found == language
    ]


# Settings -----------------------------------------------------------------------------


def shown(key: str, default: Any) -> str:
    if isinstance(default, int) and default >= 2**20:
        return f"`{default // 2**20} MiB`"
    if default == ():
        return "`[]`"
    return f'`"{default}"`' if isinstance(default, str) else f"`{default!r}`"


def test_every_setting_is_documented() -> None:
    assert first_cells("settings.md", "All settings") == list(conf.OPTIONS)


def test_defaults_are_right() -> None:
    documented = {row[0].strip("`"): row[1] for row in rows(page("settings.md"), "All settings")}

    assert documented == {key: shown(key, option.default) for key, option in conf.OPTIONS.items()}


def test_the_readme_knows_only_settings_that_exist() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")

    assert {row[0].strip("`") for row in rows(text, "Settings")} <= set(conf.OPTIONS)


# Reasons ------------------------------------------------------------------------------


def test_every_reason_is_documented() -> None:
    known = [value for name, value in vars(reasons).items() if name.isupper()]

    assert sorted(first_cells("reasons.md")) == sorted(known)


def shown_plainly(cell: str) -> str:
    """A cell of a table without links and code marks."""
    return re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", cell).replace("`", "").rstrip(" |")


def test_programs_tell_of_reasons_in_the_words_of_the_page() -> None:
    documented = {row[0].strip("`"): tuple(map(shown_plainly, row[1:])) for row in rows(page("reasons.md"))}

    assert documented == MEANINGS


# Commands -----------------------------------------------------------------------------


def options_of(name: str) -> set[str]:
    """The options that a sub-command takes by itself."""
    parser = ArgumentParser(add_help=False)
    SUBCOMMANDS[name].add_arguments(parser)
    return {option for action in parser._actions for option in action.option_strings}


def options_in(section: str) -> set[str]:
    """Those with a row of their own."""
    return {option for row in rows(section) for option in re.findall(r"--[\w-]+", row[0])}


def test_every_sub_command_is_documented() -> None:
    assert re.findall(r"^\| \[`(\w+)`\]", page("commands.md"), re.MULTILINE) == list(SUBCOMMANDS)


@pytest.mark.parametrize("name", SUBCOMMANDS)
def test_every_option_is_documented(name: str) -> None:
    common, *sections = re.split(r"^## ", page("commands.md"), flags=re.MULTILINE)
    own = options_in(next(section for section in sections if section.startswith(f"{name}\n")))

    assert own <= options_of(name) <= own | options_in(common)


#: What the JSON of the sub-commands is made of
DOCUMENTS = [
    *(
        Explanation,
        BypassReason,
        UsedRelation,
        SlotContent,
        UnknownName,
        EntryKey,
        CachedEntry,
        RowDependence,
        AdaptiveState,
        ModelTable,
    ),
    *(DatabaseHealth, Latency, ClockOffset, StoreInfo, ServerInfo, ProofStep, Finding),
    *(DatabaseStatistics, ReportingProcess, OutagePeriod, StatisticsChange),
    *(TableStatistics, QueryStatistics, Advice, Snippet),
]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_key_of_json_is_documented(document: Any) -> None:
    text = page("commands.md").partition("\n## JSON\n")[2]

    assert [field.name for field in fields(document) if f"`{field.name}`" not in text] == []


# Checks -------------------------------------------------------------------------------


def check_ids() -> set[str]:
    """As they stand in the code: ``id="ormcache.W001"``, and the numbers of conf's problems."""
    sources = inspect.getsource(checks) + inspect.getsource(checks_of_pages)
    found = set(re.findall(r'"(ormcache\.[EW]\d{3})"', sources))
    for node in ast.walk(ast.parse(inspect.getsource(conf))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Problem":
            number = node.args[0]
            assert isinstance(number, ast.Constant), "the number of a problem is written out"
            found.add(f"ormcache.E{number.value:03}")
    return found


def test_every_check_is_documented() -> None:
    documented = first_cells("settings.md", "Checks")

    assert set(documented) == check_ids()
    assert len(documented) == len(set(documented))


# Names --------------------------------------------------------------------------------


def test_every_public_name_is_documented() -> None:
    guide = page("guide.md")

    assert [name for name in ormcache.__all__ if f"`ormcache.{name}`" not in guide] == []


def test_every_signal_is_documented() -> None:
    known = {f"ormcache.signals.{name}" for name, value in vars(signals).items() if isinstance(value, signals.Signal)}

    assert {cell for cell in first_cells("guide.md") if cell.startswith("ormcache.signals.")} == known


def _source(module: str) -> str | None:
    """The text of a module or of a package's ``__init__``."""
    folder = ROOT / module.replace(".", "/")
    paths = [path for path in (folder / "__init__.py", folder.with_name(f"{folder.name}.py")) if path.exists()]
    return paths[0].read_text(encoding="utf-8") if paths else None


def exists(name: str) -> bool:
    """Is this the name of a check, of a module, or of something in one?"""
    if name in check_ids():
        return True
    if name.startswith("ormcache.contrib."):
        # Some need somebody else's app, which is not among those of the tests: so they are not imported.
        found, owner = (_source(name), _source(name.rpartition(".")[0]))
        return found is not None or (
            owner is not None and re.search(rf"\b{name.rpartition('.')[2]}\b", owner) is not None
        )
    try:
        resolve_name(name)
    except (ImportError, AttributeError):
        return False
    return True


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_only_names_that_exist_are_mentioned(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    mentioned = {name for code in _CODE.findall(prose(text)) for name in _MENTION.findall(code)}
    mentioned |= {name for _, code in _FENCE.findall(text) for name in _MENTION.findall(code)}

    assert [name for name in sorted(mentioned) if not exists(name)] == []


def test_the_api_page_has_every_public_name() -> None:
    described = set(re.findall(r"^\.\. auto\w+:: ([\w.]+)", (ROOT / "docs" / "api.rst").read_text(), re.MULTILINE))

    assert set(ormcache.__all__) <= described
    assert set(testing.__all__) <= described
    assert {name for name, value in vars(signals).items() if isinstance(value, signals.Signal)} <= described


def test_the_page_on_extending_names_what_is_there() -> None:
    path, named = "", []
    for cell in re.findall(r"^\|[^|]*\|(.*)\|$", page("extending.md"), re.MULTILINE):
        for code in re.findall(r"`(\S+)`", cell):
            path, name = (code, "") if code.endswith(".py") else (path, code)
            named.append((path, name))

    assert len(named) > 20
    assert [(path, name) for path, name in named if name not in (ROOT / "ormcache" / path).read_text("utf-8")] == []


# Guarantees ---------------------------------------------------------------------------


def guarantees() -> Iterator[tuple[list[str], list[str]]]:
    """Header and row, for each row of the tables of guarantees.md."""
    header: list[str] = []
    for line in page("guarantees.md").splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if not line.startswith("|"):
            header = []
        elif not header:
            header = cells
        elif set(cells) != {"---"}:
            yield header, cells


def test_no_guarantee_stands_in_a_table_twice() -> None:
    tables: list[list[str]] = [[]]
    for line in page("guarantees.md").splitlines():
        if not line.startswith("|"):
            tables.append([])
        elif "::" in line:
            tables[-1].append(line.rsplit("|", 2)[-2].strip())

    assert [shown for table in tables for shown, times in Counter(table).items() if times > 1] == []


def named_tests(cell: str) -> Iterator[tuple[Path, str]]:
    file = None
    for path, function in re.findall(r"`([\w/.]*)::(\w+)`", cell):
        file = path or file
        assert file, f"no file before {function}"
        yield ROOT / "tests" / file, function


def test_every_guarantee_names_its_tests() -> None:
    """A limit may have none: what nobody can see, no test can show."""
    assert {header[-1] for header, _ in guarantees()} == {"shown by"}
    without = [row for header, row in guarantees() if not list(named_tests(row[-1]))]
    limits = [row for header, row in guarantees() if "limit" in header and row[-1] == "—"]

    assert [row[0] for row in without if row not in limits] == []


def test_every_section_of_the_guarantees_has_them() -> None:
    sections = re.split(r"^## ", page("guarantees.md"), flags=re.MULTILINE)[1:]

    assert [section.splitlines()[0] for section in sections if "| shown by |" not in section] == []


def test_the_tests_that_guarantees_name_exist() -> None:
    missing = []
    for _, row in guarantees():
        for path, function in named_tests(row[-1]):
            if not path.exists() or not re.search(rf"^ *(async )?def {function}\(", path.read_text(), re.MULTILINE):
                missing.append(f"{path}::{function}")

    assert missing == []


def test_the_table_of_rooms_is_the_one_that_imports_are_held_to() -> None:
    drawing = run_path(str(ROOT / "docs" / "drawings" / "draw.py"))
    _, _, rest = page("how-it-works.md").partition(drawing["BEGIN"])

    assert rest.partition(drawing["END"])[0].strip() == drawing["table"]()


# Links --------------------------------------------------------------------------------


def anchors(path: Path) -> set[str]:
    """The names that GitHub gives to headings."""
    text = path.read_text(encoding="utf-8")
    text = prose(_INCLUDED.sub(lambda found: (path.parent / found[1]).read_text(encoding="utf-8"), text))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in _HEADING.findall(text)}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    broken = []
    for target in _LINK.findall(_CODE.sub("", prose(path.read_text(encoding="utf-8")))):
        if re.match(r"[a-z]+:", target):
            address = urlsplit(target)  # nobody is asked whether it is still there
            if address.scheme != "https" or "." not in address.netloc:
                broken.append(target)
            continue
        file, _, anchor = target.partition("#")
        other = (path.parent / file).resolve() if file else path
        if not other.exists() or (anchor and anchor not in anchors(other)):
            broken.append(target)

    assert broken == []


def test_drawings_are_what_their_script_makes() -> None:
    folder = ROOT / "docs" / "drawings"
    drawn = {name: draw().svg() for name, draw in run_path(str(folder / "draw.py"))["DRAWINGS"].items()}

    assert {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.svg")} == drawn


def test_every_page_is_in_the_index() -> None:
    linked = {target.partition("#")[0] for target in _LINK.findall(page("index.md"))}

    assert {path.name for path in (ROOT / "docs").glob("*.md")} - {"index.md"} <= linked


# Code ---------------------------------------------------------------------------------


@pytest.mark.parametrize("code", blocks("python"))
def test_python_compiles(code: str) -> None:
    compile(code, "<documentation>", "exec")


def settings_blocks() -> list[Any]:
    return [
        block
        for block in blocks("python")
        if re.search(r"^(ORMCACHE|DATABASES|CACHES) = ", block.values[0], re.MULTILINE)
    ]


@pytest.mark.parametrize("code", settings_blocks())
def test_settings_are_valid(code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    names: dict[str, Any] = {}
    exec(code, names)
    databases = names.get("DATABASES", {"default": {"ENGINE": "ormcache.backends.postgresql", "NAME": "shop"}})
    # An example that names an alias without showing it stands for a project that has it.
    caches = names.get("CACHES", {alias: {"BACKEND": "any"} for alias in ("default", "redis")})

    settings = SimpleNamespace(ORMCACHE=names.get("ORMCACHE"), CACHES=caches, DATABASES=databases)
    monkeypatch.setattr(conf, "settings", settings)

    assert [problem for alias, given in databases.items() for problem in conf.problems(alias, given)] == []


def imported() -> Iterator[tuple[str, str]]:
    """The names that samples import from packages that are installed here; other packages are the reader's own."""
    for block in blocks("python"):
        for node in ast.walk(ast.parse(block.values[0])):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in ("django", "ormcache"):
                yield from ((node.module, name.name) for name in node.names)


@pytest.mark.parametrize("module, name", sorted(set(imported())))
def test_imported_names_exist(module: str, name: str) -> None:
    assert exists(f"{module}.{name}")


# Commands -----------------------------------------------------------------------------


def lines_of_shell() -> list[str]:
    return [line for block in blocks("sh") for line in block.values[0].splitlines()]


def mentioned_commands(pattern: str) -> set[str]:
    """What follows in samples for the shell, and in code within the text."""
    texts = [code for path in PAGES for code in _CODE.findall(prose(path.read_text(encoding="utf-8")))]
    return {found for text in [*texts, *lines_of_shell()] for found in re.findall(pattern, text)}


def test_sub_commands_exist() -> None:
    assert mentioned_commands(r"manage\.py ormcache ([a-z]+)") <= SUBCOMMANDS.keys()


def test_targets_of_make_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))

    assert mentioned_commands(r"\bmake ([a-z-]+)") <= targets


def test_modules_that_are_run_exist() -> None:
    found = mentioned_commands(r"-m ((?:tests|benchmarks)[\w.]*)")

    assert found
    assert [name for name in found if find_spec(name) is None] == []
