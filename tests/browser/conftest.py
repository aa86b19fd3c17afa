"""A real browser (Debian's chromium, headless) and gateways for it; skipped where there is no browser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.support.browser import find_chromium
from tests.support.mock_gateway import MockGateway, mock_gateway

ADMIN_KEY = "admin-key-for-the-browser-0123456789"

DESKTOP = {"width": 1440, "height": 900}
PHONE = {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """The browser; ends with the module, since asynchronous tests cannot run beside it."""
    playwright = pytest.importorskip("playwright.sync_api", reason="the package playwright is not installed")
    program = find_chromium()
    if program is None:
        pytest.skip("there is no chromium on this machine")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def gateway() -> Iterator[MockGateway]:
    """A gateway that is open to everybody."""
    with mock_gateway() as running:
        yield running


@pytest.fixture(scope="module")
def protected_gateway() -> Iterator[MockGateway]:
    """A gateway with an admin key."""
    with mock_gateway(env={"CLAUDE_WRAPPER_ADMIN_KEY": ADMIN_KEY}) as running:
        yield running


@pytest.fixture
def new_page(chromium: Any) -> Iterator[Callable[..., Any]]:
    """Opens pages of which each is a browser of its own; in the end none has complained or asked another host."""
    contexts: list[Any] = []
    complaints: list[str] = []

    def open_page(*, expected: str = "", **context: Any) -> Any:
        """A page.

        Args:
            expected: complaints that contain it are none.
            context: options of the browser context, such as ``viewport``.
        """
        contexts.append(chromium.new_context(**{"viewport": DESKTOP, **context}))
        page = contexts[-1].new_page()
        page.set_default_timeout(20_000)

        def complain(text: str) -> None:
            if not (expected and expected in text):
                complaints.append(text)

        page.on("console", lambda message: complain(message.text) if message.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: complain(str(error)))
        page.on("request", lambda request: complain(request.url) if not _is_here(request.url) else None)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


def _is_here(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme in ("data", "about") or parts.hostname == "127.0.0.1"
