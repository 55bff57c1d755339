"""A Chromium, and pages in it that keep what went wrong."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, ViewportSize, sync_playwright

from tests.conftest import chromium

SIZE: ViewportSize = {"width": 1440, "height": 900}
# Of MLflow's own: what it asks of every server, and those with accounts alone answer; and what a browser says of a
# page that is laid out anew while it is laid out.
TOLERATED_ADDRESS = "/ajax-api/2.0/mlflow/users/current"
# MLflow's page asks for the assistant, which `sweeps serve-ui` turns off.
TOLERATED_PART = "/ajax-api/3.0/mlflow/assistant/"
TOLERATED_TEXT = "ResizeObserver loop completed with undelivered notifications."
# MLflow opens a panel of its assistant beside the page once, on the first visit to a server on this machine.
NOT_THE_FIRST_VISIT = """if (location.protocol == 'http:')
    localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true')"""


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page of 1440 by 900 pixels, which must not have an error in the end."""
    context = browser.new_context(viewport=SIZE)
    context.add_init_script(NOT_THE_FIRST_VISIT)
    opened, wrong = context.new_page(), []

    def said(message: ConsoleMessage) -> None:
        address = message.location["url"]
        own = address.endswith(TOLERATED_ADDRESS) or TOLERATED_PART in address or message.text.endswith(TOLERATED_TEXT)
        if message.type == "error" and not own:
            wrong.append(f"{message.text} ({message.location['url']})")

    opened.on("console", said)
    opened.on("pageerror", lambda error: None if error.message.endswith(TOLERATED_TEXT) else wrong.append(str(error)))
    yield opened
    context.close()
    assert not wrong, "\n".join(wrong)


@pytest.fixture(scope="session")
def keep() -> Callable[[Page, str], None]:
    """Keeps a picture of the page, in the folder that WGAN_PICTURES names; without that, none."""
    folder = os.environ.get("WGAN_PICTURES")

    def kept(page: Page, name: str) -> None:
        if folder:
            Path(folder).mkdir(parents=True, exist_ok=True)
            page.screenshot(path=Path(folder) / f"{name}.png")

    return kept
