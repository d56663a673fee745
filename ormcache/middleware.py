"""What a site adds to ``MIDDLEWARE`` under ASGI with Django before 6.1, for the level ``request``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.utils.decorators import sync_and_async_middleware

from ormcache.scope import as_request


@sync_and_async_middleware
def request_scope(get_response: Callable[..., Any]) -> Callable[..., Any]:
    """Each request counts as one for the consistency level ``"request"``. Elsewhere it does so without this."""
    return as_request()(get_response)
