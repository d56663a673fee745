"""Retired words stay out of the package: ``docs/glossary.md`` has the terms to use in their place."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "ormcache"

#: Retired word → what to say instead
RETIRED = {
    "tell": "publish, notify, record, serialize, describe",
    "tells": "publish, notify, record, serialize, describe",
    "told": "published, notified, recorded, serialized, described",
    "telling": "publishing, notifying, recording, describing",
    "untold": "unpublished",
    "retire": "invalidate",
    "retires": "invalidates",
    "retired": "invalidated",
    "retirement": "invalidation",
    "hindrance": "bypass reason",
    "obstacle": "bypass reason",
    "unfollowed": "untracked",
    "unsure": "untracked, opaque",
    "standpoint": "resolution context",
    "figures": "statistics",
    "insight": "diagnostics",
}
#: Nouns among them, whose plurals are retired as well
_NOUNS = ("hindrance", "obstacle", "standpoint", "insight", "retirement")
RETIRED |= {f"{noun}s": RETIRED[noun] for noun in _NOUNS}
#: Words that are wrong as part of a name only: in prose they are ordinary English
RETIRED_IN_NAMES = RETIRED | {
    "kept": "stored, entry",
    "keep": "store, admit",
    "keeping": "admission",
    "refused": "rejected",
    "refuse": "reject",
    "hides": "is_opaque, has_untracked_settings",
    "unseen": "untracked, opaque",
    "nobody": "the state itself, as in is_idle",
    "somebody": "the state itself, as in is_claimed",
}
#: Names whose words are those of somebody else's interface
FOREIGN: set[str] = {"tell"}  # of files: io.IOBase.tell
#: Public names that say what happens to a write, not to a result
PUBLIC = {"WriteRefused"}
PHRASES = {"left alone": "adaptive bypass", "not worth it": "adaptive bypass", "past the cache": "bypass"}


def words_of(name: str) -> set[str]:
    return {word.lower() for part in name.split("_") for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", part)}


def names_in(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node.lineno, node.name
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.Name):
            yield node.lineno, node.id
        elif isinstance(node, ast.Attribute):
            yield node.lineno, node.attr
        elif isinstance(node, ast.keyword) and node.arg is not None:
            yield node.value.lineno, node.arg


def prose_in(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            docstring = ast.get_docstring(node, clean=False)
            if docstring is not None:
                yield node.body[0].lineno, docstring


def faults_in(path: Path) -> Iterator[str]:
    source = path.read_text(encoding="utf-8")
    tree = ast.parse(source)
    for line, name in names_in(tree):
        for word in sorted((words_of(name) & RETIRED_IN_NAMES.keys()) if name not in FOREIGN | PUBLIC else ()):
            yield f"{path}:{line}: {name}: say {RETIRED_IN_NAMES[word]}"
    comments = [(n, line.partition("#")[2]) for n, line in enumerate(source.splitlines(), 1) if "#" in line]
    for line, prose in [*prose_in(tree), *comments]:
        for word in sorted(set(re.findall(r"[a-z]+", prose.lower())) & RETIRED.keys()):
            yield f"{path}:{line}: “{word}”: say {RETIRED[word]}"
        for phrase, better in PHRASES.items():
            if phrase in " ".join(prose.lower().split()):
                yield f"{path}:{line}: “{phrase}”: say {better}"


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


@pytest.mark.parametrize("room", sorted({room_of(path) for path in PACKAGE.rglob("*.py")}))
def test_no_retired_words(room):
    faults = [fault for path in sorted(PACKAGE.rglob("*.py")) if room_of(path) == room for fault in faults_in(path)]
    assert not faults, "\n".join(faults)


def test_the_words_are_found(tmp_path):
    module = tmp_path / "module.py"
    module.write_text('def is_told():\n    """It was retired, and left\n    alone."""\n    # told\n', encoding="utf-8")
    assert len(list(faults_in(module))) == 4


def test_plurals_are_found(tmp_path):
    module = tmp_path / "module.py"
    module.write_text("#: Standpoints\nobstacles = 1  # of hindrances\n", encoding="utf-8")
    assert [fault.split(": ", 1)[1] for fault in faults_in(module)] == [
        "obstacles: say bypass reason",
        "“standpoints”: say resolution context",
        "“hindrances”: say bypass reason",
    ]
