"""Headers of the pages that the gateway shows to people: what a browser may do with them (OWASP Secure Headers)."""

from __future__ import annotations

from typing import Final

#: Of a page and of its files.
_ALWAYS: Final = {"x-content-type-options": "nosniff", "referrer-policy": "no-referrer"}


def page_headers(policy: str) -> dict[str, str]:
    """Headers of a page; it is asked for anew each time.

    Args:
        policy: its ``content-security-policy``, which has to keep it out of frames.
    """
    return {"content-security-policy": policy, "cache-control": "no-store", **_ALWAYS}


def file_headers() -> dict[str, str]:
    """Headers of a file of a page; it is the same for a release."""
    return {"cache-control": "public, max-age=3600", **_ALWAYS}
