"""What has to happen around a fork of this process, on systems that have forks."""

from __future__ import annotations

import os
from collections.abc import Callable


def at_fork(
    *,
    before: Callable[[], object] | None = None,
    after_in_parent: Callable[[], object] | None = None,
    after_in_child: Callable[[], object] | None = None,
) -> None:
    """Call these functions around every later fork, as ``os.register_at_fork`` does; never where there are no forks."""
    register = getattr(os, "register_at_fork", None)  # Windows has none
    if register is None:
        return
    functions = {"before": before, "after_in_parent": after_in_parent, "after_in_child": after_in_child}
    register(**{name: function for name, function in functions.items() if function is not None})
