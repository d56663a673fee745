"""The specifications in TLA+, checked by TLC where that is.

It needs Java and tla2tools.jar, which no package registry has. Download it from github.com/tlaplus/tlaplus, then

    TLA2TOOLS=/path/to/tla2tools.jar python -m pytest tests/protocol/test_tla.py
"""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from tests.protocol.tla import FOLDER, rules_of

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(
        not os.environ.get("TLA2TOOLS") or shutil.which("java") is None,
        reason="needs Java, and the path of tla2tools.jar in TLA2TOOLS",
    ),
]

STAMPS = {
    "Relations": "{a}",
    "Writers": "{w1, w2}",
    "Readers": "{r1, r2}",
    "Losses": "1",
    "AtOnce": "TRUE",
}
ROWS = {
    "Question": '"key"',
    "Writers": "{w1, w2}",
    "Readers": "{r1}",
    "Statements": '{"UPDATE 1"}',
    "Deaths": "FALSE",
    "Losses": "0",
    "AtOnce": "FALSE",
}
#: Rule → what it is needed for
NEEDED_FOR = {
    **{
        rule: {"Question": '"key"', "Statements": '{"UPDATE 1"}'}
        for rule in ("mark", "merge", "stamps before query", "mark rows")
    },
    "fill empty only": {"Question": '"key"', "Statements": '{"UPDATE 1"}', "Writers": "{w1}", "Readers": "{r1, r2}"},
    "mark arrivals": {"Question": '"complete"', "Statements": '{"2 to x"}', "Writers": "{w1}"},
    "mark departures": {"Question": '"partial"', "Statements": '{"UPDATE 1"}', "Writers": "{w1}"},
    "mark bulk": {"Question": '"key"', "Statements": '{"UPDATE all"}', "Writers": "{w1}"},
    "depend on returned rows": {"Question": '"complete"', "Statements": '{"UPDATE 1", "2 to x"}'},
    **{
        rule: {"Question": '"complete"', "Statements": '{"UPDATE 1"}', "Writers": "{w1}", "Readers": "{r1, r2}"}
        for rule in ("table last", "table again", "refuse marks")
    },
}


@pytest.fixture
def check(tmp_path):
    """``check("Stamps", constants, without="mark")``: what TLC says."""

    def run(module, constants, *, without="", invariant="NothingStale"):
        rules = ", ".join(f'"{rule}"' for rule in rules_of(module) if rule != without)
        lines = [f"  {name} = {value}" for name, value in {**constants, "Rules": f"{{{rules}}}"}.items()]
        config = tmp_path / "model.cfg"
        config.write_text(
            "\n".join(
                ["SPECIFICATION Spec", "CONSTANTS", *lines, f"INVARIANTS TypeOK {invariant}", "CHECK_DEADLOCK FALSE"]
            )
        )
        command = ["java", "-XX:+UseParallelGC", "-cp", os.environ["TLA2TOOLS"], "tlc2.TLC", "-nowarning"]
        options = ["-metadir", str(tmp_path / "states"), "-config", str(config), f"{module}.tla"]
        shutil.copytree(FOLDER, tmp_path, dirs_exist_ok=True)  # TLC writes what it finds beside what it checks
        return subprocess.run([*command, *options], cwd=tmp_path, capture_output=True, text=True, check=False).stdout

    return run


HOLDS = "No error has been found"


@pytest.mark.parametrize(
    "scene",
    [
        {},
        {"Relations": "{a, b}", "Writers": "{w1}", "AtOnce": "FALSE", "Losses": "0"},
        {"Relations": "{a, b}", "Writers": "{w1}"},
    ],
)
def test_nothing_stale_is_served(check, scene):
    assert HOLDS in check("Stamps", STAMPS | scene)


@pytest.mark.parametrize("rule", rules_of("Stamps"))
def test_each_rule_of_stamps_is_needed(check, rule):
    assert "Invariant NothingStale is violated" in check("Stamps", STAMPS, without=rule)


@pytest.mark.parametrize(
    "scene",
    [
        {"Statements": '{"UPDATE 1", "DELETE 1", "UPDATE all"}', "Readers": "{r1, r2}", "AtOnce": "TRUE"},
        {"Statements": '{"UPDATE 1", "DELETE 1", "UPDATE all", "1 to y", "1 to x"}'},
        {"Question": '"partial"', "Statements": '{"1 to y", "2 to x", "UPDATE 1", "INSERT 2"}'},
        {"Question": '"complete"', "Statements": '{"1 to y", "2 to x"}'},
        {"Question": '"complete"', "Statements": '{"INSERT 2", "DELETE 1", "UPDATE all"}', "AtOnce": "TRUE"},
        {
            "Question": '"complete"',
            "Statements": '{"1 to y", "UPDATE 1", "2 to x"}',
            "Writers": "{w1}",
            "Deaths": "TRUE",
            "Losses": "1",
        },
    ],
)
def test_nothing_stale_is_served_by_rows(check, scene):
    assert HOLDS in check("Rows", ROWS | scene)


@pytest.mark.parametrize("rule", rules_of("Rows"))
def test_each_rule_of_rows_is_needed(check, rule):
    assert "Invariant NothingStale is violated" in check("Rows", ROWS | NEEDED_FOR[rule], without=rule)


def test_results_are_served_at_all(check):
    assert "Invariant NothingServed is violated" in check("Stamps", STAMPS, invariant="NothingServed")
    scene = {"Question": '"complete"', "Statements": '{"UPDATE 1", "UPDATE 2"}'}
    assert "Invariant NothingServedByRows is violated" in check("Rows", ROWS | scene, invariant="NothingServedByRows")
