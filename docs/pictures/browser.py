"""Chromium as Debian has it, driven by Playwright: whoever it is for must not be asked to download another one."""

import contextlib
import shutil
import tempfile

from playwright.sync_api import sync_playwright

PROGRAMS = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
OPTIONS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def find_chromium():
    """The program, or None."""
    return next(filter(None, map(shutil.which, PROGRAMS)), None)


@contextlib.contextmanager
def browser(**context):
    """A browser's window with a profile of its own. ``context``: as Playwright's ``new_context`` has it."""
    with tempfile.TemporaryDirectory(prefix="ormcache-browser-") as profile, sync_playwright() as playwright:
        window = playwright.chromium.launch_persistent_context(
            profile, executable_path=find_chromium(), headless=True, args=list(OPTIONS), **context
        )
        try:
            yield window
        finally:
            window.close()
