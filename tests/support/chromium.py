"""Chromium, where it is installed: tests that look at pages in it are skipped without it.

TENSORMOE_TEST_BROWSER=1 says that it must be there: then nothing is skipped in silence; tests fail.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from shutil import which

import pytest
from playwright.sync_api import Browser, sync_playwright

_NAMES = ("chromium", "chromium-browser", "google-chrome")
PATH = next(filter(None, map(which, _NAMES)), None)

needs_chromium = pytest.mark.skipif(
    PATH is None and not os.environ.get("TENSORMOE_TEST_BROWSER"),
    reason="Chromium is not installed; `make chromium` installs it",
)


@contextmanager
def open_browser() -> Iterator[Browser]:
    """A browser without a window, which reaches nothing but this machine."""
    # Root, as whom continuous integration runs, has no sandbox.
    offline = ["--no-sandbox", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=PATH or _NAMES[0], args=offline)
        try:
            yield browser
        finally:
            browser.close()
