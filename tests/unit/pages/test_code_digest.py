"""A function that was changed has another digest; the same source has the same one in every process."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from ormcache.pages.code_digest import code_digest


def digest_of(source: str) -> bytes:
    names: dict[str, Any] = {}
    exec(source, names)
    return code_digest(names["f"].__code__)


BASE = "def f(a, b=1):\n    return a.x + 1\n"


@pytest.mark.parametrize(
    "changed",
    [
        "def f(a, b=1):\n    return a.y + 1\n",  # a name
        "def f(a, b=1):\n    return a.x + 2\n",  # a constant
        "def f(a, b=1):\n    return a.x + 1.0\n",  # of another type
        "def f(a, b=1):\n    return a.x + True\n",
        "def f(a, b=1):\n    return a.x - 1\n",  # an operation
        "def f(b, a=1):\n    return a.x + 1\n",
        "def f(a, /, b=1):\n    return a.x + 1\n",
        "def f(a, *, b=1):\n    return a.x + 1\n",
        "def f(a, b=1):\n    return (lambda: a.x + 1)()\n",
        "async def f(a, b=1):\n    return a.x + 1\n",
    ],
)
def test_what_was_changed(changed: str) -> None:
    assert digest_of(changed) != digest_of(BASE)


@pytest.mark.parametrize(
    "one, other",
    [
        ("lambda: 1", "lambda: 2"),
        ("[x for x in a if x.ok]", "[x for x in a if x.bad]"),
        ("(1, 'a')", "(1, 'b')"),
        ("(0.0,)", "(-0.0,)"),
        ("a in {1, 2}", "a in {1, 3}"),
        ("a in {1, 2}", "a in (1, 2)"),
        ("a[1:2]", "a[1:3]"),
        ("b'x'", "'x'"),
    ],
)
def test_what_was_changed_in_its_constants(one: str, other: str) -> None:
    source = "def f(a):\n    def g():\n        return {}\n    return g\n"
    assert digest_of(source.format(one)) != digest_of(source.format(other))
    assert digest_of(source.format(one)) == digest_of(source.format(one))


def test_where_it_stands_does_not_matter() -> None:
    assert digest_of("\n\n\n" + BASE) == digest_of(BASE)
    assert digest_of(BASE.replace("1\n", "1  # a comment\n")) == digest_of(BASE)


def test_every_process_finds_the_same() -> None:
    """A set among the constants has another order in each."""
    program = (
        "from ormcache.pages.code_digest import code_digest\n"
        "def f(a): return a in {'a', 'b', 'c', 'd', 'e'}\n"
        "print(code_digest(f.__code__).hex())"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3", "4")
    }
    assert len(found) == 1


def test_what_the_interpreter_makes_of_it_does_not_matter() -> None:
    """It specializes code that runs often, and marks code that is traced."""

    def f(values: Any) -> Any:
        return sum(value + 1 for value in values) + len(values)

    before = code_digest(f.__code__)
    for _ in range(2000):
        f([1, 2, 3])
    tracing = sys.gettrace()
    sys.settrace(lambda *args: None)
    try:
        f([1.5])
        assert code_digest(f.__code__) == before
    finally:
        sys.settrace(tracing)
    assert code_digest(f.__code__) == before
