"""Where a browser is on this machine."""

from __future__ import annotations

import os
import shutil


def find_chromium() -> str | None:
    """The program: Debian's chromium, or another one by ``CLAUDE_WRAPPER_TEST_CHROMIUM``; ``None`` without any."""
    asked = os.environ.get("CLAUDE_WRAPPER_TEST_CHROMIUM")
    return asked or next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
