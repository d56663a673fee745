"""A site with visitors in processes of its own, and Chromium in front of it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.servers import available, explain_missing

PICTURES = Path(__file__).parents[2] / "docs" / "pictures"
sys.path.insert(0, str(PICTURES))

from browser import browser  # noqa: E402  # the pictures' own
from site_of_pictures import Bookshop  # noqa: E402

CI = os.environ.get("CI", "").lower() in ("1", "true")


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a bookshop that was visited for a day."""
    if not available("chromium"):
        if CI:
            pytest.fail(explain_missing("chromium"), pytrace=False)
        pytest.skip(explain_missing("chromium"))
    with Bookshop(tmp_path_factory.mktemp("bookshop")) as bookshop:
        bookshop.run("prepare")
        bookshop.visited(hours=24, visits=1500, processes=1)
        bookshop.run("use_functions")
        yield bookshop.serve()


class Visitor:
    """A browser in which ``user`` is logged in, and all that it asked for and complained about."""

    def __init__(self, window: Any, address: str) -> None:
        self.address = address
        self.page = window.pages[0]
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: self._heard(message.type, message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _heard(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.complaints.append(text)

    def log_in(self, user: str) -> None:
        self.page.goto(f"{self.address}/admin/login/")
        self.page.fill("#id_username", user)
        self.page.fill("#id_password", "secret")
        self.page.click("input[type=submit]")
        self.complaints.clear()  # of the admin's own pages

    def open(self, path: str) -> Any:
        self.page.goto(f"{self.address}{path}")
        return self.page


@pytest.fixture
def visitor(site: str, request: pytest.FixtureRequest) -> Iterator[Visitor]:
    """``@pytest.mark.parametrize("visitor", [{"color_scheme": "dark"}], indirect=True)``: how the window is."""
    options = {"viewport": {"width": 1280, "height": 900}} | getattr(request, "param", {})
    with browser(**options) as window:
        visitor = Visitor(window, site)
        visitor.log_in("ann")
        yield visitor
