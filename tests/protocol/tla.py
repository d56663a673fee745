"""The specifications in TLA+, as text."""

from __future__ import annotations

import re
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "docs" / "protocol"


def rules_of(module: str) -> list[str]:
    """Return AllRules of a specification."""
    block = re.search(r"^AllRules == \{(.*?)\}$|^AllRules == \{(.*?)^ *\}$", text_of(module), re.DOTALL | re.MULTILINE)
    assert block is not None
    return re.findall('"(.*?)"', re.sub(r"\\\*.*", "", block[0]))


def text_of(module: str) -> str:
    return (FOLDER / f"{module}.tla").read_text()
