"""What tests have the toolbar's panel do, on the site with :mod:`library.urls_of_panel`."""

from __future__ import annotations

import asyncio
import re
from typing import Any

from asgiref.sync import sync_to_async
from debug_toolbar.toolbar import DebugToolbar
from django.db import connections
from django.test import AsyncClient, Client

_PANEL = "OrmcachePanel"


def _request_id(page: str) -> str:
    return re.search(r'data-request-id="(\w+)"', page)[1]


def _panel(request_id: str) -> Any:
    """The panel as the history has it: from the toolbar's store."""
    return DebugToolbar.fetch(request_id, _PANEL).get_panel_by_id(_PANEL)


def seen(path: str, times: int = 1) -> dict[str, Any]:
    """The last of some requests: what is stored, and what people see."""
    client = Client()
    for _ in range(times):
        answer = client.get(path)
        assert answer.status_code == 200
    page = answer.content.decode()
    panel = _panel(_request_id(page))
    query = {"request_id": _request_id(page), "panel_id": _PANEL}
    return {
        "stats": panel.get_stats(),
        "title": panel.title,
        "nav": [panel.nav_title, panel.nav_subtitle],
        "in page": f'id="djdt-{_PANEL}"' in page,
        "timing": answer.headers.get("Server-Timing", ""),
        "content": client.get("/__debug__/render_panel/", query).json()["content"],
    }


def plans() -> dict[str, Any]:
    """What the view behind the button answers, to whom."""
    page = Client().get("/everything/").content.decode()
    content = _panel(_request_id(page)).content
    url = re.search(r'formaction="([^"]+)"', content)[1]
    forms = [value.replace("&quot;", '"') for value in re.findall(r'name="signed" value="([^"]+)"', content)]
    client = Client()

    def post(signed: str, **extra: Any) -> list[Any]:
        answer = client.post(url, {"signed": signed}, **extra)
        return [answer.status_code, answer.json()["content"] if answer.status_code == 200 else ""]

    first = post(forms[0])
    DebugToolbar.fetch(_request_id(page)).store.clear()
    return {
        "forms": len(forms),
        "right": first,
        "forged": post(forms[0].replace(":", "x:")),
        "without": client.post(url).status_code,
        "by GET": client.get(url, {"signed": forms[0]}).status_code,
        "from elsewhere": post(forms[0], REMOTE_ADDR="192.0.2.1"),
        "gone": post(forms[0]),
    }


def asynchronously() -> list[Any]:
    """Two requests that are served at once."""

    async def get(title: str) -> list[Any]:
        answer = await AsyncClient().get(f"/slowly/{title}/")
        stats = _panel(_request_id(answer.content.decode())).get_stats()
        return [event["params"] for event in stats["events"]]

    async def main() -> list[Any]:
        try:
            return await asyncio.gather(get("a"), get("b"))
        finally:
            await sync_to_async(connections.close_all)()

    return asyncio.run(main())


def switched_off() -> list[Any]:
    """By the box beside the panel's name."""
    client = Client()
    client.cookies[f"djdt{_PANEL}"] = "off"
    page = client.get("/everything/").content.decode()
    return [_panel(_request_id(page)).get_stats(), _panel(_request_id(page)).nav_subtitle]


def answers() -> dict[str, Any]:
    return {
        "cached page": [seen("/cached-page/"), seen("/cached-page/")],
        "everything": seen("/everything/", 2),
        "cached": seen("/cached/", 2),
        "nothing": seen("/nothing/"),
        "switched off": switched_off(),
        "at once": asynchronously(),
        "plans": plans(),  # which empties the toolbar's store
    }
