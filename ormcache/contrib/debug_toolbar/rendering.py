"""The panel's templates, found whether or not ormcache is in ``INSTALLED_APPS``."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from django.template import Context, Engine


def rendered(name: str, values: Mapping[str, Any]) -> str:
    """Moments are shown in the time zone that they have: UTC."""
    return _engine().get_template(f"ormcache/{name}").render(Context(values, use_tz=False))


@cache
def _engine() -> Engine:
    return Engine(dirs=[str(Path(__file__).parent / "templates")])
