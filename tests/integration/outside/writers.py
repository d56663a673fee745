"""What runs in another process that has lost its store."""

from __future__ import annotations

from typing import Any

from django.conf import settings

from tests.integration import calls
from tests.process import stop

#: Nobody listens here
NOWHERE = "redis://127.0.0.1:1/1"


def write_cut_off(function: str, *args: Any) -> None:
    """Call a function of ``tests.integration.calls`` while no connection to the store can be made."""
    settings.CACHES["redis"]["LOCATION"] = NOWHERE
    getattr(calls, function)(*args)
    stop("written")
