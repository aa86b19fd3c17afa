"""Puts the parts of the page together, and writes the policy that lets a browser run exactly them.

The document is one reply: style and scripts stand inside it, and the policy names them by their digests (Content
Security Policy Level 3, section 2.3.1), so that nothing that gets into the page by a name or a message can run.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from functools import cache
from importlib import resources
from typing import Final

from msgspec import Struct

from app.api import dashboard_page

#: Runs in the head, before anything is painted.
EARLY_SCRIPT: Final = "theme.js"
#: Each may use what stands before it.
SCRIPTS: Final = (
    "dom.js",
    "format.js",
    "scale.js",
    "plot.js",
    "parts.js",
    "chart.js",
    "client.js",
    "summary.js",
    "details.js",
    "over_time.js",
    "page.js",
)
#: Where two say something else of the same, the later one counts.
STYLES: Final = ("colours.css", "page.css", "figures.css", "narrow.css")

_FRAME: Final = "index.html"


class Page(Struct, frozen=True):
    """The page.

    Args:
        html: the whole document.
        policy: its ``content-security-policy``.
    """

    html: bytes
    policy: str


@cache
def dashboard_document(*, protected: bool) -> Page:
    """The page; its files are read when it is first asked for, some 2 ms.

    Args:
        protected: the gateway wants a key, and the page asks for it.
    """
    style, early, script = _parts(STYLES), _part(EARLY_SCRIPT), _parts(SCRIPTS)
    html = _part(_FRAME).replace("{protected}", "true" if protected else "false")
    for mark, text in (("style", style), ("early script", early), ("script", script)):
        html = html.replace(f"/*{{{mark}}}*/", text)
    policy = "; ".join(
        (
            "default-src 'none'",
            f"script-src {_digest(early)} {_digest(script)}",
            f"style-src {_digest(style)}",
            "connect-src 'self'",
            "img-src data:",
            "frame-ancestors 'none'",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )
    return Page(html=html.encode(), policy=policy)


def _parts(names: Iterable[str]) -> str:
    return "\n".join(map(_part, names))


def _part(name: str) -> str:
    return resources.files(dashboard_page).joinpath(name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
